//! Clients of UDP: each has a socket of its own towards the container, by which answers find back.

use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, recvfrom, send, sendto,
    socket_with,
};

use super::{Listener, MAX_CONNECTIONS, Poll, Token};

/// How long a client may be silent before it counts as gone: as docker's.
const IDLE: Duration = Duration::from_secs(90);
/// How many datagrams of one socket are moved before others have their turn.
const ROUNDS: usize = 64;

/// All clients, by number.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    clients: HashMap<u64, Client>,
    /// Their numbers, by the port that they came to and where they are.
    numbers: HashMap<(u64, SocketAddrV6), u64>,
}

#[derive(Debug)]
struct Client {
    listener: u64,
    address: SocketAddrV6,
    socket: OwnedFd,
    seen: Instant,
}

impl Datagrams {
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// A client has sent something to a port; `next` is its number if it is new.
    pub(super) fn come(
        &mut self,
        poll: &Poll,
        number: u64,
        listener: &Listener,
        next: u64,
        scratch: &mut [u8],
    ) -> Result<(), Errno> {
        let (len, _, from) = match recvfrom(&listener.socket, &mut *scratch, RecvFlags::empty()) {
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNREFUSED) => return Ok(()),
            other => other?,
        };
        let Some(Ok(SocketAddr::V6(address))) = from.map(SocketAddr::try_from) else { return Ok(()) };
        let known = self.numbers.get(&(number, address)).copied();
        let client = match known {
            Some(known) => known,
            None => self.welcome(poll, number, listener, address, next)?,
        };
        let Some(client) = self.clients.get_mut(&client) else { return Ok(()) };
        client.seen = Instant::now();
        match send(&client.socket, &scratch[..len], SendFlags::NOSIGNAL) {
            // Datagrams may be lost; one that nobody takes is the client's business to notice.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::CONNREFUSED) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn welcome(
        &mut self,
        poll: &Poll,
        number: u64,
        listener: &Listener,
        address: SocketAddrV6,
        next: u64,
    ) -> Result<u64, Errno> {
        if self.clients.len() >= MAX_CONNECTIONS {
            let oldest = self.clients.iter().min_by_key(|(_, client)| client.seen).map(|(number, _)| *number);
            self.remove(poll, oldest.expect("a full table has an oldest entry"));
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        connect(&socket, &SocketAddr::V4(listener.target))?;
        poll.add(&socket, Token::Datagram(next), EventFlags::IN)?;
        self.clients.insert(next, Client { listener: number, address, socket, seen: Instant::now() });
        self.numbers.insert((number, address), next);
        Ok(next)
    }

    /// A container has answered a client.
    pub(super) fn answer(
        &mut self,
        poll: &Poll,
        number: u64,
        listeners: &HashMap<u64, Listener>,
        scratch: &mut [u8],
    ) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let Some(listener) = listeners.get(&client.listener) else { return };
        for _ in 0..ROUNDS {
            let len = match recv(&client.socket, &mut *scratch, RecvFlags::empty()) {
                Ok((len, _)) => len,
                // Nobody takes datagrams at the container's port now.
                Err(Errno::CONNREFUSED | Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                Err(_) => return self.remove(poll, number),
            };
            client.seen = Instant::now();
            let to = SocketAddr::V6(client.address);
            // One that cannot be delivered is lost, as datagrams are.
            let _ = sendto(&listener.socket, &scratch[..len], SendFlags::NOSIGNAL, &to);
        }
    }

    /// The silent go.
    pub(super) fn sweep(&mut self, poll: &Poll) {
        self.remove_where(poll, |client| client.seen.elapsed() >= IDLE);
    }

    /// The clients of a port go.
    pub(super) fn leave(&mut self, poll: &Poll, listener: u64) {
        self.remove_where(poll, |client| client.listener == listener);
    }

    fn remove_where(&mut self, poll: &Poll, chosen: impl Fn(&Client) -> bool) {
        let of_them = self.clients.iter().filter(|(_, client)| chosen(client));
        let numbers: Vec<_> = of_them.map(|(number, _)| *number).collect();
        for number in numbers {
            self.remove(poll, number);
        }
    }

    fn remove(&mut self, poll: &Poll, number: u64) {
        if let Some(client) = self.clients.remove(&number) {
            poll.remove(&client.socket);
            self.numbers.remove(&(client.listener, client.address));
        }
    }
}
