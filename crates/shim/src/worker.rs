//! Operations in processes of their own: whatever can wait, fail badly or use much memory.
//!
//! ```text
//!   shim ──clone3──► worker: closes what it was not given, works, answers once, ends
//!     ▲                │
//!     └─ stream socket ┘   u8 verdict (0 done, 1 failed), body; descriptors with the first message; then the end
//! ```
//! Whoever takes a pod over waits for the workers of the shim before (`workers` in the pod's directory): what they make later
//! would be lost to everybody. What a worker makes is a child of the shim's (CLONE_PARENT), which reaps it. A worker that ends without a verdict has
//! failed, and nothing but its operation with it. Hooks and other helpers are in its process group, and end with it when it is ended.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use gantry_sys::clone::{CloneArgs, spawn};
use gantry_sys::{Errno, fdpass, process, signal, syscall};
use gantry_types::ErrorKind;
use rustix::fs::FlockOperation;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::failure::Failure;

/// The largest answer, in bytes: a list of 65,536 processes.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// How much is read at once.
const CHUNK_BYTES: usize = 16 << 10;

const SIGKILL: i32 = 9;

const DONE: u8 = 0;
const FAILED: u8 = 1;

/// What an operation came to.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The answer, as the operation has it.
    pub(crate) body: Vec<u8>,
    /// Descriptors for the shim, in the operation's order; at most [`fdpass::MAX_FDS`].
    pub(crate) fds: Vec<OwnedFd>,
}

/// A worker at work.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its process, and its group.
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    answer: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// Begins an operation. Of the caller's descriptors the worker keeps the standard streams, and `workers`, on which it has a
/// lock as long as it lives.
///
/// # Errors
/// What clone3(2) and socketpair(2) give.
pub(crate) fn begin(
    workers: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<Done, Failure>,
) -> Result<Worker, Failure> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(Failure::call("socketpair"))?;
    rustix::io::ioctl_fionbio(&ours, true).map_err(Failure::call("fcntl"))?;
    let mut numbers = [workers.as_raw_fd(), theirs.as_raw_fd()];
    let child = || {
        let _ = process::close_others(&mut numbers);
        // A lock of the process's own, which nobody whom it forks inherits: fcntl_locking(2).
        let _ = rustix::fs::fcntl_lock(workers, FlockOperation::NonBlockingLockShared);
        let _ = process::set_name(c"gantry-worker");
        // Containers' processes leave the group: they have sessions of their own.
        let _ = rustix::process::setpgid(None, None);
        let _ = signal::set_blocked(0);
        report_panics(theirs.as_fd());
        let sent = match work() {
            Ok(done) => answer(theirs.as_fd(), DONE, &done.body, &done.fds),
            Err(failure) => answer(theirs.as_fd(), FAILED, &failure.encode(), &[]),
        };
        i32::from(sent.is_err())
    };
    let child = spawn(&CloneArgs::default(), child).map_err(Failure::call("clone3"))?;
    Ok(Worker { pid: child.pid, pidfd: child.pidfd, socket: ours, answer: Vec::new(), fds: Vec::new() })
}

/// A panic is told as a failure: the standard error stream may be a container's.
fn report_panics(socket: BorrowedFd<'_>) {
    let number = socket.try_clone_to_owned();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
        let text = info.payload_as_str().unwrap_or("no words");
        let failure = Failure::new(ErrorKind::Internal, format!("worker panicked{place}: {text}"));
        if let Ok(socket) = &number {
            let _ = answer(socket.as_fd(), FAILED, &failure.encode(), &[]);
        }
        syscall::exit_now(101);
    }));
}

fn answer(socket: BorrowedFd<'_>, verdict: u8, body: &[u8], fds: &[OwnedFd]) -> Result<(), Errno> {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    // The beginning as one message, which the kernel takes whole: whoever is ended meanwhile has said all of a short answer, or
    // nothing.
    let (first, mut rest) = body.split_at(body.len().min(CHUNK_BYTES - 1));
    fdpass::send(socket, &[&[verdict], first].concat(), &fds)?;
    while !rest.is_empty() {
        let flags = rustix::net::SendFlags::NOSIGNAL;
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(socket, rest, flags))?;
        rest = &rest[sent..];
    }
    Ok(())
}

impl Worker {
    /// The descriptor that is readable when there is something to [`Worker::receive`].
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Ends it in the middle of its work, and what it has executed for it.
    pub(crate) fn end(&self) {
        // As long as it was not reaped, nobody else can have its number.
        if process::pidfd_kill(self.pidfd.as_fd(), 0).is_ok() {
            let _ = process::kill(-self.pid, SIGKILL);
            let _ = process::pidfd_kill(self.pidfd.as_fd(), SIGKILL);
        }
    }

    /// Whether it has said how its operation ended, or has begun to.
    pub(crate) fn has_spoken(&self) -> bool {
        !self.answer.is_empty()
    }

    /// Takes what has come; the verdict, once it is complete.
    pub(crate) fn receive(&mut self) -> Option<Result<Done, Failure>> {
        loop {
            let mut chunk = [0; CHUNK_BYTES];
            match fdpass::receive_all(self.socket.as_fd(), &mut chunk) {
                Ok((0, _)) => return Some(self.verdict()),
                Ok((len, fds)) => {
                    self.fds.extend(fds);
                    if self.answer.len() + len > MAX_ANSWER_BYTES {
                        return Some(Err(Failure::new(
                            ErrorKind::ResourceExhausted,
                            format!("the answer is larger than {MAX_ANSWER_BYTES} bytes"),
                        )));
                    }
                    self.answer.extend_from_slice(&chunk[..len]);
                }
                Err(Errno::AGAIN) => return None,
                Err(errno) => return Some(Err(Failure::call("receive a worker's answer")(errno))),
            }
        }
    }

    fn verdict(&mut self) -> Result<Done, Failure> {
        match self.answer.split_first() {
            Some((&DONE, body)) => Ok(Done { body: body.to_vec(), fds: std::mem::take(&mut self.fds) }),
            Some((_, body)) => Err(Failure::decode(body)),
            None => Err(Failure::new(
                ErrorKind::Internal,
                format!(
                    "worker {} ended without an answer; it may have been killed for want of memory",
                    self.pid
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_answer_comes_whole_or_not_at_all() {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let body = vec![7; CHUNK_BYTES - 1];
        answer(theirs.as_fd(), DONE, &body, &[]).unwrap();
        let mut chunk = [0; CHUNK_BYTES];
        let (len, _) = fdpass::receive_all(ours.as_fd(), &mut chunk).unwrap();
        assert_eq!((len, chunk[0], &chunk[1..]), (CHUNK_BYTES, DONE, &body[..]));
    }
}
