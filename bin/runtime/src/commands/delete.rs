use gantry_runtime::Force;

use crate::args::{Command, Flag, Flags};
use crate::failure::Failure;
use crate::invocation::Invocation;

static FORCE: Flag =
    Flag::switch(&["force", "f"], "kill the container if it runs; no error if it does not exist");

pub(super) static COMMAND: Command = Command {
    name: "delete",
    summary: "remove what is left of a container",
    usage: "<container-id>",
    about: "Removes the cgroup and the state of a stopped container, or of one that was never started.",
    flags: &[&FORCE],
    placement: Flags::Anywhere,
    min: 1,
    max: 1,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    let force = if call.args.switch("force") { Force::Yes } else { Force::No };
    let id = call.container_id()?;
    gantry_runtime::delete(&call.host(), &id, force)?;
    Ok(0)
}
