//! What the shim asks for.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use gantry_logs::Driver;

use super::{Server, Service, Slot};
use crate::streams::child::Child;
use crate::streams::entry::{Entry, EntryError, Place};
use crate::streams::protocol::{Add, Failure, Key, Kind, Op, Reply, Request, Role, VERSION};

/// Why a request failed.
pub(super) type Refusal = (Failure, String);

/// What a request comes to: an answer now, or one that is given by a log writer or was given already.
enum Answer {
    Now(Option<u32>),
    Later,
}

impl Server {
    pub(super) fn request(&mut self, request: Request, fds: Vec<OwnedFd>) {
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

    pub(super) fn find(&self, key: &Key) -> Result<usize, Refusal> {
        let found = |slot: &Option<Slot>| {
            slot.as_ref().is_some_and(|slot| slot.add.key == *key && !slot.is_removed())
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
            (
                Service::There { child, deaths: 0, adding: Some(self.stamped(seq)), reporting: None },
                Answer::Later,
            )
        } else {
            let mut entry =
                Entry::new(add.kind, driver.as_ref(), &held, place).map_err(|error| match &error {
                    EntryError::Log(log) => (log.kind().into(), chain(log)),
                    other => (Failure::InvalidArgument, chain(other)),
                })?;
            let goes_elsewhere = |role: &Role| matches!(role, Role::StdoutFifo | Role::StderrFifo);
            if add.key.exec.is_some() && driver.is_none() && !add.roles.iter().any(goes_elsewhere) {
                entry.await_client();
            }
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

    pub(super) fn key(&self, number: usize) -> Key {
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
                slot.held.clear();
                slot.service = Service::Farewell(entry.close(&mut self.buffer));
                self.slots[number] = Some(slot);
                self.see_off(number);
            }
            Service::There { child, .. } => {
                // One that does not answer ends when its disk does: its socket is closed with the slot.
                let passed_on = child.send(seq, Op::Remove(key), &[]).is_ok();
                slot.held.clear();
                slot.service = Service::Leaving(child);
                self.slots[number] = Some(slot);
                return Ok(if passed_on { Answer::Later } else { Answer::Now(None) });
            }
            Service::Leaving(_) | Service::Farewell(_) | Service::Held => {}
        }
        Ok(Answer::Now(None))
    }

    fn list(&mut self, seq: u64) -> Answer {
        let slots: Vec<_> = self
            .slots
            .iter()
            .flatten()
            .filter(|slot| !slot.is_removed())
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
        for slot in self.slots.iter_mut().flatten() {
            match &mut slot.service {
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
                Service::There { child, reporting, .. } => {
                    let sent = reporting.is_some() || child.send(stamped, Op::Report, &[]).is_ok();
                    if sent {
                        *reporting = Some(stamped);
                        asked += 1;
                    }
                }
                Service::Leaving(_) | Service::Farewell(_) | Service::Held => {}
            }
        }
        if self.is_hub() {
            let entries = Some(replies.len() as u32 + asked);
            self.reply(&Reply::Ack { seq, entries }, &[]);
        }
        replies.iter().for_each(|reply| self.reply(reply, &[]));
        Answer::Later
    }
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
