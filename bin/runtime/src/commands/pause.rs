use crate::args::{Command, Flags};
use crate::failure::Failure;
use crate::invocation::Invocation;

pub(super) static COMMAND: Command = Command {
    name: "pause",
    summary: "stop all processes of a container where they are",
    usage: "<container-id>",
    about: "Freezes the container's cgroup.",
    flags: &[],
    placement: Flags::Anywhere,
    min: 1,
    max: 1,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    gantry_runtime::freeze(&call.host(), &call.container_id()?)?;
    Ok(0)
}
