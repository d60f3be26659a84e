//! The way to a peer: a socket that is connected when there is something to send, and anew when that fails.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gantry_sys::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::sockopt::socket_error;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, send, sendmsg, socket_with,
};

use super::resolve::{Resolved, Resolver, resolve};
use crate::compress::Process;
use crate::driver::SyslogAddress;

/// Where a machine's own syslog may listen.
const USUAL_SOCKETS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// How long a connection may take before the next address is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a name may be looked for.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a descriptor is to be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read.
    Readable,
    /// Room to write.
    Writable,
}

#[derive(Debug)]
pub(super) struct Transport {
    target: Target,
    state: State,
    /// Whether the last attempt found the peer busy.
    is_busy: bool,
}

#[derive(Debug)]
enum Target {
    /// Sockets of the file system, of either kind; the first that is there.
    Paths(Vec<PathBuf>),
    /// The journal, which takes large messages as files.
    Journal(PathBuf),
    Host {
        host: String,
        port: u16,
        kind: SocketType,
        process: Process,
    },
}

#[derive(Debug)]
enum State {
    Idle,
    Resolving { resolver: Resolver, until: Instant },
    Connecting { socket: OwnedFd, others: Vec<SocketAddr>, until: Instant },
    Connected { socket: OwnedFd, is_stream: bool },
}

impl Transport {
    pub(super) fn syslog(address: &SyslogAddress, process: Process) -> Self {
        let host = |host: &String, port: u16, kind| Target::Host { host: host.clone(), port, kind, process };
        Self::new(match address {
            SyslogAddress::Here => Target::Paths(USUAL_SOCKETS.map(PathBuf::from).to_vec()),
            SyslogAddress::Unix(path) => Target::Paths(vec![path.clone()]),
            SyslogAddress::Udp(name, port) => host(name, *port, SocketType::DGRAM),
            SyslogAddress::Tcp(name, port) => host(name, *port, SocketType::STREAM),
        })
    }

    pub(super) fn journal(socket: &Path) -> Self {
        Self::new(Target::Journal(socket.to_owned()))
    }

