//! Log writers: one process for each container with a log, so that a disk that does not answer stops no other.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use gantry_sys::clone::{CloneArgs, spawn};
use gantry_sys::process::{self, Wait, close_others};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::entry::{Descriptors, Place};
use super::poller::{EventFlags, Part, Watched};
use super::protocol::{Add, Op, ProtocolError, Request, send};

/// The hub's side of a log writer.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) socket: Watched,
    exit: Watched,
}

impl Child {
    /// Forks a log writer.
    pub(super) fn start(place: &Place) -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let child = spawn(&CloneArgs::default(), || {
            // The copies of the other descriptors' owners are never dropped: the process ends by _exit(2).
            if close_others(&mut [theirs.as_raw_fd()]).is_err() {
                return 1;
            }
            match theirs.try_clone() {
                Ok(control) => super::run_log_writer(control),
                Err(_) => 1,
            }
        })?;
        let mut socket = place.watch(Rc::new(ours), Part::Writer);
        let mut exit = place.watch(Rc::new(child.pidfd), Part::WriterExit);
        socket.arm(EventFlags::IN)?;
        exit.arm(EventFlags::IN)?;
        Ok(Self { socket, exit })
    }

    /// Passes a request on.
    pub(super) fn send(&self, seq: u64, op: Op, fds: &[BorrowedFd<'_>]) -> Result<(), ProtocolError> {
        send(self.socket.as_fd(), &Request { seq, op }, fds)
    }

    /// Hands the streams over.
    pub(super) fn add(&self, seq: u64, add: &Add, held: &Descriptors) -> Result<(), ProtocolError> {
        let roles = held.iter().map(|(role, _)| *role).collect();
        let fds: Vec<_> = held.iter().map(|(_, fd): &(_, Rc<OwnedFd>)| fd.as_fd()).collect();
        self.send(seq, Op::Add(Add { roles, ..add.clone() }), &fds)
    }

    /// Reaps it, once it has ended.
    pub(super) fn reap(&self) {
        let _ = process::wait(Wait::Child(self.exit.as_fd()));
    }
}
