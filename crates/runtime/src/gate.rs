//! The gate between create and start: two FIFOs in the state directory.
//!
//! The container's process holds both and reads from `start`; the start command writes a byte there and reads from
//! `result` until it closes, which execve(2) does, or a message tells why there was no execve. FIFOs, because read(2)
//! and write(2) are all that a seccomp filter in force may leave. Whoever unlinks `start` has the right to open the
//! gate, so that of two start commands one wins; a dead process leaves no reader, and opening fails.

use std::os::fd::{AsFd, OwnedFd};

use gantry_sys::Errno;
use rustix::fs::{FileType, Mode, OFlags, mknodat, openat};

use crate::error::Error;
use crate::state::StateDir;
use crate::sync::{Message, receive_plain};

/// The FIFO that the process waits on; it exists as long as the container is created and not started.
pub(crate) const START: &str = "start";
/// The FIFO on which the process tells why it could not start.
pub(crate) const RESULT: &str = "result";

/// Makes the gate and opens the process's ends of it.
pub(crate) fn create(dir: &StateDir) -> Result<(OwnedFd, OwnedFd), Error> {
    let make = |name: &str| {
        let failed = |call: &str| Error::io(format!("{call} {}/{name}", dir.path().display()));
        mknodat(dir.fd(), name, FileType::Fifo, Mode::from_raw_mode(0o600), 0).map_err(failed("mkfifo"))?;
        // For both reading and writing, so that opening waits for nobody: fifo(7).
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat(dir.fd(), name, flags, Mode::empty()).map_err(failed("open"))
    };
    Ok((make(START)?, make(RESULT)?))
}

/// Whether the process waits at the gate.
pub(crate) fn is_closed(dir: &StateDir) -> bool {
    rustix::fs::statat(dir.fd(), START, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// What opening the gate came to.
pub(crate) enum Opened {
    /// The program runs.
    Running,
    /// Another start command was first.
    Lost,
    /// There is no process at the gate.
    Dead,
    /// The process could not execute its program.
    Failed(Message),
}

/// Lets the process through and waits until its program runs.
pub(crate) fn open(dir: &StateDir) -> Result<Opened, Error> {
    let failed = |call: &str, name: &str| Error::io(format!("{call} {}/{name}", dir.path().display()));
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let result = match openat(dir.fd(), RESULT, OFlags::RDONLY | flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Opened::Lost),
        opened => opened.map_err(failed("open", RESULT))?,
    };
    let start = match openat(dir.fd(), START, OFlags::WRONLY | flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Opened::Lost),
        Err(Errno::NXIO) => return Ok(Opened::Dead),
        opened => opened.map_err(failed("open", START))?,
    };
    if !dir.unlink(START)? {
        return Ok(Opened::Lost);
    }
    rustix::io::write(&start, b"s").map_err(failed("write", START))?;
    rustix::fs::fcntl_setfl(&result, OFlags::empty()).map_err(failed("fcntl", RESULT))?;
    let told = receive_plain(result.as_fd()).map_err(failed("read", RESULT))?;
    dir.unlink(RESULT)?;
    Ok(told.map_or(Opened::Running, Opened::Failed))
}

/// Waits at the gate, in the container's process.
pub(crate) fn wait(start: &OwnedFd) -> Result<(), Errno> {
    let mut byte = [0];
    rustix::io::retry_on_intr(|| rustix::io::read(start, &mut byte)).map(drop)
}
