//! The pod's events, and the loop that sends them.

use std::time::Instant;

use gantry_proto_shim::events::Event;

use super::epoll::{Epoll, EventFlags, Source};
use super::{Identity, Pod};
use crate::events::{Events, EventsError, Route};
use crate::failure::Failure;
use crate::log::Log;

/// The events of the pod. Without them, containers run all the same.
#[derive(Debug)]
pub(super) struct Publishing {
    events: Option<Events>,
    /// How many were lost when that was last logged.
    told: u64,
}

impl Publishing {
    pub(super) fn open(identity: &Identity, epoll: &Epoll, log: &Log) -> Self {
        let open = |address| {
            let Identity { directory, namespace, .. } = identity;
            Events::open(Route { directory, namespace, address })
        };
        let opened = open(&identity.events).or_else(|error| {
            log.error(&format!("events are not sent: {}", Failure::from(error)));
            // An address that is none is no reason not to write them down.
            open("")
        });
        let watched = opened.map_err(Failure::from).and_then(|events| {
            epoll.add(events.fd(), Source::Publisher, EventFlags::IN)?;
            Ok(events)
        });
        let events = watched.map_err(|failure| log.error(&failure.message)).ok();
        Self { events, told: 0 }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.events.as_ref().and_then(Events::deadline)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.events.as_ref().is_none_or(Events::is_idle)
    }

    pub(super) fn waiting(&self) -> u64 {
        self.events.as_ref().map_or(0, |events| events.waiting() as u64)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.events.as_ref().map_or(0, Events::dropped)
    }

    fn with(&mut self, log: &Log, act: impl FnOnce(&mut Events) -> Result<(), EventsError>) {
        let Some(events) = &mut self.events else { return };
        if let Err(error) = act(events) {
            log.error(&format!("events: {}", Failure::from(error)));
        }
        let dropped = events.dropped();
        if dropped > self.told {
            log.warn(&format!("{dropped} events were not delivered"));
            self.told = dropped;
        }
    }
}

impl Pod {
    /// Writes an event down; the loop sends it.
    pub(super) fn publish<E: Event>(&mut self, event: &E) {
        self.publisher.with(&self.log, |events| events.publish(event).map(drop));
    }

    pub(super) fn drive_publisher(&mut self) {
        self.publisher.with(&self.log, |events| events.drive(Instant::now()));
    }

    pub(super) fn publisher_event(&mut self, _source: Source) {
        self.publisher.with(&self.log, |events| {
            events.ready();
            Ok(())
        });
    }
}
