//! The processes of a container, as `ps` would show them. No `ps` is run: neither the container's, nor the host's, which need not
//! be there.

use gantry_docker_api::List;
use gantry_docker_api::container::ContainerTopResponse;

use super::find;
use super::proc::{Machine, Process};
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// A title and the name of its column.
type Column = (String, String);

/// The most columns.
const MAX_COLUMNS: usize = 64;
const FULL: [(&str, &str); 8] = [
    ("UID", "user"),
    ("PID", "pid"),
    ("PPID", "ppid"),
    ("C", "c"),
    ("STIME", "stime"),
    ("TTY", "tty"),
    ("TIME", "time"),
    ("CMD", "args"),
];
const SHORT: [(&str, &str); 4] = [("PID", "pid"), ("TTY", "tty"), ("TIME", "time"), ("CMD", "comm")];
const BSD: [(&str, &str); 11] = [
    ("USER", "user"),
    ("PID", "pid"),
    ("%CPU", "pcpu"),
    ("%MEM", "pmem"),
    ("VSZ", "vsz"),
    ("RSS", "rss"),
    ("TTY", "tty"),
    ("STAT", "stat"),
    ("START", "bsdstart"),
    ("TIME", "bsdtime"),
    ("COMMAND", "args"),
];
const TITLES: [(&str, &str); 18] = [
    ("comm", "COMMAND"),
    ("args", "COMMAND"),
    ("command", "COMMAND"),
    ("cmd", "CMD"),
    ("pcpu", "%CPU"),
    ("pmem", "%MEM"),
    ("tty", "TT"),
    ("tt", "TT"),
    ("tname", "TTY"),
    ("state", "S"),
    ("start", "STARTED"),
    ("lstart", "STARTED"),
    ("start_time", "START"),
    ("bsdstart", "START"),
    ("etime", "ELAPSED"),
    ("etimes", "ELAPSED"),
    ("nlwp", "NLWP"),
    ("euser", "EUSER"),
];

/// `GET /containers/{name}/top`
pub(super) async fn top(call: Call, name: &str) -> Outcome {
    let columns = columns(call.query.get("ps_args").filter(|args| !args.is_empty()).unwrap_or("-ef"))?;
    let container = find(&call, name).await?;
    let pids = call.door.engine.container_pids(&container).await?;
    let looked = tokio::task::spawn_blocking(move || {
        let machine = Machine::look();
        let row = |process: Process| columns.iter().map(|(_, name)| process.column(name, &machine)).collect();
        let rows: Option<Vec<List<String>>> = pids.into_iter().filter_map(Process::look).map(row).collect();
        (rows, columns)
    });
    let (rows, columns) = looked.await.map_err(|_| Failure::internal("looking at processes failed"))?;
    let rows = rows.ok_or_else(|| Failure::invalid("ps: a column that there is not"))?;
    let titles = columns.into_iter().map(|(title, _)| title).collect();
    Ok(Answer::json(&ContainerTopResponse { processes: rows.into(), titles }))
}

/// The columns that the arguments of a `ps` mean. Which processes they would choose does not matter: the container's are shown.
fn columns(arguments: &str) -> Result<Vec<Column>, Failure> {
    let own = |list: &[(&str, &str)]| {
        list.iter().map(|(title, name)| ((*title).to_owned(), (*name).to_owned())).collect::<Vec<_>>()
    };
    let mut chosen: Vec<Column> = Vec::new();
    let mut format = own(&SHORT);
    let mut words = arguments.split_whitespace();
    while let Some(word) = words.next() {
        let is_dashed = word.starts_with('-');
        let letters = word.trim_start_matches('-');
        if let Some(list) = word.strip_prefix("--format=") {
            read_list(list, &mut chosen)?;
            continue;
        }
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            match (letter, is_dashed) {
                ('o' | 'O', _) => {
                    let glued = rest.as_str();
                    let list = if glued.is_empty() { words.next().unwrap_or_default() } else { glued };
                    read_list(list, &mut chosen)?;
                    rest = "".chars();
                }
                ('f', true) => format = own(&FULL),
                ('u', false) => format = own(&BSD),
                // Which processes, and how wide.
                ('e' | 'A' | 'a' | 'x' | 'w' | 'd', _) => {}
                // `ps -aux` is taken for `ps aux`.
                ('u', true) if letters.contains('x') => format = own(&BSD),
                _ => {
                    return Err(Failure::invalid(format!(
                        "ps: {word:?} is not supported: give -ef, aux, or -o with a list of columns"
                    )));
                }
            }
        }
    }
    Ok(if chosen.is_empty() { format } else { chosen })
}

/// `pid,comm`, `pid=Title`
fn read_list(list: &str, chosen: &mut Vec<Column>) -> Result<(), Failure> {
    let machine = Machine::look();
    let known = Process::look(std::process::id());
    for word in list.split(',') {
        let (name, title) = word.split_once('=').map_or((word, None), |(name, title)| (name, Some(title)));
        let name = name.to_ascii_lowercase();
        let is_known = known.as_ref().is_some_and(|process| process.column(&name, &machine).is_some());
        if !is_known || chosen.len() == MAX_COLUMNS {
            return Err(Failure::invalid(format!(
                "ps: error: unknown user-defined format specifier {word:?}"
            )));
        }
        let usual = TITLES.iter().find(|(other, _)| *other == name).map(|(_, title)| (*title).to_owned());
        let title = title.map(str::to_owned).or(usual).unwrap_or_else(|| name.to_ascii_uppercase());
        chosen.push((title, name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(arguments: &str) -> String {
        columns(arguments).unwrap().into_iter().map(|(title, _)| title).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn arguments_of_ps_choose_columns() {
        for (arguments, expected) in [
            ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
            ("-e -f", "UID PID PPID C STIME TTY TIME CMD"),
            ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("-aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("-e", "PID TTY TIME CMD"),
            ("-o pid,comm", "PID COMMAND"),
            ("-eo pid -o args", "PID COMMAND"),
            ("axo pid,cmd=X", "PID X"),
            ("-opid", "PID"),
        ] {
            assert_eq!(titles(arguments), expected, "{arguments}");
        }
        for arguments in ["-o", "-o nosuch", "--bad", "-Z", "-o pid,", "-f; rm"] {
            assert!(columns(arguments).is_err(), "{arguments}");
        }
    }
}
