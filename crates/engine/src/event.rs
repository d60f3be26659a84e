//! What happened, for people: the engine's own events in the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_primitives::{Envelope, Event as Stored, Step, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Engine, Result};

/// The type of the engine's events in the journal. Their values are JSON.
pub const ENGINE_EVENT: &str = "gantry.engine.v1.Event";
/// The most events of the past that are handed out at once.
pub const MAX_PAST: usize = 10_000;
/// The topics of the engine's events; the kind follows.
const TOPIC: &str = gantry_primitives::ENGINE_TOPICS;

/// What something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// The daemon itself.
    Daemon,
    /// The build cache.
    Builder,
}

impl EventKind {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Daemon => "daemon",
            Self::Builder => "builder",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// To what.
    pub kind: EventKind,
    /// What happened, in docker's words: `start`, `exec_create: ls`, …
    pub action: String,
    /// To which.
    pub id: String,
    /// What goes with it.
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// The step that writes it to the journal.
    pub(crate) fn step(&self) -> Step {
        let value = serde_json::to_vec(self).expect("strings are JSON");
        Step::Announce { topic: format!("{TOPIC}{}", self.kind.as_str()), type_url: ENGINE_EVENT, value }
    }

    /// Reads one of the engine's from the journal.
    pub fn read(envelope: &Envelope) -> Option<Self> {
        match &envelope.event {
            Stored::Foreign { topic, type_url, value }
                if type_url == ENGINE_EVENT && topic.starts_with(TOPIC) =>
            {
                serde_json::from_slice(value).ok()
            }
            _ => None,
        }
    }
}

/// The engine's events, as they come.
pub struct Events(gantry_primitives::Events);

impl Events {
    /// The next one, with its place in the journal and its time.
    ///
    /// # Errors
    /// OutOfRange for a reader that is so slow that the journal has forgotten what comes next.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Result<(Arc<Envelope>, Event)> {
        loop {
            let envelope = self.0.next().await?;
            if let Some(event) = Event::read(&envelope) {
                return Ok((envelope, event));
            }
        }
    }
}

impl Engine {
    /// Events from now on, or from the one after `since`, a place in the journal, on.
    ///
    /// # Errors
    /// OutOfRange if the journal does not reach back so far.
    pub async fn events(&self, since: Option<u64>) -> Result<Events> {
        Ok(Events(self.shared.store.events(since).await?))
    }

    /// The engine's events in the journal that are not older than `after`, oldest first, at most the last [`MAX_PAST`] of them;
    /// and the place in the journal from which [`Engine::events`] goes on without a gap (what comes twice has the same place).
    ///
    /// # Errors
    /// Those of the database.
    pub async fn past_events(&self, after: Timestamp) -> Result<(Vec<(Arc<Envelope>, Event)>, u64)> {
        let (all, last) = self.shared.store.latest_events(TOPIC, after, MAX_PAST).await?;
        let ours = all
            .into_iter()
            .filter_map(|envelope| Event::read(&envelope).map(|event| (Arc::new(envelope), event)));
        Ok((ours.collect(), last))
    }

    /// Writes an event to the journal: of what changes no record.
    pub async fn announce(&self, event: &Event) {
        let namespace = self.shared.namespace.clone();
        if let Err(error) = self.shared.store.commit(namespace, vec![event.step()]).await {
            tracing::warn!(%error, action = event.action, "an event could not be written down");
        }
    }
}
