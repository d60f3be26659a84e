//! Events: written down before anybody is answered, and sent to the daemon until it acknowledges them.
//!
//! [`Events`] is what the shim's loop holds: a [`Journal`] in the pod's directory and a [`Publisher`] on the daemon's socket. Neither
//! waits for anything. The loop watches one descriptor and one deadline:
//!
//! ```text
//!   publish ──► journal ──first──► publisher ──Forward──► daemon
//!                  ▲                   │
//!                  └────acknowledge────┘ an answer
//!
//!            ┌──────── nothing waits ────────┐          10 failures
//!   resting ─┴► connected ──failure──► pausing ─────────────► dormant
//!      ▲            ▲                    │ time, socket          │
//!      └────────────┴────────────────────┴───────────────────────┘ socket appears, next event
//! ```
//! It never loses an exit, never sends an event before the one that happened before it was answered, and never wakes up by a timer
//! for a daemon that is gone. Files and calls: docs/design/0004-shim.md, Events.

mod crc;
mod journal;
mod publisher;
mod watch;

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Instant, SystemTime};

use gantry_proto_shim::events::Event;
use gantry_proto_shim::forward::Envelope;

pub use journal::{
    Damage, FILE, Journal, JournalError, MAX_BYTES, MAX_EVENT_BYTES, MAX_EVENTS, Replay, Waiting,
};
pub use publisher::{Publisher, PublisherError};

/// The events of a pod.
#[derive(Debug)]
pub struct Events {
    namespace: String,
    journal: Journal,
    publisher: Publisher,
}

/// Why events cannot be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// They cannot be written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// They cannot be sent.
    #[error(transparent)]
    Publisher(#[from] PublisherError),
}

impl EventsError {
    /// What went wrong, in our words.
    pub fn kind(&self) -> gantry_types::ErrorKind {
        match self {
            Self::Journal(error) => error.kind(),
            Self::Publisher(error) => error.kind(),
        }
    }
}

/// Where events come from and go to.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The pod's directory; its name is the pod's hash.
    pub directory: &'a Path,
    /// The namespace of its containers.
    pub namespace: &'a str,
    /// The daemon's socket for events, with or without `unix://`; empty if there is no daemon.
    pub address: &'a str,
}

impl Events {
    /// Takes up what the pod's directory holds. Nothing is sent before [`drive`](Self::drive).
    ///
    /// # Errors
    /// When the journal cannot be used.
    pub fn open(route: Route<'_>) -> Result<Self, EventsError> {
        let pod = route.directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let pod = match incarnation(route.directory) {
            Some(incarnation) => format!("{pod}.{incarnation}"),
            None => pod,
        };
        let address = route.address.strip_prefix("unix://").unwrap_or(route.address);
        let socket = (!address.is_empty()).then(|| Path::new(address));
        Ok(Self {
            namespace: route.namespace.to_owned(),
            journal: Journal::open(route.directory)?,
            publisher: Publisher::new(pod, socket)?,
        })
    }

    /// Writes an event down; [`drive`](Self::drive) sends it.
    ///
    /// # Errors
    /// When it cannot be written; it is lost then.
    pub fn publish<E: Event>(&mut self, event: &E) -> Result<u64, EventsError> {
        let envelope = Envelope::of(&self.namespace, SystemTime::now().into(), event);
        let sequence = self.journal.append(&envelope)?;
        self.publisher.poke();
        Ok(sequence)
    }

    /// The descriptor to watch for reading; always the same one.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.publisher.fd()
    }

    /// Says that the descriptor is readable.
    pub fn ready(&mut self) {
        self.publisher.ready();
    }

    /// When to drive again though nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.publisher.deadline()
    }

    /// Sends what can be sent now. Does next to nothing unless something happened: a loop may call it each time around.
    ///
    /// # Errors
    /// When the journal fails. Sending goes on with the next call.
    pub fn drive(&mut self, now: Instant) -> Result<(), EventsError> {
        Ok(self.publisher.drive(&mut self.journal, now)?)
    }

    /// Whether there is nothing to wait for: all is acknowledged, or nobody takes it.
    pub fn is_idle(&self) -> bool {
        self.journal.waiting() == 0 || self.publisher.has_given_up()
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.journal.waiting()
    }

    /// How many events were not delivered: too many waited, or the daemon refused them.
    pub fn dropped(&self) -> u64 {
        self.journal.dropped() + self.publisher.refused()
    }
}

/// The file that tells a pod's journal from those that a pod of the same name had before: numbers begin anew with each.
const INCARNATION: &str = "incarnation";
/// The longest text in it.
const MAX_INCARNATION_BYTES: u64 = 64;

/// Reads which of its journals this is, or names a new one. None for the journal of an older version, which has no such name.
fn incarnation(directory: &Path) -> Option<String> {
    use std::io::Read as _;
    let path = directory.join(INCARNATION);
    let mut text = String::new();
    let read =
        std::fs::File::open(&path).map(|file| file.take(MAX_INCARNATION_BYTES).read_to_string(&mut text));
    if matches!(read, Ok(Ok(_))) {
        return Some(text).filter(|text| !text.is_empty());
    }
    if directory.join(FILE).exists() {
        return None;
    }
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).ok()?;
    let text = format!("{:016x}", u64::from_le_bytes(random));
    crate::pod::replace(&path, text.as_bytes()).ok().map(|()| text)
}
