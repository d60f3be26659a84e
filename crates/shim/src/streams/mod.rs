//! The streams process: moves the bytes of containers' standard streams, so that the shim never does.
//!
//! A fork of the shim that outlives it. One thread and one epoll; it makes no call that waits, but for the writes of a
//! log, and those are made in a process of their own for each log (*log writer*), which runs the same loop:
//!
//! ```text
//! shim ──control──► hub ──control──► log writer      one per container with a log
//!                    │ terminals, relays      │ pipes ──► file, attached clients
//!                    │ attached clients       │
//! attach ──────────►─┴────── passed on ──────►┘
//! ```
//!
//! The hub holds every descriptor that it was given, also those that a log writer uses: [`protocol`] gives them back to
//! a shim that has lost them, and a log writer that dies is replaced.
//!
//! No byte is read that has no place to go: a FIFO that is full stops its own container and nobody else. Buffers have
//! memory only while something is in them. What is idle does not wake up.
//!
//! It never starts or signals a container's process, and never opens a path that a container can change.

mod attach;
mod child;
mod entry;
mod poller;
pub mod protocol;
mod queue;
mod server;

use std::os::fd::OwnedFd;
use std::path::Path;

use gantry_sys::{process, signal};
use rustix::io::Errno;

use server::Server;

/// The name of the control socket in the pod's directory.
pub const CONTROL_SOCKET: &str = "streams";
/// The name of the socket for attached clients.
pub const ATTACH_SOCKET: &str = "attach";

/// Serves until there is no entry left and no shim is connected, or until it is told to end: the exit status.
///
/// For a forked child that has nothing open but `control` and the standard streams. `control` is a `SOCK_SEQPACKET`
/// connection to the shim. The sockets of other connections are made in `dir`.
pub fn run(control: OwnedFd, dir: &Path) -> i32 {
    settle_in(c"gantry-streams");
    let Ok(mut server) = Server::hub(control, dir) else { return 1 };
    i32::from(server.serve().is_err())
}

fn run_log_writer(control: OwnedFd) -> i32 {
    settle_in(c"gantry-log");
    let Ok(mut server) = Server::log_writer(control) else { return 1 };
    i32::from(server.serve().is_err())
}

/// Names the process, and undoes what the shim did to its signals.
fn settle_in(name: &std::ffi::CStr) {
    let _ = process::set_name(name);
    signal::default_all();
    // Who writes to a client that is gone gets an error.
    signal::ignore(rustix::process::Signal::PIPE.as_raw());
    let _: Result<u64, Errno> = signal::set_blocked(0);
}
