//! The loop of the hub and of the log writers.

mod requests;
mod writers;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use gantry_sys::buffer::Buffer;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with, sockopt,
};

use crate::streams::attach::{Client, Greeted, Greeting, refuse};
use crate::streams::child::Child;
use crate::streams::entry::{BUFFER_BYTES, Entry, Notice};
use crate::streams::poller::{EventFlags, Part, Poller, Token, Watched, tokens};
use crate::streams::protocol::{
    Add, MAX_MESSAGE_BYTES, Op, ProtocolError, Reply, Request, Role, Wants, receive, send,
};
use crate::streams::{ATTACH_SOCKET, CONTROL_SOCKET};

/// After so long without an event, memory is given back.
const QUIET: Duration = Duration::from_millis(500);
/// How many clients may be about to say what they want.
const MAX_GREETINGS: usize = 16;
/// How many events are taken at once.
const EVENTS: usize = 32;
/// The slot of what belongs to no entry.
const NOBODY: u32 = u32::MAX;

/// An entry and who serves it.
#[derive(Debug)]
struct Slot {
    add: Add,
    /// Every descriptor that was given and is still wanted.
    held: Vec<(Role, Rc<OwnedFd>)>,
    service: Service,
    drained: bool,
    ended: Option<i32>,
}

#[derive(Debug)]
enum Service {
    /// This process.
    Here(Box<Entry>),
    /// A log writer.
    There {
        child: Child,
        deaths: u32,
        /// The number of the request that waits for the log to be open.
        adding: Option<u64>,
        /// The last request for a report, as long as there is no answer: who does not answer is not asked again.
        reporting: Option<u64>,
    },
    /// A log writer that has been told to end.
    Leaving(Child),
    /// Nobody any more, but clients that have not read everything.
    Farewell(Vec<Option<Client>>),
    /// Nobody.
    Held,
}

impl Slot {
    /// Whether the shim has removed the entry.
    fn is_removed(&self) -> bool {
        matches!(self.service, Service::Leaving(_) | Service::Farewell(_))
    }
}

/// The process's state.
#[derive(Debug)]
pub(super) struct Server {
    poller: Poller,
    /// Where the hub listens; none for a log writer.
    sockets: Option<[Watched; 2]>,
    control: Option<Watched>,
    /// How many shims there have been: their numbers are told apart by it.
    generation: u64,
    greeted: bool,
    greetings: Vec<Option<Greeting>>,
    slots: Vec<Option<Slot>>,
    buffer: Buffer,
    quitting: bool,
    /// Whether nobody is accepted for now, for want of descriptors.
    deaf: bool,
}

impl Server {
    pub(super) fn hub(control: OwnedFd, dir: &Path) -> Result<Self, Errno> {
        let poller = Poller::new()?;
        let mut server = Self::new(poller.clone(), control)?;
        let listening = |name, kind, part| {
            let mut socket = watch(&poller, bound(&dir.join(name), kind)?, part);
            socket.arm(EventFlags::IN)?;
            Ok::<_, Errno>(socket)
        };
        server.sockets = Some([
            listening(CONTROL_SOCKET, SocketType::SEQPACKET, Part::Listener)?,
            listening(ATTACH_SOCKET, SocketType::STREAM, Part::Attach)?,
        ]);
        Ok(server)
    }

    pub(super) fn log_writer(control: OwnedFd) -> Result<Self, Errno> {
        let mut server = Self::new(Poller::new()?, control)?;
        server.greeted = true;
        Ok(server)
    }

    fn new(poller: Poller, control: OwnedFd) -> Result<Self, Errno> {
        rustix::io::ioctl_fionbio(&control, true)?;
        let mut control = watch(&poller, control, Part::Control);
        control.arm(EventFlags::IN)?;
        Ok(Self {
            poller,
            sockets: None,
            control: Some(control),
            generation: 1,
            greeted: false,
            greetings: Vec::new(),
            slots: Vec::new(),
            buffer: Buffer::new(BUFFER_BYTES)?,
            quitting: false,
            deaf: false,
        })
    }

    fn is_hub(&self) -> bool {
        self.sockets.is_some()
    }

    pub(super) fn serve(&mut self) -> Result<(), Errno> {
        let mut events = Vec::with_capacity(EVENTS);
        let mut touched = true;
        while !self.is_over() {
            self.poller.wait(&mut events, self.limit(touched))?;
            let tokens = tokens(&events);
            if tokens.is_empty() && touched && self.deadline().is_none_or(|at| at > Instant::now()) {
                self.relax();
                touched = false;
            }
            touched |= !tokens.is_empty();
            tokens.into_iter().for_each(|token| self.event(token));
            self.tick();
        }
        self.close();
        Ok(())
    }

