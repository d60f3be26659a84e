//! The hub and its log writers.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::{Server, Service, forget_outputs, forget_stdin};
use crate::streams::child::Child;
use crate::streams::entry::Place;
use crate::streams::poller::EventFlags;
use crate::streams::protocol::{Op, ProtocolError, Reply, receive};

/// How often a log writer is replaced.
const MAX_DEATHS: u32 = 3;

impl Server {
    pub(super) fn hear_writer(&mut self, number: usize) {
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
                let asked = match &mut slot.service {
                    Service::There { reporting, .. } => reporting.take(),
                    _ => None,
                };
                ours(asked.unwrap_or(seq)).map(|seq| Reply::Counters {
                    seq,
                    key,
                    backlog_bytes,
                    dropped_bytes,
                    clients,
                })
            }
            Reply::Drained(key) => {
                slot.drained = true;
                forget_outputs(&mut slot.held);
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

    pub(super) fn writer_ended(&mut self, number: usize) {
        // What it said last.
        self.hear_writer(number);
        let Some(mut slot) = self.slots.get_mut(number).and_then(Option::take) else { return };
        match slot.service {
            Service::Leaving(child) => child.reap(),
            Service::There { child, deaths, adding, .. } => {
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
                slot.service = Service::There { child, deaths: deaths + 1, adding, reporting: None };
                self.slots[number] = Some(slot);
            }
            Service::Here(_) | Service::Farewell(_) | Service::Held => self.slots[number] = Some(slot),
        }
    }
}
