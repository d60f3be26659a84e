use super::flags;
use crate::args::{Command, Flags};
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::output::print;

pub(super) static COMMAND: Command = Command {
    name: "ps",
    summary: "list the processes of a container",
    usage: "<container-id> [ps options]",
    about: "The table is the output of the host's ps(1), called with the options given or with -ef, of which the\n   \
            lines of other processes are left out.",
    flags: &[&flags::FORMAT],
    placement: Flags::BeforeOperands,
    min: 1,
    max: usize::MAX,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    let pids = gantry_runtime::processes(&call.host(), &call.container_id()?)?;
    match call.args.text("format") {
        None | Some("table") => {}
        Some("json") => {
            let text = serde_json::to_string(&pids).expect("numbers have a form in JSON");
            return print(&(text + "\n")).map(|()| 0);
        }
        Some(_) => return Err(Failure::new("invalid format option")),
    }
    let table = host_processes(&call.args.operands[1..])?;
    print(&lines_of(&table, &pids)?).map(|()| 0)
}

/// What the host's ps(1) prints.
fn host_processes(options: &[&str]) -> Result<String, Failure> {
    let options = if options.is_empty() { &["-ef"] } else { options };
    let output = std::process::Command::new("ps").args(options).output();
    let output = output.map_err(|error| Failure::of_path("exec", "ps".as_ref(), &error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(text.into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("ps: {}: {text}{complaint}", output.status)))
}

/// The header of a table of processes and the lines whose PID column names one of `pids`.
fn lines_of(table: &str, pids: &[i32]) -> Result<String, Failure> {
    let (header, rest) = table.split_once('\n').unwrap_or((table, ""));
    let column = header.split_whitespace().position(|title| title == "PID");
    let column = column.ok_or_else(|| Failure::new("couldn't find PID field in ps output"))?;
    let mut out = format!("{header}\n");
    for line in rest.lines().filter(|line| !line.is_empty()) {
        let field = line.split_whitespace().nth(column).unwrap_or_default();
        let pid: i32 = field.parse().map_err(|_| Failure::new(format!("unable to parse pid: {field:?}")))?;
        if pids.contains(&pid) {
            out.extend([line, "\n"]);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_the_container_remain() {
        let table = "UID   PID  PPID CMD\nroot    1     0 init\nroot   12     1 sh -c 1\nroot  112     1 x\n";
        assert_eq!(lines_of(table, &[12]).unwrap(), "UID   PID  PPID CMD\nroot   12     1 sh -c 1\n");
        assert_eq!(lines_of(table, &[]).unwrap(), "UID   PID  PPID CMD\n");
    }

    #[test]
    fn a_table_without_pids_is_an_error() {
        for table in ["", "COMMAND\nsh\n", "PID\nx\n", "CMD PID\nsh\n"] {
            assert!(lines_of(table, &[1]).is_err(), "{table:?}");
        }
    }
}