    /// Without a shim and without entries, nobody will ever want anything.
    fn is_over(&self) -> bool {
        let serves = |slot: &Slot| !matches!(slot.service, Service::Leaving(_));
        let entries = self.slots.iter().flatten().any(serves);
        let farewell = self.farewells().next().is_some();
        self.quitting || self.control.is_none() && !farewell && (!self.is_hub() || !entries)
    }

    fn deadline(&self) -> Option<Instant> {
        let clients = self.farewells().filter_map(Client::deadline);
        self.entries().filter_map(Entry::deadline).chain(clients).min()
    }

    fn farewells(&self) -> impl Iterator<Item = &Client> {
        let clients = self.slots.iter().flatten().filter_map(|slot| match &slot.service {
            Service::Farewell(clients) => Some(clients.iter().flatten()),
            _ => None,
        });
        clients.flatten()
    }

    /// Goes on with the clients of an entry that is gone.
    fn see_off(&mut self, number: usize) {
        let Some(Some(Slot { service: Service::Farewell(clients), .. })) = self.slots.get_mut(number) else {
            return;
        };
        for slot in &mut *clients {
            slot.take_if(|client| !client.see_off());
        }
        if clients.iter().all(Option::is_none) {
            self.slots[number] = None;
            // A log writer has one entry.
            self.quitting |= !self.is_hub();
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().flatten().filter_map(|slot| match &slot.service {
            Service::Here(entry) => Some(&**entry),
            _ => None,
        })
    }

    fn limit(&self, touched: bool) -> Option<Duration> {
        let due = self.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        match (due, touched) {
            (Some(due), true) => Some(due.min(QUIET)),
            (due, false) => due,
            (None, true) => Some(QUIET),
        }
    }

    fn relax(&mut self) {
        if std::mem::take(&mut self.deaf) {
            for listener in self.sockets.iter_mut().flatten() {
                let _ = listener.arm(EventFlags::IN);
            }
        }
        self.buffer.release();
        for slot in self.slots.iter_mut().flatten() {
            if let Service::Here(entry) = &mut slot.service {
                entry.relax();
            }
        }
    }

    /// Makes the attempts that are due.
    fn tick(&mut self) {
        let now = Instant::now();
        for number in 0..self.slots.len() {
            if let Some(Some(Slot { service: Service::Here(entry), .. })) = self.slots.get_mut(number)
                && entry.deadline().is_some_and(|at| at <= now)
            {
                entry.tick(&mut self.buffer);
                self.after(number);
            }
            self.see_off(number);
        }
    }

    fn close(&mut self) {
        for slot in std::mem::take(&mut self.slots).into_iter().flatten() {
            // Log writers end when the hub does.
            if let Service::Here(entry) = slot.service {
                drop(entry.close(&mut self.buffer));
            }
        }
    }

    fn event(&mut self, token: Token) {
        match token.part {
            Part::Control => self.control(),
            Part::Listener => self.connect(),
            Part::Attach => self.greet(),
            Part::Greeting(number) => self.greeting(usize::from(number)),
            Part::Writer => self.hear_writer(token.slot as usize),
            Part::WriterExit => self.writer_ended(token.slot as usize),
            part => {
                let number = token.slot as usize;
                if let Some(Some(Slot { service: Service::Here(entry), .. })) = self.slots.get_mut(number) {
                    entry.event(part, &mut self.buffer);
                    self.after(number);
                }
                self.see_off(number);
            }
        }
    }

    /// Tells what happened to an entry.
    fn after(&mut self, number: usize) {
        let Some(Some(slot)) = self.slots.get_mut(number) else { return };
        let Service::Here(entry) = &mut slot.service else { return };
        for notice in entry.notices() {
            let Some(Some(slot)) = self.slots.get_mut(number) else { return };
            let key = slot.add.key.clone();
            let reply = match notice {
                Notice::Drained => {
                    slot.drained = true;
                    forget_outputs(&mut slot.held);
                    Reply::Drained(key)
                }
                Notice::StdinClosed => {
                    forget_stdin(&mut slot.held);
                    Reply::StdinClosed(key)
                }
            };
            self.reply(&reply, &[]);
        }
    }

    /// Sends to whoever gives orders. A shim that does not read is cut off: everything is told again on demand. The hub
    /// always reads, so a log writer waits for it.
    fn reply(&mut self, reply: &Reply, fds: &[std::os::fd::BorrowedFd<'_>]) {
        while let Some(control) = &self.control {
            match send(control.as_fd(), reply, fds) {
                Ok(()) => return,
                Err(ProtocolError::Socket(Errno::AGAIN)) if !self.is_hub() => {
                    let _ = poll(&mut [PollFd::new(control, PollFlags::OUT)], None);
                }
                Err(_) => self.control = None,
            }
        }
    }

    fn control(&mut self) {
        while let Some(control) = &self.control {
            match receive::<Request>(control.as_fd(), &mut self.buffer) {
                Ok(Some((request, fds))) => self.request(request, fds),
                Err(ProtocolError::Socket(Errno::AGAIN | Errno::INTR)) => return,
                Ok(None) | Err(_) => self.control = None,
            }
        }
    }

    /// Accepts a connection of root or of our own user.
    fn accept(&mut self, listener: usize) -> Option<OwnedFd> {
        let listener = self.sockets.as_mut()?.get_mut(listener)?;
        match accept_with(&*listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => {
                let peer = sockopt::socket_peercred(&socket).ok()?;
                (peer.uid.is_root() || peer.uid == rustix::process::geteuid()).then_some(socket)
            }
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                // The connection would be reported again and again.
                let _ = listener.arm(EventFlags::empty());
                self.deaf = true;
                None
            }
            Err(_) => None,
        }
    }

    /// A new shim takes the place of the one before.
    fn connect(&mut self) {
        let Some(socket) = self.accept(0) else { return };
        let mut socket = watch(&self.poller, socket, Part::Control);
        if socket.arm(EventFlags::IN).is_ok() {
            self.generation += 1;
            self.greeted = false;
            self.control = Some(socket);
        }
    }

    fn greet(&mut self) {
        let Some(client) = self.accept(1) else { return };
        let free = self.greetings.iter().position(Option::is_none).unwrap_or(self.greetings.len());
        if free == MAX_GREETINGS {
            return refuse(&client, "too many clients are about to attach");
        }
        let client = watch(&self.poller, client, Part::Greeting(free as u16));
        self.greetings.resize_with(self.greetings.len().max(free + 1), || None);
        self.greetings[free] = Greeting::new(client).ok();
        self.greeting(free);
    }

    fn greeting(&mut self, number: usize) {
        let Some(Some(greeting)) = self.greetings.get_mut(number) else { return };
        match greeting.read() {
            Greeted::NotYet => {}
            Greeted::Gone => self.greetings[number] = None,
            Greeted::Wants(key, wants) => {
                let client = greeting.fd.as_fd().try_clone_to_owned();
                self.greetings[number] = None;
                let Ok(client) = client else { return };
                match self.find(&key) {
                    Ok(number) => self.attach(number, client, wants),
                    Err((_, error)) => refuse(&client, &error),
                }
            }
        }
    }

    fn attach(&mut self, number: usize, client: OwnedFd, wants: Wants) {
        let key = self.key(number);
        match self.slots.get_mut(number).and_then(Option::as_mut).map(|slot| &mut slot.service) {
            Some(Service::Here(entry)) => {
                entry.attach(client, wants, &mut self.buffer);
                self.after(number);
            }
            Some(Service::There { child, .. }) => {
                // Number 0 is nobody's.
                if child.send(0, Op::Attach { key, wants }, &[client.as_fd()]).is_err() {
                    refuse(&client, "the log writer does not answer");
                }
            }
            _ => refuse(&client, "these streams are only held"),
        }
    }
}

fn watch(poller: &Poller, fd: OwnedFd, part: Part) -> Watched {
    Watched::new(poller, Rc::new(fd), Token { slot: NOBODY, part })
}

/// The ends of outputs that have reached theirs. A terminal stays, for whoever wants its size changed.
fn forget_outputs(held: &mut Vec<(Role, Rc<OwnedFd>)>) {
    use Role::{Stderr, StderrFifo, Stdout, StdoutFifo};
    held.retain(|(role, _)| !matches!(role, Stdout | Stderr | StdoutFifo | StderrFifo));
}

fn forget_stdin(held: &mut Vec<(Role, Rc<OwnedFd>)>) {
    held.retain(|(role, _)| !matches!(role, Role::Stdin | Role::StdinFifo | Role::StdinHold));
}

/// A listening socket at `path`, whoever had one there before: whoever calls this has the pod's lock.
fn bound(path: &Path, kind: SocketType) -> Result<OwnedFd, Errno> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
    // The mode of the socket's file is that of the socket: nobody connects before.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(0o600))?;
    listen(&socket, 16)?;
    Ok(socket)
}

const _: () = assert!(MAX_MESSAGE_BYTES <= BUFFER_BYTES);
