//! What the parent and the child of a clone tell one another, over a socket pair of whole messages.
//!
//! ```text
//!   parent                                   child
//!     |  clone3                                |
//!     |--------------------------------------->|
//!     |  Maps           (new user namespace)   |  waits, becomes root in it
//!     |--------------------------------------->|
//!     |  Cgroup         (cgroup v1)            |  waits before it looks at its cgroup
//!     |--------------------------------------->|
//!     |  HookState, twice (hooks)              |
//!     |--------------------------------------->|
//!     |           NeedTimeOffsets  (time ns)   |
//!     |<---------------------------------------|
//!     |  TimeOffsets                           |
//!     |--------------------------------------->|
//!     |           MountsMade       (hooks)     |
//!     |<---------------------------------------|
//!     |  HooksRun                              |  hooks of its own, pivot_root
//!     |--------------------------------------->|
//!     |           Console + terminal           |
//!     |<---------------------------------------|
//!     |           NeedLimits  (user namespace) |
//!     |<---------------------------------------|
//!     |  Limits                                |
//!     |--------------------------------------->|
//!     |           Listener        (notify)     |
//!     |<---------------------------------------|
//!     |  ListenerTaken                         |
//!     |--------------------------------------->|
//!     |           Ready                        |
//!     |<---------------------------------------|  waits at its gate
//!     |  Start          (run)                  |
//!     |--------------------------------------->|  execve closes the socket
//!     |           end of file                  |
//!     |<---------------------------------------|
//! ```
//!
//! At any time the child may say `Fault` and end. Whoever sees the other's end of file gives up.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::{Errno, fdpass};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// A step failed: `step`, `index` and `errno` tell which and why.
    Fault = 1,
    /// From the intermediate process: the child's pid in `index`, its pidfd with the message.
    Spawned,
    NeedTimeOffsets,
    MountsMade,
    Console,
    NeedLimits,
    /// The seccomp listener's number in the child is `index`.
    Listener,
    Ready,
    Maps,
    TimeOffsets,
    Cgroup,
    HooksRun,
    Limits,
    ListenerTaken,
    /// The state for hooks, as a memory file.
    HookState,
    Start,
}

const KINDS: [Kind; 16] = [
    Kind::Fault,
    Kind::Spawned,
    Kind::NeedTimeOffsets,
    Kind::MountsMade,
    Kind::Console,
    Kind::NeedLimits,
    Kind::Listener,
    Kind::Ready,
    Kind::Maps,
    Kind::TimeOffsets,
    Kind::Cgroup,
    Kind::HooksRun,
    Kind::Limits,
    Kind::ListenerTaken,
    Kind::HookState,
    Kind::Start,
];

/// The length of an encoded message.
pub(crate) const MESSAGE_BYTES: usize = 16;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) step: u32,
    pub(crate) index: u32,
    /// Its sign does not matter: the last calls of a child report the kernel's own, negative number.
    pub(crate) errno: i32,
}

impl Message {
    pub(crate) fn new(kind: Kind) -> Self {
        Message { kind, step: 0, index: 0, errno: 0 }
    }

    /// The error that it names.
    pub(crate) fn errno(self) -> Errno {
        gantry_sys::syscall::received_errno(self.errno)
    }

    pub(crate) fn encode(self) -> [u8; MESSAGE_BYTES] {
        let mut bytes = [0; MESSAGE_BYTES];
        bytes[0..4].copy_from_slice(&(self.kind as u32).to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.step.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.index.to_ne_bytes());
        bytes[12..16].copy_from_slice(&self.errno.to_ne_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; MESSAGE_BYTES]) -> Option<Self> {
        let word = |at: usize| -> u32 {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let kind = *KINDS.get((word(0) as usize).checked_sub(1)?)?;
        Some(Message { kind, step: word(4), index: word(8), errno: (word(12) as i32).wrapping_abs() })
    }
}

/// The two ends of the conversation; both close on exec.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends a message, with a descriptor if there is one.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    message: Message,
    fd: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    match fd {
        Some(fd) => fdpass::send(socket, &message.encode(), &[fd]),
        // write(2), because a seccomp filter in force may watch sendmsg(2).
        None => rustix::io::retry_on_intr(|| rustix::io::write(socket, &message.encode())).map(drop),
    }
}

/// Receives a message; `None` when the other end is closed, also if it was closed with words of ours unread: whoever was
/// killed before it read them has ended like one that was killed after it.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Message, Option<OwnedFd>)>, Errno> {
    let mut bytes = [0; MESSAGE_BYTES];
    let (len, fd) = match fdpass::receive(socket.as_fd(), &mut bytes) {
        Err(Errno::CONNRESET) => return Ok(None),
        received => received?,
    };
    match len {
        0 => Ok(None),
        MESSAGE_BYTES => Message::decode(&bytes).map(|message| Some((message, fd))).ok_or(Errno::BADMSG),
        _ => Err(Errno::BADMSG),
    }
}

/// Receives a message without descriptors by read(2) alone.
pub(crate) fn receive_plain(socket: BorrowedFd<'_>) -> Result<Option<Message>, Errno> {
    let mut bytes = [0; MESSAGE_BYTES];
    match rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut bytes))? {
        0 => Ok(None),
        MESSAGE_BYTES => Message::decode(&bytes).map(Some).ok_or(Errno::BADMSG),
        _ => Err(Errno::BADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_socket() {
        let (a, b) = pair().unwrap();
        for kind in KINDS {
            let message = Message { kind, step: 7, index: 9, errno: 3 };
            send(a.as_fd(), message, None).unwrap();
            assert_eq!(receive(b.as_fd()).unwrap().unwrap().0, message);
        }
        drop(a);
        assert!(receive(b.as_fd()).unwrap().is_none());
    }

    #[test]
    fn an_end_with_words_unread_is_an_end() {
        let (a, b) = pair().unwrap();
        send(a.as_fd(), Message::new(Kind::Cgroup), None).unwrap();
        drop(b);
        assert!(receive(a.as_fd()).unwrap().is_none());
    }
}
