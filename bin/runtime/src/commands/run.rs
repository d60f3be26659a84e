use gantry_runtime::{Foreground, Orphans};

use super::flags;
use crate::args::{Command, Flag, Flags};
use crate::engine::exit_code;
use crate::failure::Failure;
use crate::invocation::Invocation;

static KEEP: Flag = Flag::switch(&["keep"], "leave the container for \"delete\" when its program has ended");

pub(super) static COMMAND: Command = Command {
    name: "run",
    summary: "make a container and run its program",
    usage: "<container-id>",
    about: "Does what \"create\", \"start\" and, when the program has ended, \"delete\" do, and ends with the\n   \
            program's exit code. Signals are passed on to the program.",
    flags: &[
        &flags::BUNDLE,
        &flags::CONFIG,
        &flags::CONSOLE_SOCKET,
        &flags::PIDFD_SOCKET,
        &flags::DETACH,
        &KEEP,
        &flags::PID_FILE,
        &flags::NO_SUBREAPER,
        &flags::NO_PIVOT,
        &flags::NO_NEW_KEYRING,
        &flags::PRESERVE_FDS,
    ],
    placement: Flags::Anywhere,
    min: 1,
    max: 1,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    run_container(call).map_err(|failure| failure.during(&format!("{} run failed", call.program)))
}

fn run_container(call: &Invocation<'_>) -> Result<u8, Failure> {
    let args = &call.args;
    let orphans = if args.switch("no-subreaper") { Orphans::Leave } else { Orphans::Adopt };
    let foreground = Foreground { orphans, keep: args.switch("keep") };
    let foreground = (!args.switch("detach")).then_some(&foreground);
    let (id, request) = (call.container_id()?, call.create_request()?);
    let status = gantry_runtime::run(&call.host(), &id, &request, foreground)?;
    Ok(exit_code(status))
}
