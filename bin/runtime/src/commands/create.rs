use super::flags;
use crate::args::{Command, Flags};
use crate::failure::Failure;
use crate::invocation::Invocation;

pub(super) static COMMAND: Command = Command {
    name: "create",
    summary: "make a container, up to the point where its program would run",
    usage: "<container-id>",
    about: "Makes the container of a bundle. Its process waits for \"start\". The id must be free; it consists of\n   \
            letters, digits and the characters _+-. and is at most 200 bytes long.",
    flags: &[
        &flags::BUNDLE,
        &flags::CONFIG,
        &flags::CONSOLE_SOCKET,
        &flags::PIDFD_SOCKET,
        &flags::PID_FILE,
        &flags::NO_PIVOT,
        &flags::NO_NEW_KEYRING,
        &flags::NO_SUBREAPER,
        &flags::PRESERVE_FDS,
    ],
    placement: Flags::Anywhere,
    min: 1,
    max: 1,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    create(call).map_err(|failure| failure.during(&format!("{} create failed", call.program)))
}

fn create(call: &Invocation<'_>) -> Result<u8, Failure> {
    let (id, request) = (call.container_id()?, call.create_request()?);
    gantry_runtime::create(&call.host(), &id, &request)?;
    Ok(0)
}
