//! The gate between create and start: two FIFOs in the state directory.
//!
//! The container's process holds both and reads from `start`; the start command writes a byte there and reads from
//! `result` until it closes, which execve(2) does, or a message tells why there was no execve. FIFOs, because read(2)
//! and write(2) are all that a seccomp filter in force may leave. Whoever unlinks `start` has the right to open the
//! gate, so that of two start commands one wins; a dead process leaves no reader, and opening fails.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::Errno;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, mknodat, openat, unlinkat};

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
#[derive(Debug)]
pub(crate) enum Opened {
    /// The process goes through.
    Opening(Opening),
    /// Another start command was first.
    Lost,
    /// There is no process at the gate.
    Dead,
}

/// A gate that was opened, and what the process says until its program runs.
#[derive(Debug)]
pub(crate) struct Opening {
    dir: OwnedFd,
    result: OwnedFd,
}

/// Lets the process through.
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
    match rustix::io::write(&start, b"s") {
        // It was killed since its end was seen open.
        Err(Errno::PIPE) => return Ok(Opened::Dead),
        written => written.map_err(failed("write", START))?,
    };
    let dir = dir
        .fd()
        .try_clone_to_owned()
        .map_err(|error| Error::io("duplicate the state directory")(crate::config::errno(&error)))?;
    Ok(Opened::Opening(Opening { dir, result }))
}

impl Opening {
    /// Readable when the program runs, or when it cannot.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.result.as_fd()
    }

    /// Waits until the program runs; or what kept it from that.
    pub(crate) fn finish(self) -> Result<Option<Message>, Error> {
        rustix::fs::fcntl_setfl(&self.result, OFlags::empty()).map_err(Error::io("fcntl of the gate"))?;
        let told = receive_plain(self.result.as_fd()).map_err(Error::io("read the gate"))?;
        match unlinkat(&self.dir, RESULT, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(told),
            Err(errno) => Err(Error::io("unlink the gate")(errno)),
        }
    }
}

/// Waits at the gate, in the container's process.
pub(crate) fn wait(start: &OwnedFd) -> Result<(), Errno> {
    let mut byte = [0];
    rustix::io::retry_on_intr(|| rustix::io::read(start, &mut byte)).map(drop)
}
