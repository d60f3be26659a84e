//! Shims that are given their socket, as gantryd starts them.

use std::fs;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Output};

use gantry_proto_shim::Message;
use gantry_proto_shim::any::Any;
use gantry_proto_shim::bootstrap::{BootstrapParams, Extension};
use gantry_proto_shim::options::Options;
use gantry_testkit::Bundle;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};

use super::binary::Answer;
use super::daemon::{Daemon, name_of};
use super::task::Task;

impl Daemon {
    /// The parameters that a daemon of the newest protocol gives.
    pub(crate) fn params(&self, id: &str) -> BootstrapParams {
        BootstrapParams {
            instance_id: id.to_owned(),
            namespace: self.namespace().to_owned(),
            containerd_version: "v2.3.0".into(),
            containerd_ttrpc_address: self.ttrpc_address().display().to_string(),
            containerd_grpc_address: self.address().display().to_string(),
            containerd_binary: "/bin/true".into(),
            extensions: vec![Extension { value: Some(Any::pack(&Options::default())) }],
            ..BootstrapParams::default()
        }
    }

    /// The path of a group's socket.
    pub(crate) fn socket_of(&self, group: &str) -> PathBuf {
        self.state_root().with_file_name("s").join(group)
    }

    /// Makes a group's socket, in the place of one that nobody serves.
    #[track_caller]
    pub(crate) fn listen(&self, group: &str) -> UnixListener {
        let path = self.socket_of(group);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory for sockets");
        let _ = fs::remove_file(&path);
        UnixListener::bind(&path).expect("a socket for the shim")
    }

    /// Where whoever serves a group's socket is found.
    pub(crate) fn answer_of(&self, group: &str) -> Answer {
        let address = format!("unix://{}", self.socket_of(group).display());
        Answer { version: 3, address, protocol: "ttrpc".into() }
    }

    /// Spawns a shim on a socket.
    #[track_caller]
    pub(crate) fn spawn(&self, id: &str, bundle: &Bundle, listener: &UnixListener) {
        let child = self.hand(id, bundle, &self.params(id).encode_to_vec(), &[listener.as_fd()]);
        self.own(child);
    }

    /// Spawns a shim with a message and descriptors; without both nothing is sent.
    #[track_caller]
    pub(crate) fn hand(&self, id: &str, bundle: &Bundle, message: &[u8], fds: &[BorrowedFd<'_>]) -> Child {
        let input = mail(message, fds);
        self.call(id, bundle.path()).args(["serve"]).spawn(input)
    }

    /// As [`Self::hand`], up to its end.
    #[track_caller]
    pub(crate) fn hand_in_vain(
        &self,
        id: &str,
        bundle: &Bundle,
        message: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Output {
        self.hand(id, bundle, message, fds).wait_with_output().expect("the shim is our child")
    }

    /// A container that is not created yet, and its shim, which was handed its socket.
    #[track_caller]
    pub(crate) fn handed(&self, bundle: Bundle) -> Task<'_> {
        let id = name_of(&bundle);
        self.spawn(&id, &bundle, &self.listen(&id));
        let shim = self.connect(&self.answer_of(&id), &id);
        Task::new(self, shim, bundle, id)
    }
}

/// The end of a pair on which a message waits that will be the last.
#[track_caller]
pub(crate) fn mail(message: &[u8], fds: &[BorrowedFd<'_>]) -> OwnedFd {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .expect("a pair of sockets");
    if message.is_empty() && fds.is_empty() {
        return theirs;
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)), "too many descriptors");
    sendmsg(&ours, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL).expect("room for a message");
    theirs
}
