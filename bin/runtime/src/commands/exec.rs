use std::path::{Path, PathBuf};

use gantry_runtime::config::MAX_CONFIG_BYTES;
use gantry_runtime::{ExecRequest, ExecTarget, Foreground, Orphans};
use gantry_types::oci::{Capabilities, Process};
use gantry_types::{ExecUser, InvalidUser};

use super::flags;
use crate::args::{Command, Flag, Flags, Kind, Parsed};
use crate::engine::{exit_code, pid_file, preserve_fds};
use crate::failure::Failure;
use crate::input::{open_limited, parse_object};
use crate::invocation::Invocation;

/// The exit code when the program could not be run, so that it can be told from the program's own.
const NOT_RUN: u8 = 255;

static CWD: Flag = Flag::text(&["cwd"], "working directory in the container");
static ENV: Flag = Flag::new(Kind::Texts, &["env", "e"], "set an environment variable, KEY=value");
static TTY: Flag = Flag::switch(&["tty", "t"], "give the process a terminal of its own");
static USER: Flag = Flag::text(&["user", "u"], "user to run as, UID or UID:GID");
static ADDITIONAL_GIDS: Flag =
    Flag::new(Kind::Integers, &["additional-gids", "g"], "add a supplementary group, by its number");
static PROCESS: Flag = Flag::text(
    &["process", "p"],
    "file with the whole process as JSON, in place of a command and these flags",
);
static PROCESS_LABEL: Flag = Flag::text(&["process-label"], "SELinux label of the process");
static APPARMOR: Flag = Flag::text(&["apparmor"], "AppArmor profile of the process");
static NO_NEW_PRIVS: Flag =
    Flag::switch(&["no-new-privs"], "let no program that is executed gain privileges");
static CAP: Flag = Flag::new(Kind::Texts, &["cap", "c"], "add a capability, such as CAP_KILL");
static CGROUP: Flag = Flag::new(
    Kind::Texts,
    &["cgroup"],
    "run in this cgroup below the container's, as PATH or, on cgroup v1, CONTROLLER[,...]:PATH",
);
static IGNORE_PAUSED: Flag =
    Flag::switch(&["ignore-paused"], "go on in a paused container; the process waits there");

pub(super) static COMMAND: Command = Command {
    name: "exec",
    summary: "run another program in a container",
    usage: "<container-id> <command> [arguments...]",
    about: "The process is like the container's first one but for what the flags change. With --process, no command\n   \
            is given. Everything after the id belongs to the command. Ends with the program's exit code, or with 255\n   \
            if it could not be run.",
    flags: &[
        &flags::CONSOLE_SOCKET,
        &flags::PIDFD_SOCKET,
        &CWD,
        &ENV,
        &TTY,
        &USER,
        &ADDITIONAL_GIDS,
        &PROCESS,
        &flags::DETACH,
        &flags::PID_FILE,
        &PROCESS_LABEL,
        &APPARMOR,
        &NO_NEW_PRIVS,
        &CAP,
        &flags::PRESERVE_FDS,
        &CGROUP,
        &IGNORE_PAUSED,
    ],
    placement: Flags::BeforeOperands,
    min: 1,
    max: usize::MAX,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    exec(call).map_err(|failure| failure.during("exec failed").with_exit_code(NOT_RUN))
}

fn exec(call: &Invocation<'_>) -> Result<u8, Failure> {
    let (host, id, args) = (call.host(), call.container_id()?, &call.args);
    let target = ExecTarget::open(&host, &id)?;
    let process = match args.text("process") {
        Some(path) => parse_object(path, &open_limited(Path::new(path), MAX_CONFIG_BYTES)?)?,
        None => {
            let process = target.process()?;
            changed(process.ok_or_else(|| Failure::new("process property must not be empty"))?, args)?
        }
    };
    check(&process)?;
    let request = ExecRequest {
        process,
        console: crate::engine::console(args),
        pidfd_socket: args.text("pidfd-socket").map(PathBuf::from),
        pid_file: pid_file(args)?,
        preserve_fds: preserve_fds(args, 0)?,
        cgroups: args.texts("cgroup").map(str::to_owned).collect(),
        ignore_paused: args.switch("ignore-paused"),
    };
    let foreground = Foreground { orphans: Orphans::Leave, keep: true };
    let foreground = (!args.switch("detach")).then_some(&foreground);
    Ok(exit_code(target.exec(&host, &request, foreground)?))
}

/// The container's first process with what the flags change.
fn changed(mut process: Process, args: &Parsed<'_>) -> Result<Process, Failure> {
    process.args = args.operands[1..].iter().map(|word| (*word).to_owned()).collect();
    if process.args.is_empty() {
        return Err(Failure::new("exec args cannot be empty"));
    }
    let replace = |field: &mut String, flag| {
        if let Some(value) = args.text(flag) {
            value.clone_into(field);
        }
    };
    replace(&mut process.cwd, "cwd");
    replace(&mut process.apparmor_profile, "apparmor");
    replace(&mut process.selinux_label, "process-label");
    process.env.extend(args.texts("env").map(str::to_owned));
    process.terminal = args.switch("tty");
    if args.is_set("no-new-privs") {
        process.no_new_privileges = args.switch("no-new-privs");
    }
    if let Some(user) = args.text("user") {
        let user: ExecUser = user.parse().map_err(|error: InvalidUser| Failure::new(error.to_string()))?;
        process.user.uid = user.uid;
        process.user.gid = user.gid.unwrap_or(process.user.gid);
    }
    for gid in args.integers("additional-gids") {
        process.user.additional_gids.push(additional_gid(gid)?);
    }
    let mut names = args.texts("cap").peekable();
    if names.peek().is_some() {
        let capabilities = process.capabilities.get_or_insert_default();
        names.for_each(|name| add_capability(capabilities, name));
    }
    Ok(process)
}

/// Adds to the sets that make a capability usable; to the ambient one only if the container has inheritable ones,
/// without which the kernel refuses it.
fn add_capability(to: &mut Capabilities, name: &str) {
    let ambient = (!to.inheritable.is_empty()).then_some(&mut to.ambient);
    for set in [&mut to.bounding, &mut to.effective, &mut to.permitted].into_iter().chain(ambient) {
        set.push(name.to_owned());
    }
}

/// What runc refuses before it looks at the container's state, in its words.
fn check(process: &Process) -> Result<(), Failure> {
    let complaint = if process.cwd.is_empty() {
        "Cwd property must not be empty"
    } else if !process.cwd.starts_with('/') {
        "Cwd must be an absolute path"
    } else if process.args.is_empty() {
        "args must not be empty"
    } else {
        return Ok(());
    };
    Err(Failure::new(complaint))
}

fn additional_gid(gid: i64) -> Result<u32, Failure> {
    let gid = u32::try_from(gid).ok().filter(|gid| *gid != u32::MAX);
    gid.ok_or_else(|| Failure::new(format!("additional-gids must be numbers below {}", u32::MAX)))
}
