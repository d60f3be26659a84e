//! Events.

use crate::version::ApiVersion;
use crate::wire::{Map, wire};

wire! {
    /// An event: an element of the stream of `GET /events`.
    pub struct Event {
        /// Before 1.52, of containers and images.
        omit "status" status: String,
        /// Before 1.52, of containers and images.
        omit "id" id: String,
        /// Before 1.52, of containers: the image.
        omit "from" from: String,
        put "Type" kind: String,
        put "Action" action: String,
        put "Actor" actor: Actor,
        omit "scope" scope: String,
        omit "time" time: i64,
        omit "timeNano" time_nano: i64,
        /// Gantry's own: where in the journal it stands, to go on from there with `since`.
        omit "gantryCursor" gantry_cursor: String,
    }
}

wire! {
    /// What an event is about.
    pub struct Actor {
        put "ID" id: String,
        put "Attributes" attributes: Map<String>,
    }
}

impl Event {
    /// The first version without the fields that only old clients read.
    pub const WITHOUT_DEPRECATED: ApiVersion = ApiVersion::new(1, 52);

    /// The event as clients of `version` know it.
    #[must_use]
    pub fn for_version(mut self, version: ApiVersion) -> Self {
        let is_old =
            version < Self::WITHOUT_DEPRECATED && matches!(self.kind.as_str(), "container" | "image");
        (self.status, self.id, self.from) = if is_old {
            let image = self.actor.attributes.get("image").filter(|_| self.kind == "container");
            (self.action.clone(), self.actor.id.clone(), image.cloned().unwrap_or_default())
        } else {
            Default::default()
        };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_clients_get_the_deprecated_fields() {
        let mut event = Event { kind: "container".into(), action: "start".into(), ..Event::default() };
        event.actor.id = "c1".into();
        event.actor.attributes.insert("image".into(), "busybox".into());
        let old = event.clone().for_version(ApiVersion::new(1, 51));
        assert_eq!((old.status.as_str(), old.id.as_str(), old.from.as_str()), ("start", "c1", "busybox"));
        let new = old.for_version(ApiVersion::new(1, 52));
        assert_eq!(new, event);
        let network = Event { kind: "network".into(), ..event };
        assert_eq!(network.clone().for_version(ApiVersion::new(1, 41)), network);
    }
}
