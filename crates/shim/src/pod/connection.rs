//! Connections of clients: bytes in, calls out, answers back.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use gantry_sys::Errno;
use gantry_ttrpc::server::{Call, Connection};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use serde::{Deserialize, Serialize};

use super::Pod;
use super::epoll::{EventFlags, Source};
use crate::failure::Failure;

/// How many clients may be connected.
const MAX_CONNECTIONS: usize = 256;
/// How long nobody is let in when there is no room for anybody.
const DEAF: Duration = Duration::from_millis(200);
/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 16 << 10;

/// Who made a call, and in which of his calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Caller {
    pub(crate) connection: u32,
    pub(crate) stream: u32,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) socket: OwnedFd,
    pub(super) protocol: Connection,
    interest: EventFlags,
}

impl Pod {
    /// Takes everybody who waits to be connected. Only root and our own user may be.
    pub(super) fn accept(&mut self) {
        while let Some(listener) = &self.listener {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match accept_with(listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return,
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(errno) => {
                    // Out of descriptors or memory: it would be told again at once, and for ever.
                    self.log.error(&format!("accept: {errno}"));
                    let _ = self.epoll.modify(listener, Source::Listener, EventFlags::empty());
                    self.deaf_until = Some(Instant::now() + DEAF);
                    return;
                }
            };
            let own = rustix::process::geteuid();
            match rustix::net::sockopt::socket_peercred(&socket) {
                Ok(peer) if peer.uid.is_root() || peer.uid == own => {}
                _ => {
                    self.log.error("a client of another user was turned away");
                    continue;
                }
            }
            if self.clients.len() >= MAX_CONNECTIONS {
                self.log.error(&format!("more than {MAX_CONNECTIONS} clients"));
                continue;
            }
            let number = self.serial();
            self.welcome(number, socket, Connection::new());
        }
    }

    /// Hears new clients again, if it is time.
    pub(super) fn listen_again(&mut self) {
        if self.deaf_until.is_some_and(|until| Instant::now() >= until) {
            self.deaf_until = None;
            if let Some(listener) = &self.listener {
                let _ = self.epoll.modify(listener, Source::Listener, EventFlags::IN);
            }
        }
    }

    /// Serves a client.
    pub(super) fn welcome(&mut self, number: u32, socket: OwnedFd, protocol: Connection) {
        let interest = EventFlags::IN;
        match self.epoll.add(&socket, Source::Connection(number), interest) {
            Ok(()) => drop(self.clients.insert(number, Client { socket, protocol, interest })),
            Err(failure) => self.log.error(&failure.message),
        }
    }

    /// Reads what a client sent, and answers it.
    pub(super) fn converse(&mut self, number: u32, flags: EventFlags) {
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            for call in self.read_calls(number) {
                let caller = Caller { connection: number, stream: call.stream };
                self.call(caller, call);
            }
        }
        self.flush(number);
    }

    fn read_calls(&mut self, number: u32) -> Vec<Call> {
        let mut calls = Vec::new();
        let Some(client) = self.clients.get_mut(&number) else { return calls };
        let mut chunk = [0; CHUNK_BYTES];
        // One chunk for each of its turns: others have theirs.
        match recv(&client.socket, &mut chunk[..], RecvFlags::empty()) {
            Ok((_, 0)) => {
                self.disconnect(number);
            }
            Ok((_, len)) => {
                let mut input = &chunk[..len];
                while let Some(call) = client.protocol.receive(&mut input) {
                    calls.push(call);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.disconnect(number);
            }
        }
        calls
    }

    /// Sends what is due, and waits for what can come next.
    pub(super) fn flush(&mut self, number: u32) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        while !client.protocol.output().is_empty() {
            match send(&client.socket, client.protocol.output(), SendFlags::NOSIGNAL) {
                Ok(sent) => client.protocol.consume(sent),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.disconnect(number);
                    return;
                }
            }
        }
        if client.protocol.is_overrun() {
            self.log.error("a client that does not read its answers was disconnected");
            self.disconnect(number);
            return;
        }
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, client.protocol.accepts_input());
        interest.set(EventFlags::OUT, !client.protocol.output().is_empty());
        if interest != client.interest {
            client.interest = interest;
            let changed = self.epoll.modify(client.socket.as_fd(), Source::Connection(number), interest);
            if let Err(failure) = changed {
                self.log.error(&failure.message);
                self.disconnect(number);
            }
        }
    }

    /// Forgets a client, and what he waits for.
    fn disconnect(&mut self, number: u32) {
        self.clients.remove(&number);
        self.sandbox.forget_callers(number);
        for container in self.containers.values_mut() {
            container.queue.retain(|(caller, _)| caller.connection != number);
            let execs = container.execs.values_mut().map(|exec| &mut exec.process);
            for process in execs.chain([&mut container.init]) {
                process.waiters.retain(|caller| caller.connection != number);
            }
        }
    }

    /// Answers a call, if its client is still there.
    pub(super) fn answer(&mut self, caller: Caller, answer: Result<Vec<u8>, Failure>) {
        let Some(client) = self.clients.get_mut(&caller.connection) else { return };
        match answer {
            Ok(payload) => client.protocol.respond_encoded(caller.stream, Ok(&payload)),
            Err(failure) => {
                let code = gantry_ttrpc::Code::from(failure.kind);
                let status = gantry_ttrpc::Status::new(code, failure.message);
                client.protocol.respond_encoded(caller.stream, Err(status));
            }
        }
        self.flush(caller.connection);
    }
}
