//! `serve`: the process itself becomes the shim, on a socket that the daemon has made and listens on.
//!
//! ```text
//!   daemon: bind, listen, connect, Create ──► (the kernel queues both)
//!      └─ spawn: 0 = one end of a SOCK_SEQPACKET pair ──► shim: seal, receive, lock, adopt, answer Create
//!           on it: BootstrapParams + the listener
//! ```
//! Nothing is forked and nothing printed. docs/design/0004-shim.md, Processes.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use gantry_sys::{fdpass, process};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{SocketAddrUnix, getsockname};

use crate::bootstrap::Bootstrap;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::place::Place;
use crate::pod::{self, Identity};
use crate::start;

/// The largest message that is read, in bytes: what a socket takes by default is less.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// Serves a pod until it is shut down.
///
/// # Errors
/// InvalidArgument for a message that is none, or of another container, or without a listening socket; Unavailable when another
/// shim has the pod and does not end; what setting up gives. Then nothing of the pod stays that was not there before.
///
/// # Privilege
/// Root.
pub fn serve(invocation: &Invocation) -> Result<(), Failure> {
    // Before anything is read: the last resort executes the binary anew, with the message still on its standard input.
    start::seal_self()?;
    let (bootstrap, listener) = receive(rustix::stdio::stdin(), invocation)?;
    let place = Place::of_socket(path_of(&listener)?)?;
    let bundle = match &invocation.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir().map_err(Failure::io("the working directory"))?,
    };
    let lock = place.seize()?;
    let identity = Identity {
        namespace: invocation.namespace.clone(),
        socket: place.socket.clone(),
        directory: place.directory.clone(),
        events: start::events_address(&bootstrap),
        bundle,
        options: start::options(&bootstrap),
        debug: invocation.debug,
    };
    match set_up(identity, listener, lock) {
        Ok(pod) => {
            pod.live();
            Ok(())
        }
        Err(failure) => {
            place.clear();
            Err(failure)
        }
    }
}

/// Makes the process a shim. The daemon's standard error is kept until nothing can fail any more.
fn set_up(identity: Identity, listener: OwnedFd, lock: OwnedFd) -> Result<Box<pod::Pod>, Failure> {
    start::share_cores()?;
    // It fails for the leader of a process group, whom a terminal's signals do not reach either.
    let _ = rustix::process::setsid();
    // It was executed by the number of a descriptor. What containerd's shims are called, as far as it fits.
    let _ = process::set_name(c"containerd-shim");
    let _ = rustix::process::chdir(c"/");
    start::raise_oom_score();
    start::join_cgroup(&identity.options.shim_cgroup);
    let pod = pod::Pod::open(identity, listener, lock)?;
    let null = openat(CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(Failure::call("open /dev/null"))?;
    for number in 0..3 {
        process::dup_onto(null.as_fd(), number).map_err(Failure::call("dup3"))?;
    }
    Ok(Box::new(pod))
}

/// Receives the parameters, and the listening socket with them.
fn receive(input: BorrowedFd<'_>, invocation: &Invocation) -> Result<(Bootstrap, OwnedFd), Failure> {
    let mut message = vec![0; MAX_MESSAGE_BYTES];
    let (len, mut fds) = match fdpass::receive_all(input, &mut message) {
        Err(gantry_sys::Errno::MSGSIZE) => {
            let text = format!(
                "the bootstrap message is larger than {MAX_MESSAGE_BYTES} bytes or has too many descriptors"
            );
            return Err(Failure::invalid(text));
        }
        Err(gantry_sys::Errno::NOTSOCK) => {
            return Err(Failure::invalid("the standard input is no socket with a bootstrap message"));
        }
        received => received.map_err(Failure::call("receive the bootstrap message"))?,
    };
    if len == 0 && fds.is_empty() {
        return Err(Failure::invalid("the standard input has no bootstrap message"));
    }
    let bootstrap = Bootstrap::parameters(&message[..len], invocation)?;
    match (fds.pop(), fds.is_empty()) {
        (Some(listener), true) => Ok((bootstrap, listener)),
        (None, _) => Err(Failure::invalid("the bootstrap message has no socket")),
        (Some(_), false) => Err(Failure::invalid("the bootstrap message has more than one descriptor")),
    }
}

/// Where the socket is that somebody listens on for us.
fn path_of(listener: &OwnedFd) -> Result<PathBuf, Failure> {
    let none = || Failure::invalid("the descriptor of the bootstrap message is no listening unix socket");
    if !socket_acceptconn(listener).map_err(|_| none())? {
        return Err(none());
    }
    let address = getsockname(listener).map_err(Failure::call("getsockname"))?;
    let address = SocketAddrUnix::try_from(address).map_err(|_| none())?;
    let path = address.path().ok_or_else(none)?;
    Ok(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
}
