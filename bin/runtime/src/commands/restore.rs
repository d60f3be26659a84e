use std::path::PathBuf;

use gantry_runtime::{CreateRequest, Foreground, Orphans, RestoreOptions};

use super::flags::{self, criu};
use crate::args::{Command, Flag, Flags};
use crate::engine::{exit_code, pid_file};
use crate::failure::Failure;
use crate::invocation::Invocation;

static LSM_PROFILE: Flag = Flag::text(&["lsm-profile"], "security profile of the processes, as TYPE:NAME");
static LSM_MOUNT_CONTEXT: Flag = Flag::text(&["lsm-mount-context"], "SELinux context of the mounts");
static TCP_CLOSE: Flag = Flag::switch(&["tcp-close"], "close the TCP connections that were open");

pub(super) static COMMAND: Command = Command {
    name: "restore",
    summary: "make a container from what checkpoint wrote",
    usage: "<container-id>",
    about: "Makes the container of a bundle again with the processes of a checkpoint, running. Needs criu.",
    flags: &[
        &flags::CONSOLE_SOCKET,
        &criu::IMAGE_PATH,
        &criu::WORK_PATH,
        &criu::TCP_ESTABLISHED,
        &TCP_CLOSE,
        &criu::EXT_UNIX_SK,
        &criu::SHELL_JOB,
        &criu::FILE_LOCKS,
        &criu::MANAGE_CGROUPS_MODE,
        &flags::BUNDLE,
        &flags::DETACH,
        &flags::PID_FILE,
        &flags::NO_SUBREAPER,
        &flags::NO_PIVOT,
        &criu::EMPTY_NS,
        &criu::AUTO_DEDUP,
        &criu::LAZY_PAGES,
        &LSM_PROFILE,
        &LSM_MOUNT_CONTEXT,
        &criu::NETWORK_LOCK,
    ],
    placement: Flags::Anywhere,
    min: 1,
    max: 1,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    let args = &call.args;
    let options = RestoreOptions {
        image: criu::image_options(args)?,
        tcp_close: args.switch("tcp-close"),
        lsm_profile: args.text("lsm-profile").map(str::to_owned),
        lsm_mount_context: args.text("lsm-mount-context").map(str::to_owned),
    };
    let request = CreateRequest {
        bundle: PathBuf::from(args.text("bundle").unwrap_or(".")),
        console: crate::engine::console(args),
        pid_file: pid_file(args)?,
        no_pivot: args.switch("no-pivot"),
        ..CreateRequest::default()
    };
    let orphans = if args.switch("no-subreaper") { Orphans::Leave } else { Orphans::Adopt };
    let foreground = Foreground { orphans, keep: false };
    let foreground = (!args.switch("detach")).then_some(&foreground);
    let id = call.container_id()?;
    let status = gantry_runtime::restore(&call.host(), &id, &request, &options, foreground)?;
    Ok(exit_code(status))
}
