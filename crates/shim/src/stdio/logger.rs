//! A program that takes a container's output: containerd's `binary://` and `binary-v2://`.
//!
//! It gets the reading ends at 3 and 4 and the end of a pipe at 5, on which it says that it is ready; its environment
//! names the container.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use gantry_sys::clone::{CLONE_PARENT, CloneArgs, spawn};
use gantry_sys::exec::{StringArray, execve};
use gantry_sys::{process, signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::target::Binary;
use super::{Context, null, pipe};
use crate::failure::Failure;

/// How long a logger may take to get ready.
const READY_TIMEOUT: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// A logger that runs, a child of the shim's.
#[derive(Debug)]
pub(crate) struct Logger {
    pub(crate) pid: i32,
}

impl Logger {
    /// Starts a logger and waits until it is ready; gives back the process's ends of the pipes. Without `stderr` the
    /// error output goes nowhere.
    ///
    /// # Errors
    /// NotFound and what executing gives; DeadlineExceeded; FailedPrecondition for one that ends instead.
    pub(crate) fn start(
        binary: &Binary,
        context: Context<'_>,
        no_stderr: bool,
    ) -> Result<(Self, (OwnedFd, Option<OwnedFd>)), Failure> {
        let named = |what: &str| format!("logger {}: {what}", binary.path.display());
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| Failure::invalid(named("has a NUL byte")));
        let path = text(binary.path.as_os_str().as_bytes())?;
        let mut argv = vec![path.clone()];
        for arg in &binary.args {
            argv.push(text(arg.as_bytes())?);
        }
        let mut envp = vec![
            text(format!("CONTAINER_ID={}", context.id).as_bytes())?,
            text(format!("CONTAINER_NAMESPACE={}", context.namespace).as_bytes())?,
        ];
        if let Some(path) = std::env::var_os("PATH") {
            envp.push(text(&[b"PATH=", path.as_bytes()].concat())?);
        }
        let (argv, envp) = (StringArray::new(argv), StringArray::new(envp));
        let ((output, own_output), (error, own_error), (ready, says)) = (pipe()?, pipe()?, pipe()?);
        let null = null()?;
        // Numbers past those that the program wants, so that none is overwritten before it is copied.
        let high =
            |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 16).map_err(Failure::call(named("dup")));
        let given = [high(&output)?, high(&error)?, high(&says)?];
        let child = || {
            for number in 0..3 {
                let _ = process::dup_onto(null.as_fd(), number);
            }
            for (number, fd) in given.iter().enumerate() {
                let _ = process::dup_onto(fd.as_fd(), number as i32 + 3);
            }
            let _ = process::cloexec_from(6);
            signal::default_all();
            execve(&path, &argv, &envp).raw_os_error()
        };
        let args = CloneArgs { flags: CLONE_PARENT, cgroup: None };
        let child = spawn(&args, child).map_err(Failure::call(named("clone3")))?;
        drop((given, says, output, error));
        await_ready(&ready, binary.says_ready).map_err(|failure| {
            let _ = process::pidfd_kill(child.pidfd.as_fd(), 9);
            Failure::new(failure.kind, named(&failure.message))
        })?;
        let own_error = (!no_stderr).then_some(own_error);
        Ok((Logger { pid: child.pid }, (own_output, own_error)))
    }
}

fn await_ready(ready: &OwnedFd, must_say: bool) -> Result<(), Failure> {
    let mut fds = [PollFd::new(ready, PollFlags::IN)];
    let count =
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&READY_TIMEOUT))).map_err(Failure::call("poll"))?;
    if count == 0 {
        let kind = gantry_types::ErrorKind::DeadlineExceeded;
        return Err(Failure::new(kind, format!("not ready after {} s", READY_TIMEOUT.tv_sec)));
    }
    let mut byte = [0];
    match rustix::io::read(ready, &mut byte) {
        Ok(0) if must_say => Err(Failure::precondition("it ended or closed its pipe without being ready")),
        Ok(_) => Ok(()),
        Err(errno) => Err(Failure::call("read")(errno)),
    }
}
