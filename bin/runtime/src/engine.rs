//! Between the command line and the library: requests from flags, failures from errors.

use std::path::{Path, PathBuf};

use gantry_runtime::{CgroupDriver, Console, CreateRequest, Error, Host, Notices, Severity};
use gantry_types::ContainerId;

use crate::args::Parsed;
use crate::failure::Failure;
use crate::globals::{CgroupManager, Rootless, absolute};
use crate::invocation::Invocation;
use crate::log::Level;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::of(&error)
    }
}

impl Invocation<'_> {
    /// Where containers are kept, as the global flags say.
    pub(crate) fn host(&self) -> Host {
        let mut host = Host::new(&self.globals.root);
        host.cgroup_driver = match self.globals.cgroup_manager {
            CgroupManager::Cgroupfs => CgroupDriver::Fs,
            CgroupManager::Systemd => CgroupDriver::Systemd,
            CgroupManager::Disabled => CgroupDriver::Disabled,
        };
        match self.globals.rootless {
            Rootless::Auto => {}
            Rootless::Yes => host.rootless = true,
            Rootless::No => host.rootless = false,
        }
        let log = self.log.clone();
        host.notices = Notices::to(move |severity, text| {
            let level = match severity {
                Severity::Warning => Level::Warning,
                Severity::Debug => Level::Debug,
            };
            log.write(level, text);
        });
        host
    }

    /// The container that the first operand names.
    pub(crate) fn container_id(&self) -> Result<ContainerId, Failure> {
        self.id().parse().map_err(|error| Failure::of(&error))
    }

    /// What `create`, `run` and `restore` make a container from.
    pub(crate) fn create_request(&self) -> Result<CreateRequest, Failure> {
        let args = &self.args;
        let listen_fds = listen_fds();
        Ok(CreateRequest {
            bundle: PathBuf::from(args.text("bundle").unwrap_or(".")),
            config: args.text("config").map(PathBuf::from),
            console: console(args),
            pidfd_socket: args.text("pidfd-socket").map(PathBuf::from),
            pid_file: pid_file(args)?,
            no_pivot: args.switch("no-pivot"),
            no_new_keyring: args.switch("no-new-keyring"),
            preserve_fds: preserve_fds(args, listen_fds)?,
            listen_fds,
            notify_socket: notify_socket(),
        })
    }
}

/// The file for the process id, made absolute before the working directory changes.
pub(crate) fn pid_file(args: &Parsed<'_>) -> Result<Option<PathBuf>, Failure> {
    args.text("pid-file").map(|path| absolute(Path::new(path))).transpose()
}

/// The number of descriptors to hand on, which must all be there: an unopened one would become a file of ours.
///
/// They follow standard error and the `before` ones of the service manager.
pub(crate) fn preserve_fds(args: &Parsed<'_>, before: u32) -> Result<u32, Failure> {
    let count = args.integer("preserve-fds").unwrap_or(0);
    let invalid = || Failure::new(format!("invalid value {count} for flag -preserve-fds"));
    let first = i64::from(before) + FIRST_FD;
    let last = i32::try_from(first.saturating_add(count)).map_err(|_| invalid())?;
    for fd in FIRST_FD as i32..last {
        if !gantry_sys::process::is_inherited(fd) {
            return Err(Failure::new(format!("descriptor {fd}, which is to be handed on, is not open")));
        }
    }
    u32::try_from(count).map_err(|_| invalid())
}

/// The first descriptor after the standard streams.
const FIRST_FD: i64 = 3;

/// The socket on which a service manager waits for readiness: sd_notify(3).
pub(crate) fn notify_socket() -> Option<PathBuf> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// How many descriptors a service manager handed to this process: sd_listen_fds(3).
fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return 0;
    }
    number("LISTEN_FDS").unwrap_or(0)
}

/// An exit code of a program as that of this one.
pub(crate) fn exit_code(status: i32) -> u8 {
    u8::try_from(status & 0xff).unwrap_or(u8::MAX)
}

/// Who gets the terminal's master: the socket of the command line.
pub(crate) fn console(args: &Parsed) -> Console {
    args.text("console-socket").map_or(Console::Foreground, |path| Console::Socket(path.into()))
}
