use crate::args::{Command, Flags};
use crate::failure::Failure;
use crate::invocation::Invocation;

pub(super) static COMMAND: Command = Command {
    name: "start",
    summary: "let a created container run its program",
    usage: "<container-id>",
    about: "",
    flags: &[],
    placement: Flags::Anywhere,
    min: 1,
    max: 1,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    let notify = crate::engine::notify_socket();
    let id = call.container_id()?;
    gantry_runtime::start(&call.host(), &id, notify.as_deref())?;
    Ok(0)
}
