//! Names of hosts, resolved by a child: the C library waits for name servers, and a container does not wait for it.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use gantry_sys::Errno;
use gantry_sys::clone::{Child, CloneArgs, spawn};
use gantry_sys::process::{self, Wait, close_others};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::compress::Process;

/// The most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 16;
/// Their text.
const MAX_TEXT_BYTES: usize = 1024;

/// A name that is being resolved.
#[derive(Debug)]
pub(super) struct Resolver {
    child: Child,
    pipe: OwnedFd,
    text: Vec<u8>,
}

/// What there is of a name.
#[derive(Debug)]
pub(super) enum Resolved {
    Addresses(Vec<SocketAddr>),
    Later(Resolver),
}

/// Resolves a name, or an address, for which nobody is asked.
pub(super) fn resolve(host: &str, port: u16, process: Process) -> Result<Resolved, Errno> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(Resolved::Addresses(vec![SocketAddr::new(address, port)]));
    }
    if process == Process::Threaded {
        return Ok(Resolved::Addresses(look_up(host, port)));
    }
    let (pipe, end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let child = spawn(&CloneArgs::default(), || {
        // The container's streams are not held open by this child.
        let _ = close_others(&mut [end.as_raw_fd()]);
        let mut text = Vec::new();
        for address in look_up(host, port) {
            let _ = writeln!(text, "{address}");
        }
        i32::from(rustix::io::write(&end, &text[..text.len().min(MAX_TEXT_BYTES)]).is_err())
    })?;
    Ok(Resolved::Later(Resolver { child, pipe, text: Vec::new() }))
}

fn look_up(host: &str, port: u16) -> Vec<SocketAddr> {
    (host, port).to_socket_addrs().map(|found| found.take(MAX_ADDRESSES).collect()).unwrap_or_default()
}

impl Resolver {
    /// The addresses: `AGAIN` while they are looked for.
    pub(super) fn finish(&mut self) -> Result<Vec<SocketAddr>, Errno> {
        let mut step = [0; MAX_TEXT_BYTES];
        loop {
            match rustix::io::read(&self.pipe, &mut step) {
                Ok(0) => break,
                Ok(len) if self.text.len() < MAX_TEXT_BYTES => self.text.extend_from_slice(&step[..len]),
                Ok(_) => {}
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        let text = String::from_utf8_lossy(&self.text);
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// What becomes readable when there is something.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = process::pidfd_kill(self.child.pidfd.as_fd(), 9);
        let _ = process::wait(Wait::Child(self.child.pidfd.as_fd()));
    }
}
