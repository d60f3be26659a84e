//! The loop of the hub and of the log writers.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use gantry_logs::Driver;
use gantry_sys::buffer::Buffer;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with, sockopt,
};

use super::attach::{Greeted, Greeting, refuse};
use super::child::Child;
use super::entry::{BUFFER_BYTES, Entry, Notice, Place};
use super::poller::{EventFlags, Part, Poller, Token, Watched, tokens};
use super::protocol::{
    Add, Failure, Key, Kind, MAX_MESSAGE_BYTES, Op, ProtocolError, Reply, Request, Role, VERSION, Wants,
    receive, send,
};
use super::{ATTACH_SOCKET, CONTROL_SOCKET};

/// After so long without an event, memory is given back.
const QUIET: Duration = Duration::from_millis(500);
/// How many clients may be about to say what they want.
const MAX_GREETINGS: usize = 16;
/// How many events are taken at once.
const EVENTS: usize = 32;
/// How often a log writer is replaced.
const MAX_DEATHS: u32 = 3;
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
    },
    /// A log writer that has been told to end.
    Leaving(Child),
    /// Nobody.
    Held,
}

/// Why a request failed.
type Refusal = (Failure, String);

/// What a request comes to: an answer now, or one that a log writer gives.
enum Answer {
    Now(Option<u32>),
    Later,
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
        self.quitting || self.control.is_none() && (!self.is_hub() || !entries)
    }

    fn deadline(&self) -> Option<Instant> {
        self.entries().filter_map(Entry::deadline).min()
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
        }
    }

    fn close(&mut self) {
        for slot in std::mem::take(&mut self.slots).into_iter().flatten() {
            // Log writers end when the hub does.
            if let Service::Here(entry) = slot.service {
                entry.close(&mut self.buffer);
            }
        }
    }

    fn event(&mut self, token: Token) {
        match token.part {
            Part::Control => self.control(),
            Part::Listener => self.connect(),
            Part::Attach => self.greet(),
            Part::Greeting(number) => self.greeting(usize::from(number)),
            Part::Writer => self.from_writer(token.slot as usize),
            Part::WriterExit => self.writer_ended(token.slot as usize),
            part => {
                let number = token.slot as usize;
                if let Some(Some(Slot { service: Service::Here(entry), .. })) = self.slots.get_mut(number) {
                    entry.event(part, &mut self.buffer);
                    self.after(number);
                }
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

    /// Sends to whoever gives orders. Who does not read is cut off: everything is told again on demand.
    fn reply(&mut self, reply: &Reply, fds: &[std::os::fd::BorrowedFd<'_>]) {
        if let Some(control) = &self.control
            && send(control.as_fd(), reply, fds).is_err()
        {
            self.control = None;
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

    fn request(&mut self, request: Request, fds: Vec<OwnedFd>) {
        let seq = request.seq;
        let answer = if self.is_hub() && seq > u32::MAX.into() {
            Err((Failure::InvalidArgument, "a request's number is below 2^32".into()))
        } else {
            self.perform(seq, request.op, fds)
        };
        match answer {
            Ok(Answer::Now(entries)) => self.reply(&Reply::Ack { seq, entries }, &[]),
            Ok(Answer::Later) => {}
            Err((kind, error)) => self.reply(&Reply::Failed { seq, kind, error }, &[]),
        }
    }

    fn perform(&mut self, seq: u64, op: Op, fds: Vec<OwnedFd>) -> Result<Answer, Refusal> {
        if let Op::Hello { version } = op {
            self.greeted = version == VERSION;
            let error = || (Failure::Unimplemented, format!("version {version} is not served: {VERSION} is"));
            return self.greeted.then_some(Answer::Now(None)).ok_or_else(error);
        }
        if !self.greeted {
            return Err((Failure::FailedPrecondition, "hello comes first".into()));
        }
        match op {
            Op::Hello { .. } => Ok(Answer::Now(None)),
            Op::Add(add) => self.add(seq, add, fds),
            Op::CloseStdin(key) => {
                let number = self.find(&key)?;
                self.close_stdin(number, seq)
            }
            Op::Reopen(key) => {
                let number = self.find(&key)?;
                self.reopen(number, seq)
            }
            Op::Ended { key, exit_status } => {
                let number = self.find(&key)?;
                self.ended(number, seq, exit_status)
            }
            Op::Remove(key) => {
                let number = self.find(&key)?;
                self.remove(number, seq)
            }
            Op::List => Ok(self.list(seq)),
            Op::Report => Ok(self.report(seq)),
            Op::Quit => {
                self.quitting = true;
                Ok(Answer::Now(None))
            }
            Op::Attach { key, wants } => {
                let number = self.find(&key)?;
                if let Some(client) = fds.into_iter().next() {
                    self.attach(number, client, wants);
                }
                Ok(Answer::Now(None))
            }
        }
    }

    fn find(&self, key: &Key) -> Result<usize, Refusal> {
        let found = |slot: &Option<Slot>| {
            slot.as_ref()
                .is_some_and(|slot| slot.add.key == *key && !matches!(slot.service, Service::Leaving(_)))
        };
        let missing = || {
            let exec = key.exec.as_deref().map(|exec| format!(", exec {exec:?}")).unwrap_or_default();
            (Failure::NotFound, format!("no streams of {:?}{exec}", key.id))
        };
        self.slots.iter().position(found).ok_or_else(missing)
    }

    fn add(&mut self, seq: u64, add: Add, fds: Vec<OwnedFd>) -> Result<Answer, Refusal> {
        if self.find(&add.key).is_ok() {
            return Err((Failure::AlreadyExists, format!("the streams of {:?} are served", add.key.id)));
        }
        if fds.len() != add.roles.len() {
            let error = format!("{} descriptors for {} roles", fds.len(), add.roles.len());
            return Err((Failure::InvalidArgument, error));
        }
        let held: Vec<_> = add.roles.iter().copied().zip(fds.into_iter().map(Rc::new)).collect();
        let driver = add.log.as_deref().map(str::parse::<Driver>).transpose();
        let driver = driver.map_err(|error| (error.kind().into(), error.to_string()))?;
        let number = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        let place = Place { poller: self.poller.clone(), slot: number as u32 };
        let (service, answer) = if add.kind == Kind::Held {
            (Service::Held, Answer::Now(None))
        } else if driver.is_some() && self.is_hub() {
            let failed =
                |error: &dyn std::fmt::Display| (Failure::Internal, format!("a log writer: {error}"));
            let child = Child::start(&place).map_err(|errno| failed(&errno))?;
            child.add(self.stamped(seq), &add, &held).map_err(|error| failed(&error))?;
            (Service::There { child, deaths: 0, adding: Some(self.stamped(seq)) }, Answer::Later)
        } else {
            let entry =
                Entry::new(add.kind, driver.as_ref(), &held, place).map_err(|error| match &error {
                    super::entry::EntryError::Log(log) => (log.kind().into(), chain(log)),
                    other => (Failure::InvalidArgument, chain(other)),
                })?;
            (Service::Here(Box::new(entry)), Answer::Now(None))
        };
        self.slots.resize_with(self.slots.len().max(number + 1), || None);
        self.slots[number] = Some(Slot { add, held, service, drained: false, ended: None });
        if let Some(Some(Slot { service: Service::Here(entry), .. })) = self.slots.get_mut(number) {
            entry.tick(&mut self.buffer);
            self.after(number);
        }
        Ok(answer)
    }

    /// A request's number as a log writer gets it.
    fn stamped(&self, seq: u64) -> u64 {
        self.generation << 32 | seq
    }

    /// Passes a request on, if a log writer has the entry; gives the entry back if this process has it.
    fn pass_on(&mut self, number: usize, seq: u64, op: Op) -> Result<Option<&mut Entry>, Refusal> {
        let seq = self.stamped(seq);
        match self.slots.get_mut(number).and_then(Option::as_mut).map(|slot| &mut slot.service) {
            Some(Service::Here(entry)) => Ok(Some(entry)),
            Some(Service::There { child, .. }) => match child.send(seq, op, &[]) {
                Ok(()) => Ok(None),
                Err(_) => Err((Failure::Internal, "the log writer does not answer".into())),
            },
            _ => Err((Failure::FailedPrecondition, "these streams are only held".into())),
        }
    }

    fn key(&self, number: usize) -> Key {
        let slot = self.slots.get(number).and_then(Option::as_ref);
        slot.map(|slot| slot.add.key.clone()).unwrap_or(Key { id: String::new(), exec: None })
    }

    fn close_stdin(&mut self, number: usize, seq: u64) -> Result<Answer, Refusal> {
        let key = self.key(number);
        if let Some(Some(slot)) = self.slots.get_mut(number) {
            let fifo = slot.held.iter().any(|(role, _)| *role == Role::StdinFifo);
            slot.held.retain(|(role, _)| *role != Role::StdinHold && (fifo || *role != Role::Stdin));
        }
        let Some(entry) = self.pass_on(number, seq, Op::CloseStdin(key))? else { return Ok(Answer::Later) };
        entry.close_stdin();
        self.after(number);
        Ok(Answer::Now(None))
    }

    fn reopen(&mut self, number: usize, seq: u64) -> Result<Answer, Refusal> {
        let key = self.key(number);
        let Some(entry) = self.pass_on(number, seq, Op::Reopen(key))? else { return Ok(Answer::Later) };
        let reopened = entry.reopen().map_err(|error| (error.kind().into(), chain(&error)));
        if let Some(Some(Slot { service: Service::Here(entry), .. })) = self.slots.get_mut(number) {
            entry.tick(&mut self.buffer);
        }
        self.after(number);
        reopened.map(|()| Answer::Now(None))
    }

    fn ended(&mut self, number: usize, seq: u64, exit_status: i32) -> Result<Answer, Refusal> {
        let key = self.key(number);
        if let Some(Some(slot)) = self.slots.get_mut(number) {
            slot.ended = Some(exit_status);
            if matches!(slot.service, Service::Held) {
                return Ok(Answer::Now(None));
            }
        }
        if self.pass_on(number, seq, Op::Ended { key, exit_status })?.is_none() {
            return Ok(Answer::Later);
        }
        if let Some(Some(Slot { service: Service::Here(entry), .. })) = self.slots.get_mut(number) {
            entry.ended(exit_status, &mut self.buffer);
        }
        self.after(number);
        Ok(Answer::Now(None))
    }

    fn remove(&mut self, number: usize, seq: u64) -> Result<Answer, Refusal> {
        let key = self.key(number);
        let seq = self.stamped(seq);
        let Some(mut slot) = self.slots.get_mut(number).and_then(Option::take) else {
            return Ok(Answer::Now(None));
        };
        match slot.service {
            Service::Here(entry) => {
                entry.close(&mut self.buffer);
                self.quitting |= !self.is_hub();
            }
            Service::There { child, .. } => {
                // One that does not answer ends when its disk does: its socket is closed with the slot.
                let passed_on = child.send(seq, Op::Remove(key), &[]).is_ok();
                slot.held.clear();
                slot.service = Service::Leaving(child);
                self.slots[number] = Some(slot);
                return Ok(if passed_on { Answer::Later } else { Answer::Now(None) });
            }
            Service::Leaving(_) | Service::Held => {}
        }
        Ok(Answer::Now(None))
    }

    fn list(&mut self, seq: u64) -> Answer {
        let slots: Vec<_> = self
            .slots
            .iter()
            .flatten()
            .filter(|slot| !matches!(slot.service, Service::Leaving(_)))
            .map(|slot| {
                let roles = slot.held.iter().map(|(role, _)| *role).collect();
                let add = Add { roles, ..slot.add.clone() };
                let fds: Vec<_> = slot.held.iter().map(|(_, fd)| fd.clone()).collect();
                (Reply::Entry { add, drained: slot.drained, ended: slot.ended }, fds)
            })
            .collect();
        self.reply(&Reply::Ack { seq, entries: Some(slots.len() as u32) }, &[]);
        for (reply, fds) in slots {
            let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
            self.reply(&reply, &fds);
        }
        Answer::Later
    }

    fn report(&mut self, seq: u64) -> Answer {
        let stamped = if self.is_hub() { self.stamped(seq) } else { seq };
        let mut replies = Vec::new();
        let mut asked = 0;
        for slot in self.slots.iter().flatten() {
            match &slot.service {
                Service::Here(entry) => {
                    let (backlog, dropped_bytes, clients) = entry.counters();
                    replies.push(Reply::Counters {
                        seq,
                        key: slot.add.key.clone(),
                        backlog_bytes: backlog as u64,
                        dropped_bytes,
                        clients: clients as u32,
                    });
                }
                Service::There { child, .. } => {
                    asked += u32::from(child.send(stamped, Op::Report, &[]).is_ok());
                }
                Service::Leaving(_) | Service::Held => {}
            }
        }
        if self.is_hub() {
            let entries = Some(replies.len() as u32 + asked);
            self.reply(&Reply::Ack { seq, entries }, &[]);
        }
        replies.iter().for_each(|reply| self.reply(reply, &[]));
        Answer::Later
    }

    /// A new shim takes the place of the one before.
    fn connect(&mut self) {
        let Some([listener, _]) = &self.sockets else { return };
        let Some(socket) = accept_own(listener) else { return };
        let mut socket = watch(&self.poller, socket, Part::Control);
        if socket.arm(EventFlags::IN).is_ok() {
            self.generation += 1;
            self.greeted = false;
            self.control = Some(socket);
        }
    }

    fn greet(&mut self) {
        let Some([_, listener]) = &self.sockets else { return };
        let Some(client) = accept_own(listener) else { return };
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
                entry.attach(client, wants);
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

    fn from_writer(&mut self, number: usize) {
        loop {
            let Some(Some(slot)) = self.slots.get_mut(number) else { return };
            let (Service::There { child, .. } | Service::Leaving(child)) = &mut slot.service else { return };
            match receive::<Reply>(child.socket.as_fd(), &mut self.buffer) {
                Ok(Some((reply, _))) => self.writer_says(number, reply),
                Err(ProtocolError::Socket(Errno::AGAIN | Errno::INTR)) => return,
                // Its end is reported, too.
                Ok(None) | Err(_) => {
                    let _ = child.socket.arm(EventFlags::empty());
                    return;
                }
            }
        }
    }

    fn writer_says(&mut self, number: usize, reply: Reply) {
        let Some(Some(slot)) = self.slots.get_mut(number) else { return };
        let generation = self.generation;
        let ours = |seq: u64| (seq >> 32 == generation).then_some(seq & u64::from(u32::MAX));
        let reply = match reply {
            Reply::Ack { seq, entries } => {
                if let Service::There { adding, .. } = &mut slot.service
                    && *adding == Some(seq)
                {
                    *adding = None;
                }
                ours(seq).map(|seq| Reply::Ack { seq, entries })
            }
            Reply::Failed { seq, kind, error } => {
                let adding =
                    matches!(slot.service, Service::There { adding: Some(adding), .. } if adding == seq);
                if adding {
                    self.leave(number);
                }
                ours(seq).map(|seq| Reply::Failed { seq, kind, error })
            }
            Reply::Counters { seq, key, backlog_bytes, dropped_bytes, clients } => {
                ours(seq).map(|seq| Reply::Counters { seq, key, backlog_bytes, dropped_bytes, clients })
            }
            Reply::Drained(key) => {
                slot.drained = true;
                Some(Reply::Drained(key))
            }
            Reply::StdinClosed(key) => {
                forget_stdin(&mut slot.held);
                Some(Reply::StdinClosed(key))
            }
            Reply::Entry { .. } | Reply::Lost { .. } => None,
        };
        if let Some(reply) = reply {
            self.reply(&reply, &[]);
        }
    }

    /// Forgets an entry, and waits for its log writer's end.
    fn leave(&mut self, number: usize) {
        if let Some(mut slot) = self.slots.get_mut(number).and_then(Option::take)
            && let Service::There { child, .. } = slot.service
        {
            let _ = child.send(0, Op::Quit, &[]);
            slot.held.clear();
            slot.service = Service::Leaving(child);
            self.slots[number] = Some(slot);
        }
    }

    fn writer_ended(&mut self, number: usize) {
        // What it said last.
        self.from_writer(number);
        let Some(mut slot) = self.slots.get_mut(number).and_then(Option::take) else { return };
        match slot.service {
            Service::Leaving(child) => child.reap(),
            Service::There { child, deaths, adding } => {
                child.reap();
                drop(child);
                let place = Place { poller: self.poller.clone(), slot: number as u32 };
                let replaced = if deaths < MAX_DEATHS { Child::start(&place).ok() } else { None };
                let served = replaced.filter(|child| {
                    let ended =
                        slot.ended.map(|exit_status| Op::Ended { key: slot.add.key.clone(), exit_status });
                    child.add(adding.unwrap_or(0), &slot.add, &slot.held).is_ok()
                        && ended.is_none_or(|op| child.send(0, op, &[]).is_ok())
                });
                let Some(child) = served else {
                    let key = slot.add.key;
                    return self.reply(&Reply::Lost { key, error: "the log writer died".into() }, &[]);
                };
                slot.service = Service::There { child, deaths: deaths + 1, adding };
                self.slots[number] = Some(slot);
            }
            Service::Here(_) | Service::Held => self.slots[number] = Some(slot),
        }
    }
}

fn watch(poller: &Poller, fd: OwnedFd, part: Part) -> Watched {
    Watched::new(poller, Rc::new(fd), Token { slot: NOBODY, part })
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

/// Accepts a connection of root or of our own user.
fn accept_own(listener: &Watched) -> Option<OwnedFd> {
    let socket = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()?;
    let peer = sockopt::socket_peercred(&socket).ok()?;
    (peer.uid.is_root() || peer.uid == rustix::process::geteuid()).then_some(socket)
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

const _: () = assert!(MAX_MESSAGE_BYTES <= BUFFER_BYTES);
