use crate::args::{Command, Flags};
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::output::print;
use crate::report::{Report, to_pretty_json};

pub(super) static COMMAND: Command = Command {
    name: "state",
    summary: "print what is known of a container",
    usage: "<container-id>",
    about: "Prints the state of runtime-spec (runtime.md) as JSON, with the root file system and the time of creation.",
    flags: &[],
    placement: Flags::Anywhere,
    min: 1,
    max: 1,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    let snapshot = gantry_runtime::snapshot(&call.host(), &call.container_id()?)?;
    // The owner is empty, as in runc: a look at the user database is not worth its time here.
    print(&to_pretty_json(&Report::of(&snapshot, String::new()))).map(|()| 0)
}
