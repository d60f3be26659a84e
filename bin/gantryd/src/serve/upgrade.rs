//! The daemon's binary once more, in the same process and with the same sockets.
//!
//! SIGUSR2 asks for it. Who connects meanwhile waits in the kernel's queue; requests that are open have the time that they have
//! at a stop. The sockets go as a service manager would give them (sd_listen_fds(3)).

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Sockets;
use super::socket::{FIRST_GIVEN, HANDED_OVER};

pub(crate) const SIGUSR2: i32 = 12;
/// How long the binary may take to say its version.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// What the next one needs.
#[derive(Debug)]
pub(crate) struct Upgrade {
    binary: PathBuf,
    arguments: Vec<OsString>,
    listeners: Vec<OwnedFd>,
    /// Whether the sockets' files are ours.
    ours: bool,
}

impl Upgrade {
    /// Notes what there is at the start: the path of a binary that is replaced is not known later.
    pub(crate) fn prepare(sockets: &Sockets) -> Result<Self> {
        let (grpc, ours) = sockets.grpc.another().context("cannot duplicate a socket")?;
        let (events, _) = sockets.events.another().context("cannot duplicate a socket")?;
        let mut listeners = vec![grpc, events];
        listeners.extend(sockets.docker.others().context("cannot duplicate a socket")?);
        Ok(Self {
            binary: std::env::current_exe().context("cannot tell which binary this is")?,
            arguments: std::env::args_os().skip(1).collect(),
            listeners,
            ours,
        })
    }

    /// Whether the binary that is there now can be executed at all.
    pub(crate) async fn check(&self) -> Result<()> {
        let mut command = tokio::process::Command::new(&self.binary);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = tokio::time::timeout(CHECK_TIMEOUT, command.kill_on_drop(true).status()).await;
        let path = self.binary.display();
        let status = status.with_context(|| format!("{path} --version does not end"))?;
        let status = status.with_context(|| format!("cannot execute {path}"))?;
        ensure!(status.success(), "{path} --version: {status}");
        Ok(())
    }

    /// Executes it. Returns only if that fails.
    pub(crate) fn execute(self) -> Result<()> {
        let Self { binary, arguments, listeners, ours } = self;
        // Out of the way first: one may have the number that another gets.
        let last = FIRST_GIVEN + i32::try_from(listeners.len()).context("too many sockets")?;
        let parked: Vec<OwnedFd> = listeners
            .iter()
            .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, last))
            .collect::<Result<_, _>>()
            .context("cannot duplicate a socket")?;
        // They are closed by what takes their numbers, or by execve(2).
        listeners.into_iter().for_each(std::mem::forget);
        for (fd, number) in parked.iter().zip(FIRST_GIVEN..) {
            debug_assert!(fd.as_raw_fd() >= last);
            gantry_sys::process::dup_onto(fd.as_fd(), number).context("cannot duplicate a socket")?;
        }
        let mut command = std::process::Command::new(&binary);
        command
            .args(arguments)
            .env("LISTEN_PID", std::process::id().to_string())
            .env("LISTEN_FDS", parked.len().to_string());
        if ours {
            command.env(HANDED_OVER, "1");
        }
        Err(command.exec()).with_context(|| format!("cannot execute {}", binary.display()))
    }
}
