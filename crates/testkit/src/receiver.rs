use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::DEADLINE;

/// The longest message that comes along with descriptors.
const MESSAGE_BYTES: usize = 64 * 1024;

/// The other end of `--console-socket`, `--pidfd-socket` and seccomp's `listenerPath`: a socket that takes descriptors.
#[derive(Debug)]
pub struct Receiver {
    listener: UnixListener,
    path: PathBuf,
}

/// What came through the socket in one message.
#[derive(Debug)]
pub struct Received {
    /// The bytes.
    pub message: Vec<u8>,
    /// The descriptors.
    pub fds: Vec<OwnedFd>,
    /// The connection.
    pub stream: UnixStream,
}

impl Receiver {
    /// Listens at `path`, which must be short: a socket's name has 108 bytes.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn listen(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        let listener =
            UnixListener::bind(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { listener, path }
    }

    /// Its path, as an argument.
    ///
    /// # Panics
    /// When the path is not UTF-8.
    pub fn path(&self) -> &str {
        self.path.to_str().expect("a path in UTF-8")
    }

    /// Waits for a connection and its first message.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn receive(&self) -> Received {
        wait_readable(&self.listener, DEADLINE);
        let (stream, _) = self.listener.accept().expect("accept");
        receive(stream)
    }

    /// Whether nobody connects within `time`.
    pub fn stays_silent(&self, time: Duration) -> bool {
        !is_readable(&self.listener, time)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[track_caller]
fn receive(stream: UnixStream) -> Received {
    wait_readable(&stream, DEADLINE);
    let mut message = vec![0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut message)];
    let got = recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).expect("recvmsg");
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    message.truncate(got.bytes);
    Received { message, fds, stream }
}

#[track_caller]
fn wait_readable(fd: &impl AsFd, limit: Duration) {
    assert!(is_readable(fd, limit), "nothing came through the socket within {limit:?}");
}

/// Whether `fd` has something to read, or has ended, within `limit`.
pub(crate) fn is_readable(fd: &impl AsFd, limit: Duration) -> bool {
    let timeout = limit.try_into().expect("a time limit fits");
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).expect("poll") > 0
}
