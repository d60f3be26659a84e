//! Events in the pod's loop.

use std::time::Instant;

use gantry_proto_shim::events::Event;

use super::epoll::{Epoll, EventFlags, Source};
use super::{Identity, Pod};
use crate::events::{Events, Route};
use crate::failure::Failure;

/// Opens the pod's events and watches them.
pub(super) fn open(identity: &Identity, epoll: &Epoll) -> Result<Events, Failure> {
    let route =
        Route { directory: &identity.directory, namespace: &identity.namespace, address: &identity.events };
    let events = Events::open(route).map_err(|error| Failure::of(error.kind(), &error))?;
    epoll.add(events.fd(), Source::Publisher, EventFlags::IN)?;
    Ok(events)
}

impl Pod {
    /// Writes an event down, to be sent when the loop comes around.
    pub(super) fn publish<E: Event>(&mut self, event: &E) {
        if let Err(error) = self.events.publish(event) {
            self.log.error(&format!("{} is lost: {}", E::TOPIC, Failure::of(error.kind(), &error)));
        }
    }

    /// Sends what can be sent.
    pub(super) fn drive_publisher(&mut self) {
        if let Err(error) = self.events.drive(Instant::now()) {
            self.log.error(&Failure::of(error.kind(), &error).message);
        }
    }
}
