use crate::args::{Command, Flags};
use crate::failure::Failure;
use crate::invocation::Invocation;

pub(super) static COMMAND: Command = Command {
    name: "resume",
    summary: "let the processes of a paused container go on",
    usage: "<container-id>",
    about: "Thaws the container's cgroup.",
    flags: &[],
    placement: Flags::Anywhere,
    min: 1,
    max: 1,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    gantry_runtime::thaw(&call.host(), &call.container_id()?)?;
    Ok(0)
}
