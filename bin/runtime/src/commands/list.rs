use super::flags;
use crate::args::{Command, Flag, Flags};
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::output::print;
use crate::report::{Report, Users};
use crate::table::layout;

static QUIET: Flag = Flag::switch(&["quiet", "q"], "print the ids alone");

pub(super) static COMMAND: Command = Command {
    name: "list",
    summary: "list the containers below the root",
    usage: "",
    about: "",
    flags: &[&flags::FORMAT, &QUIET],
    placement: Flags::Anywhere,
    min: 0,
    max: 0,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    let host = call.host();
    if call.globals.root_is_given {
        // A default root is made with the first container; one that was named wrongly is worth an error.
        std::fs::metadata(&host.root).map_err(|error| Failure::of_path("open", &host.root, &error))?;
    }
    let containers = gantry_runtime::list(&host)?;
    let mut users = Users::default();
    let reports =
        containers.iter().map(|container| Report::of(container, users.name(container.record.owner)));
    let text = match call.args.text("format") {
        _ if call.args.switch("quiet") => {
            containers.iter().map(|container| container.record.id.clone() + "\n").collect()
        }
        None | Some("table") => table_of(reports),
        Some("json") => json_of(&reports.collect::<Vec<_>>()),
        Some(_) => return Err(Failure::new("invalid format option")),
    };
    print(&text).map(|()| 0)
}

fn table_of<'a>(reports: impl Iterator<Item = Report<'a>>) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(reports.map(|report| {
        let bundle = report.bundle.display().to_string();
        let Report { id, pid, status, created, owner, .. } = report;
        [id.to_owned(), pid.to_string(), status, bundle, created.to_owned(), owner]
    }));
    layout(&rows)
}

/// No container is `null` to runc, whose list is a slice of Go's.
fn json_of(reports: &[Report<'_>]) -> String {
    if reports.is_empty() {
        return "null\n".to_owned();
    }
    serde_json::to_string(reports).expect("plain data has a form in JSON") + "\n"
}
