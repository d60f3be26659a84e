//! Connections of TCP: a client's end and a container's, and what is on its way between them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, accept_with, connect, recv, send,
    shutdown, socket_with, sockopt,
};

use super::{Listener, MAX_CONNECTIONS, Poll, Token};

/// How often one connection moves bytes before others have their turn.
const ROUNDS: usize = 16;
const CLIENT: usize = 0;
const CONTAINER: usize = 1;

/// All connections, by number.
#[derive(Debug, Default)]
pub(super) struct Streams {
    connections: HashMap<u64, Connection>,
    is_full: bool,
}

#[derive(Debug)]
struct Connection {
    listener: u64,
    ends: [End; 2],
    connected: bool,
}

#[derive(Debug)]
struct End {
    socket: OwnedFd,
    /// What is waited for.
    interest: EventFlags,
    /// What came in here and has not gone out at the other end.
    held: Vec<u8>,
    /// Nothing more comes in here, and the other end was told so.
    ended: bool,
}

impl End {
    fn new(socket: OwnedFd) -> Self {
        End { socket, interest: EventFlags::empty(), held: Vec::new(), ended: false }
    }
}

impl Streams {
    /// A client has come to a port.
    pub(super) fn come(
        &mut self,
        poll: &Poll,
        number: u64,
        listener: &Listener,
        next: u64,
    ) -> Result<(), Errno> {
        let client = match accept_with(&listener.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => return Ok(()),
            other => other?,
        };
        let was_full = std::mem::replace(&mut self.is_full, self.connections.len() >= MAX_CONNECTIONS);
        if self.is_full {
            if !was_full {
                tracing::warn!(
                    limit = MAX_CONNECTIONS,
                    "connections by IPv6 are at their limit; more are closed"
                );
            }
            return Ok(());
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let container = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        for socket in [&client, &container] {
            sockopt::set_tcp_nodelay(socket, true)?;
        }
        match connect(&container, &SocketAddr::V4(listener.target)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno),
        }
        let mut connection =
            Connection { listener: number, ends: [End::new(client), End::new(container)], connected: false };
        connection.wait(poll, next)?;
        self.connections.insert(next, connection);
        Ok(())
    }

    /// Something happened at one end.
    pub(super) fn turn(
        &mut self,
        poll: &Poll,
        number: u64,
        end: usize,
        flags: EventFlags,
        scratch: &mut [u8],
    ) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let moved = connection.turn(end, flags, scratch).and_then(|()| connection.wait(poll, number));
        if moved.is_err() || connection.is_over() {
            self.remove(poll, number);
        }
    }

    /// The connections of a port end.
    pub(super) fn leave(&mut self, poll: &Poll, listener: u64) {
        let of_port = self.connections.iter().filter(|(_, connection)| connection.listener == listener);
        let numbers: Vec<_> = of_port.map(|(number, _)| *number).collect();
        for number in numbers {
            self.remove(poll, number);
        }
    }

    fn remove(&mut self, poll: &Poll, number: u64) {
        if let Some(connection) = self.connections.remove(&number) {
            for end in &connection.ends {
                poll.remove(&end.socket);
            }
        }
    }
}

impl Connection {
    fn turn(&mut self, end: usize, flags: EventFlags, scratch: &mut [u8]) -> Result<(), Errno> {
        if !self.connected && end == CONTAINER {
            sockopt::socket_error(&self.ends[CONTAINER].socket)??;
            if !flags.contains(EventFlags::OUT) {
                return Ok(());
            }
            self.connected = true;
        }
        if !self.connected {
            return Ok(());
        }
        let [client, container] = &mut self.ends;
        pass(client, container, scratch)?;
        pass(container, client, scratch)
    }

    /// Waits for what can be moved next.
    fn wait(&mut self, poll: &Poll, number: u64) -> Result<(), Errno> {
        for end in [CLIENT, CONTAINER] {
            let (this, other) = (&self.ends[end], &self.ends[1 - end]);
            let mut interest = EventFlags::empty();
            interest.set(EventFlags::IN, self.connected && this.held.is_empty() && !this.ended);
            interest.set(EventFlags::OUT, !other.held.is_empty() || (!self.connected && end == CONTAINER));
            poll.change(&this.socket, Token::Stream(number, end), this.interest, interest)?;
            self.ends[end].interest = interest;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.ends.iter().all(|end| end.ended)
    }
}

/// Moves what came in at one end out at the other, as far as it goes.
fn pass(from: &mut End, to: &End, scratch: &mut [u8]) -> Result<(), Errno> {
    for _ in 0..ROUNDS {
        if !from.held.is_empty() {
            let written = write(&to.socket, &from.held)?;
            from.held.drain(..written);
            if !from.held.is_empty() {
                return Ok(());
            }
            // Few of many connections hold something: none keeps the room.
            from.held = Vec::new();
        }
        if from.ended {
            return Ok(());
        }
        match read(&from.socket, scratch)? {
            None => return Ok(()),
            // Nothing is held here, so that the other end has it all.
            Some(0) => {
                from.ended = true;
                return match shutdown(&to.socket, Shutdown::Write) {
                    // It is gone, which what is read from it tells.
                    Ok(()) | Err(Errno::NOTCONN) => Ok(()),
                    Err(errno) => Err(errno),
                };
            }
            Some(read) => {
                let written = write(&to.socket, &scratch[..read])?;
                from.held.extend_from_slice(&scratch[written..read]);
            }
        }
    }
    Ok(())
}

/// How much was read; nothing if there is nothing now.
fn read(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
    match recv(socket, buffer, RecvFlags::empty()) {
        Ok((read, _)) => Ok(Some(read)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// How much was written.
fn write(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    match send(socket, bytes, SendFlags::NOSIGNAL) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        other => other,
    }
}
