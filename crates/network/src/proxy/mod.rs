//! Published ports of the host's IPv6 addresses: the one thing that passes through the daemon.
//!
//! Containers have no IPv6, and no rule can turn a packet of one protocol into one of the other; nor can one of IPv6 lead a
//! connection from `::1` to another device, as `route_localnet` lets one of IPv4. So who comes to `[::]:8080` is served
//! by a thread that connects to the container and moves bytes. IPv4 never comes here.
//!
//! The thread starts with the first such port. It never resolves, logs what passes, or holds more than a limited number of
//! connections: who floods a port takes none of the daemon's other descriptors.

mod datagram;
mod stream;

use std::collections::HashMap;
use std::mem::take;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

use crate::endpoint::{Protocol, PublishedPort};
use crate::error::Error;
use datagram::Datagrams;
use stream::Streams;

/// How many connections of TCP, and how many clients of UDP, are served at once.
const MAX_CONNECTIONS: usize = 1024;
/// Events of one turn.
const EVENTS: usize = 128;
/// Bytes that are moved at once.
const SCRATCH_BYTES: usize = 64 << 10;
/// Where the process has no descriptor left for a connection, the next look is so much later.
const PAUSE: Duration = Duration::from_millis(20);
/// How often idle clients of UDP are looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// The thread, and what it has been told.
#[derive(Debug, Default)]
pub(crate) struct Proxy(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    inbox: Arc<Inbox>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Inbox {
    commands: Mutex<Vec<Command>>,
    wake: OwnedFd,
}

#[derive(Debug)]
enum Command {
    Add(PublishedPort, SocketAddrV4, OwnedFd),
    Remove(PublishedPort),
    Stop,
}

impl Inbox {
    fn tell(&self, command: Command) {
        crate::network::lock(&self.commands).push(command);
        // It fails only where the counter is full, and then the thread is awake.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl Proxy {
    /// Serves a port: who comes to `socket` is led to `target`.
    pub(crate) fn add(
        &self,
        port: PublishedPort,
        target: SocketAddrV4,
        socket: OwnedFd,
    ) -> Result<(), Error> {
        let mut running = crate::network::lock(&self.0);
        let running = match &mut *running {
            Some(running) => running,
            empty => empty.insert(start()?),
        };
        running.inbox.tell(Command::Add(port, target, socket));
        Ok(())
    }

    /// Serves ports no longer; their connections end.
    pub(crate) fn remove(&self, ports: &[PublishedPort]) {
        if let Some(running) = &*crate::network::lock(&self.0) {
            for port in ports.iter().filter(|port| port.host_ip.is_ipv6()) {
                running.inbox.tell(Command::Remove(*port));
            }
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        if let Some(running) = crate::network::lock(&self.0).take() {
            running.inbox.tell(Command::Stop);
            if running.thread.join().is_err() {
                tracing::error!("the thread of IPv6 ports has panicked");
            }
        }
    }
}

fn start() -> Result<Running, Error> {
    let failed = |errno: Errno| Error::Thread(errno.into());
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
    let inbox = Arc::new(Inbox { commands: Mutex::default(), wake });
    let poll = Poll::new().map_err(failed)?;
    epoll::add(&poll.0, &inbox.wake, epoll::EventData::new_u64(0), epoll::EventFlags::IN).map_err(failed)?;
    let theirs = Arc::clone(&inbox);
    let thread = thread::Builder::new()
        .name("gantry-ipv6".to_owned())
        .spawn(move || Loop::new(poll).run(&theirs))
        .map_err(Error::Thread)?;
    Ok(Running { inbox, thread })
}

/// What a descriptor is, in what epoll gives back; behind it a number, and which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Wake,
    Listener(u64),
    /// The client's end, or the container's.
    Stream(u64, usize),
    /// A socket for one client of UDP.
    Datagram(u64),
}

impl Token {
    fn pack(self) -> u64 {
        match self {
            Token::Wake => 0,
            Token::Listener(number) => number << 3 | 1,
            Token::Stream(number, end) => number << 3 | 2 | end as u64,
            Token::Datagram(number) => number << 3 | 4,
        }
    }

    fn unpack(packed: u64) -> Self {
        match packed & 7 {
            1 => Token::Listener(packed >> 3),
            end @ (2 | 3) => Token::Stream(packed >> 3, (end & 1) as usize),
            4 => Token::Datagram(packed >> 3),
            _ => Token::Wake,
        }
    }
}

/// The epoll instance.
#[derive(Debug)]
struct Poll(OwnedFd);

impl Poll {
    fn new() -> Result<Self, Errno> {
        epoll::create(epoll::CreateFlags::CLOEXEC).map(Poll)
    }

    fn add(&self, socket: &OwnedFd, token: Token, interest: epoll::EventFlags) -> Result<(), Errno> {
        epoll::add(&self.0, socket, epoll::EventData::new_u64(token.pack()), interest)
    }

    /// Changes what is waited for; nothing takes the socket out, since its end would be told again and again.
    fn change(
        &self,
        socket: &OwnedFd,
        token: Token,
        old: epoll::EventFlags,
        new: epoll::EventFlags,
    ) -> Result<(), Errno> {
        let data = epoll::EventData::new_u64(token.pack());
        match (old.is_empty(), new.is_empty()) {
            _ if old == new => Ok(()),
            (true, _) => epoll::add(&self.0, socket, data, new),
            (_, true) => epoll::delete(&self.0, socket),
            _ => epoll::modify(&self.0, socket, data, new),
        }
    }

    fn remove(&self, socket: &OwnedFd) {
        // A socket has other descriptors (that which keeps the port), so that closing ours would not take it out.
        let _ = epoll::delete(&self.0, socket);
    }
}

#[derive(Debug)]
struct Listener {
    port: PublishedPort,
    target: SocketAddrV4,
    socket: OwnedFd,
}

struct Loop {
    poll: Poll,
    listeners: HashMap<u64, Listener>,
    streams: Streams,
    datagrams: Datagrams,
    next: u64,
    scratch: Vec<u8>,
}

/// Whether the loop goes on.
#[derive(PartialEq, Eq)]
enum Turn {
    On,
    End,
}

impl Loop {
    fn new(poll: Poll) -> Self {
        Loop {
            poll,
            listeners: HashMap::new(),
            streams: Streams::default(),
            datagrams: Datagrams::default(),
            next: 1,
            scratch: vec![0; SCRATCH_BYTES],
        }
    }

    fn run(mut self, inbox: &Inbox) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut swept = Instant::now();
        loop {
            let sweep = Timespec { tv_sec: SWEEP.as_secs() as i64, tv_nsec: 0 };
            let timeout = (!self.datagrams.is_empty()).then_some(&sweep);
            events.clear();
            match epoll::wait(&self.poll.0, spare_capacity(&mut events), timeout) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    tracing::error!(%errno, "ports of IPv6 are served no longer");
                    return;
                }
            }
            for event in events.drain(..) {
                let (data, flags) = (event.data, event.flags);
                match Token::unpack(data.u64()) {
                    Token::Wake => {
                        if self.obey(inbox) == Turn::End {
                            return;
                        }
                    }
                    Token::Listener(number) => self.come(number),
                    Token::Stream(number, end) => {
                        self.streams.turn(&self.poll, number, end, flags, &mut self.scratch);
                    }
                    Token::Datagram(number) => {
                        self.datagrams.answer(&self.poll, number, &self.listeners, &mut self.scratch);
                    }
                }
            }
            if swept.elapsed() >= SWEEP {
                self.datagrams.sweep(&self.poll);
                swept = Instant::now();
            }
        }
    }

    fn obey(&mut self, inbox: &Inbox) -> Turn {
        let _ = rustix::io::read(&inbox.wake, &mut [0; 8]);
        for command in take(&mut *crate::network::lock(&inbox.commands)) {
            match command {
                Command::Add(port, target, socket) => {
                    let number = self.number();
                    match self.poll.add(&socket, Token::Listener(number), epoll::EventFlags::IN) {
                        Ok(()) => drop(self.listeners.insert(number, Listener { port, target, socket })),
                        Err(errno) => {
                            tracing::error!(%errno, port = port.host_port, "a port of IPv6 is not served")
                        }
                    }
                }
                Command::Remove(port) => self.leave(port),
                Command::Stop => return Turn::End,
            }
        }
        Turn::On
    }

    fn leave(&mut self, port: PublishedPort) {
        let found =
            self.listeners.iter().find(|(_, listener)| listener.port == port).map(|(number, _)| *number);
        let Some(number) = found else { return };
        if let Some(listener) = self.listeners.remove(&number) {
            self.poll.remove(&listener.socket);
        }
        self.streams.leave(&self.poll, number);
        self.datagrams.leave(&self.poll, number);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Somebody came to a port.
    fn come(&mut self, number: u64) {
        let Some(listener) = self.listeners.get(&number) else { return };
        let next = self.next + 1;
        let come = match listener.port.protocol {
            Protocol::Tcp => self.streams.come(&self.poll, number, listener, next),
            Protocol::Udp | Protocol::Sctp => {
                self.datagrams.come(&self.poll, number, listener, next, &mut self.scratch)
            }
        };
        self.next = next;
        match come {
            Ok(()) => {}
            // Who waits is told again at once, which must not be all that we do.
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => thread::sleep(PAUSE),
            Err(errno) => {
                tracing::debug!(port = listener.port.host_port, %errno, "a client of IPv6 was not served")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_apart() {
        for token in
            [Token::Wake, Token::Listener(7), Token::Stream(7, 0), Token::Stream(7, 1), Token::Datagram(7)]
        {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
