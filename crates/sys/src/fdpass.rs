//! Descriptors over unix sockets: SCM_RIGHTS of unix(7).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// How many descriptors a message of ours has at most.
pub const MAX_FDS: usize = 8;

/// Sends `data` and descriptors as one message.
///
/// # Errors
/// `EINVAL` for too many descriptors, and what sendmsg(2) gives.
pub fn send(socket: BorrowedFd<'_>, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::INVAL);
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(data)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => return result.map(drop),
        }
    }
}

/// Receives one message into `data`: its length (0 at the end) and its first descriptor, if it has any.
pub fn receive(socket: BorrowedFd<'_>, data: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    // Those after the first are closed here.
    take(socket, data).map(|(len, fds, _)| (len, fds.into_iter().next()))
}

/// Receives one message into `data`: its length (0 at the end) and its descriptors, in order, close-on-exec.
///
/// # Errors
/// `EMSGSIZE` for a message that is longer than `data` or has more descriptors than a message of ours; `EAGAIN`.
pub fn receive_all(socket: BorrowedFd<'_>, data: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let (len, fds, flags) = take(socket, data)?;
    if flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    Ok((len, fds))
}

fn take(socket: BorrowedFd<'_>, data: &mut [u8]) -> Result<(usize, Vec<OwnedFd>, ReturnFlags), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(data)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    let mut received_fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            received_fds.extend(fds);
        }
    }
    Ok((received.bytes, received_fds, received.flags))
}
