//! How far a transfer has come, for whoever shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gantry_types::Descriptor;

/// The least time between two reports of one thing's bytes.
const INTERVAL: Duration = Duration::from_millis(100);

/// What happens to a thing that is transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The name is being resolved.
    Resolving,
    /// The name is resolved; the descriptor says to what.
    Resolved,
    /// It is known and nothing happens to it yet.
    Waiting,
    /// It is there already.
    Exists,
    /// Its bytes come.
    Downloading,
    /// Its bytes go.
    Uploading,
    /// All bytes are there, and right.
    Complete,
    /// Its files are made.
    Extracting,
    /// Its snapshot is there.
    Extracted,
    /// An image has its name.
    Saved,
    /// The whole transfer has begun.
    Begun,
    /// The whole transfer has ended.
    Done,
}

/// One step of a transfer.
#[derive(Debug, Clone)]
pub struct Progress {
    /// What happens.
    pub stage: Stage,
    /// To what: an image's name, or kind and digest of content.
    pub name: String,
    /// The content.
    pub descriptor: Option<Descriptor>,
    /// The digest of what refers to it.
    pub parent: Option<String>,
    /// Bytes so far.
    pub done: u64,
    /// Bytes in all, if that is known.
    pub total: u64,
}

/// Who is told. Called from any thread; must not block.
pub type Listener = Arc<dyn Fn(Progress) + Send + Sync>;

/// Whoever is told, if anybody.
#[derive(Clone, Default)]
pub struct Reporter(Option<Listener>);

impl Reporter {
    /// Tells `listener`.
    pub fn new(listener: Listener) -> Self {
        Self(Some(listener))
    }

    /// Tells of a step of `name`.
    pub(crate) fn step(&self, stage: Stage, name: &str) {
        if let Some(listener) = &self.0 {
            listener(Progress {
                stage,
                name: name.to_owned(),
                descriptor: None,
                parent: None,
                done: 0,
                total: 0,
            });
        }
    }

    /// Tells of a step of some content.
    pub(crate) fn content(&self, stage: Stage, descriptor: &Descriptor, parent: Option<&str>, done: u64) {
        if let Some(listener) = &self.0 {
            listener(Progress {
                stage,
                name: content_name(descriptor),
                descriptor: Some(descriptor.clone()),
                parent: parent.map(str::to_owned),
                done,
                total: descriptor.size,
            });
        }
    }
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reporter({})", self.0.is_some())
    }
}

/// `layer-sha256:…`: what containerd's clients key their displays by.
pub fn content_name(descriptor: &Descriptor) -> String {
    use gantry_types::media_type::Kind;
    let kind = match descriptor.kind() {
        Kind::Index => "index",
        Kind::Manifest => "manifest",
        Kind::Config => "config",
        Kind::Layer(_) | Kind::ForeignLayer(_) => "layer",
        Kind::Schema1 | Kind::Other => "unknown",
    };
    format!("{kind}-{}", descriptor.digest)
}

/// The bytes of one layer, which several transfers may wait for.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    bytes: AtomicU64,
    listeners: Mutex<Vec<Reporter>>,
    last: Mutex<Option<Instant>>,
}

impl Meter {
    /// Tells `reporter`, too.
    pub(crate) fn add(&self, reporter: &Reporter) {
        if reporter.0.is_some() {
            self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(reporter.clone());
        }
    }

    /// Counts bytes, and tells how many there are if it was not told just now.
    pub(crate) fn advance(&self, stage: Stage, descriptor: &Descriptor, bytes: u64) {
        let done = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        *last = Some(Instant::now());
        drop(last);
        self.tell(stage, descriptor, done);
    }

    /// Tells everybody.
    pub(crate) fn tell(&self, stage: Stage, descriptor: &Descriptor, done: u64) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for reporter in listeners {
            reporter.content(stage, descriptor, None, done);
        }
    }
}