    fn new(target: Target) -> Self {
        Self { target, state: State::Idle, is_busy: false }
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected { .. })
    }

    /// Sends a message, or as much of it as a stream takes; `is_whole` for one of which nothing was sent before.
    ///
    /// `AGAIN` while a peer is looked for or busy; `MSGSIZE` for what none takes.
    pub(super) fn send(&mut self, message: &[u8], is_whole: bool) -> Result<usize, Errno> {
        let was_connected = self.is_connected();
        let result = self.try_send(message);
        // A peer that was restarted is found out by sending.
        let is_lost =
            |errno| matches!(errno, Errno::CONNREFUSED | Errno::CONNRESET | Errno::PIPE | Errno::NOTCONN);
        let result = match result {
            Err(errno) if was_connected && is_whole && is_lost(errno) => {
                self.state = State::Idle;
                self.try_send(message)
            }
            result => result,
        };
        self.is_busy = matches!(result, Err(Errno::AGAIN));
        if let Err(errno) = result
            && !matches!(errno, Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::MSGSIZE)
        {
            self.state = State::Idle;
        }
        result
    }

    fn try_send(&mut self, message: &[u8]) -> Result<usize, Errno> {
        self.connect()?;
        let State::Connected { socket, is_stream } = &self.state else { return Err(Errno::AGAIN) };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::io::retry_on_intr(|| send(socket, message, flags)) {
            Err(Errno::MSGSIZE) if matches!(self.target, Target::Journal(_)) => send_file(socket, message),
            Ok(_) if !is_stream => Ok(message.len()),
            result => result,
        }
    }

    /// Goes on towards a connection: `AGAIN` while there is none yet.
    fn connect(&mut self) -> Result<(), Errno> {
        if let State::Idle = self.state {
            self.begin()?;
        }
        if let State::Resolving { resolver, until } = &mut self.state {
            let found = match resolver.finish() {
                Err(Errno::AGAIN) if Instant::now() < *until => return Err(Errno::AGAIN),
                found => found?,
            };
            self.try_addresses(found)?;
        }
        if let State::Connecting { socket, others, until } = &mut self.state {
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let ready = poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&at_once))? > 0;
            if !ready && Instant::now() < *until {
                return Err(Errno::AGAIN);
            }
            let others = std::mem::take(others);
            let connected = if ready { socket_error(&*socket)? } else { Err(Errno::TIMEDOUT) };
            let State::Connecting { socket, .. } = std::mem::replace(&mut self.state, State::Idle) else {
                return Err(Errno::AGAIN);
            };
            match connected {
                Ok(()) => self.state = State::Connected { socket, is_stream: true },
                Err(errno) if others.is_empty() => return Err(errno),
                Err(_) => self.try_addresses(others)?,
            }
        }
        if self.is_connected() { Ok(()) } else { Err(Errno::AGAIN) }
    }

    fn begin(&mut self) -> Result<(), Errno> {
        match &self.target {
            Target::Journal(path) => {
                let socket = unix(path, SocketType::DGRAM)?;
                self.state = State::Connected { socket, is_stream: false };
            }
            Target::Paths(paths) => {
                let mut last = Errno::NOENT;
                for path in paths {
                    let found = match unix(path, SocketType::DGRAM) {
                        Err(Errno::PROTOTYPE) => unix(path, SocketType::STREAM).map(|socket| (socket, true)),
                        found => found.map(|socket| (socket, false)),
                    };
                    match found {
                        Ok((socket, is_stream)) => {
                            self.state = State::Connected { socket, is_stream };
                            return Ok(());
                        }
                        Err(Errno::NOENT) => {}
                        Err(errno) => last = errno,
                    }
                }
                return Err(last);
            }
            Target::Host { host, port, process, .. } => match resolve(host, *port, *process)? {
                Resolved::Addresses(addresses) => self.try_addresses(addresses)?,
                Resolved::Later(resolver) => {
                    self.state = State::Resolving { resolver, until: Instant::now() + RESOLVE_TIMEOUT };
                }
            },
        }
        Ok(())
    }

    /// Begins to connect to the first of them for which that does not fail at once.
    fn try_addresses(&mut self, mut addresses: Vec<SocketAddr>) -> Result<(), Errno> {
        self.state = State::Idle;
        let Target::Host { kind, .. } = self.target else { return Err(Errno::INVAL) };
        let mut last = Errno::HOSTUNREACH;
        while !addresses.is_empty() {
            let address = addresses.remove(0);
            match dial(address, kind) {
                Ok((socket, true)) => {
                    self.state = State::Connected { socket, is_stream: kind == SocketType::STREAM };
                    return Ok(());
                }
                Ok((socket, false)) => {
                    let until = Instant::now() + CONNECT_TIMEOUT;
                    self.state = State::Connecting { socket, others: addresses, until };
                    return Ok(());
                }
                Err(errno) => last = errno,
            }
        }
        Err(last)
    }

    /// What to wait for before the next attempt, if waiting helps.
    pub(super) fn waits_for(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        match &self.state {
            State::Idle => None,
            State::Resolving { resolver, .. } => Some((resolver.descriptor(), Interest::Readable)),
            State::Connecting { socket, .. } => Some((socket.as_fd(), Interest::Writable)),
            State::Connected { socket, .. } => self.is_busy.then(|| (socket.as_fd(), Interest::Writable)),
        }
    }
}

fn new_socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// A socket that is connected, so that its peer's queue is what poll(2) looks at.
fn unix(path: &Path, kind: SocketType) -> Result<OwnedFd, Errno> {
    let socket = new_socket(AddressFamily::UNIX, kind)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// A socket, and whether it is connected already.
fn dial(address: SocketAddr, kind: SocketType) -> Result<(OwnedFd, bool), Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = new_socket(family, kind)?;
    match connect(&socket, &address) {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS | Errno::INTR) => Ok((socket, false)),
        Err(errno) => Err(errno),
    }
}

/// Sends the journal a message that is too large for its socket: a sealed file in memory.
pub(super) fn send_file(socket: &OwnedFd, message: &[u8]) -> Result<usize, Errno> {
    let file = memfd_create(c"journal", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut written = 0;
    while written < message.len() {
        written += rustix::io::write(&file, &message[written..])?;
    }
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [file.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[], &mut ancillary, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(message.len())
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Paths(paths) => {
                let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                f.write_str(&paths.join(", "))
            }
            Target::Journal(path) => write!(f, "{}", path.display()),
            Target::Host { host, port, kind, .. } => {
                let scheme = if *kind == SocketType::DGRAM { "udp" } else { "tcp" };
                write!(f, "{scheme}://{host}:{port}")
            }
        }
    }
}
