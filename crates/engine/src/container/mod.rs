//! Containers: one object each, whose record is what everybody sees, and whose gate lets one change at a time through.
//!
//! ```text
//! created ──start──► running ◄──pause, unpause──► paused
//!    │                │  ▲                          │
//!    │               end └──── restart policy ──┐   │ end
//!    │                ▼                         │   ▼
//!    └──remove──► (gone) ◄──remove── exited ◄───┴─ restarting
//! ```
//! Who moves it: the methods here, under the gate; an end comes from the journal (`end.rs`), whoever caused it.

mod apparmor;
mod attach;
mod cdi;
mod create;
mod end;
mod exec;
mod files;
mod health;
mod host;
mod image_mounts;
mod init_layer;
mod life;
mod links;
mod list;
mod log_options;
mod logs;
mod mounts;
mod recover;
mod remove;
mod shutdown;
mod specification;
mod start;
mod stats;
mod streams;
mod subpath;
mod unhealthy;
mod update;
mod user;
mod wait;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use gantry_primitives::Step;
use gantry_primitives::tasks::TaskKey;
use tokio::sync::watch;

use crate::event::{Event, EventKind};
use crate::record::{Record, Status};
use crate::timing::Timings;
use crate::{Engine, Error, Result};

pub(crate) use self::apparmor::Profiles;
pub use self::attach::{AttachRequest, Attached};
pub use self::create::Created;
pub(crate) use self::end::watch_ends;
pub(crate) use self::exec::forget_old as forget_old_execs;
pub use self::exec::{Exec, ExecOptions, ExecState};
pub(crate) use self::files::mounts as file_mounts;
pub(crate) use self::host::facts as host_facts;
pub(crate) use self::init_layer::InitLayers;
pub use self::life::signal;
pub use self::logs::{LogRequest, LogStream};
pub(crate) use self::recover::{recover, resume};
pub use self::remove::RemoveRequest;
pub(crate) use self::specification::{joined, runtime as runtime_of};
pub use self::stats::{Stats, Traffic};
pub use self::streams::{Frame, StreamInput, StreamOutput, Streams};
pub(crate) use self::subpath::open as open_subpath;
pub use self::update::UpdateRequest;
pub(crate) use self::user::of as user_of;
pub(crate) use self::user::{Identities, Identity};
pub use self::wait::WaitFor;

/// The kind of documents that hold records.
pub(crate) const DOCUMENT: &str = gantry_primitives::CONTAINER_DOCUMENT;

/// Whose a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The Docker door's and the command line's.
    Docker,
    /// The containerd door's, in this namespace.
    Containerd(String),
}

/// What has happened to a container so far, for whoever waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moment {
    /// How often it was started.
    pub starts: u64,
    /// How often it ended.
    pub ends: u64,
    /// How it ended last.
    pub exit_code: i32,
    /// Why it could not be started.
    pub error: String,
    /// Whether it is gone.
    pub removed: bool,
}

/// A container.
pub struct Container {
    /// 64 hexadecimal digits; of others' containers whatever their clients chose.
    pub id: String,
    /// Whose it is.
    pub owner: Owner,
    pub(crate) key: TaskKey,
    record: RwLock<Arc<Record>>,
    /// One change at a time.
    pub(crate) gate: tokio::sync::Mutex<()>,
    /// Held by who works on the files of its last process, whose mounts stay as long: the next one waits.
    pub(crate) files: Arc<tokio::sync::RwLock<()>>,
    pub(crate) moment: watch::Sender<Moment>,
    pub(crate) transient: Mutex<Transient>,
}

/// What a daemon knows of a container only as long as it lives.
#[derive(Default)]
pub(crate) struct Transient {
    /// Clients that wait for the start.
    pub(crate) waiting: Vec<attach::Waiting>,
    /// Ends the pause before it is started again.
    pub(crate) restart: Option<tokio::task::AbortHandle>,
    /// Asks for its health.
    pub(crate) health: Option<tokio::task::AbortHandle>,
    /// The pause before the next restart.
    pub(crate) backoff: end::Backoff,
    /// Where the time of the last start went.
    pub(crate) timings: Timings,
    /// When it was started last, by the clock that nobody sets.
    pub(crate) started: Option<Instant>,
    /// It does not go with its end, whatever its options say: it is being restarted.
    pub(crate) kept: bool,
    /// The size of the terminal at the next start: columns and rows.
    pub(crate) size: Option<(u16, u16)>,
}

impl Container {
    pub(crate) fn new(key: TaskKey, owner: Owner, record: Record) -> Self {
        let moment = Moment { exit_code: record.state.exit_code, ..Moment::default() };
        Self {
            id: record.id.clone(),
            owner,
            key,
            record: RwLock::new(Arc::new(record)),
            gate: tokio::sync::Mutex::default(),
            files: Arc::default(),
            moment: watch::Sender::new(moment),
            transient: Mutex::default(),
        }
    }

    /// What is known of it now.
    pub fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, record: Record) {
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(record);
    }

    pub(crate) fn transient(&self) -> std::sync::MutexGuard<'_, Transient> {
        self.transient.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the time of its last start went.
    pub fn timings(&self) -> Timings {
        self.transient().timings.clone()
    }

    /// A step of its start has come to its end.
    pub(crate) fn step(&self, name: &'static str) {
        self.transient().timings.step(name);
    }

    /// Its place in the list of tasks.
    pub(crate) fn key(&self) -> TaskKey {
        self.key.clone()
    }

    /// Refuses a change through a door that does not own it.
    pub(crate) fn require_own(&self) -> Result<()> {
        match &self.owner {
            Owner::Docker => Ok(()),
            Owner::Containerd(namespace) => Err(Error::Foreign {
                what: "container",
                name: self.record().name.clone(),
                owner: format!("containerd's namespace {namespace}"),
                tool: "ctr or nerdctl",
            }),
        }
    }

    /// Refuses what needs a process where there is none.
    pub(crate) fn require_alive(&self) -> Result<Arc<Record>> {
        let record = self.record();
        if record.state.status.is_alive() {
            return Ok(record);
        }
        Err(Error::Conflict(format!("container {} is not running", record.id)))
    }

    /// Refuses what a frozen process cannot do.
    pub(crate) fn require_running(&self) -> Result<Arc<Record>> {
        let record = self.require_alive()?;
        if record.state.status == Status::Paused {
            return Err(Error::Conflict(format!(
                "container {} is paused, unpause the container before exec",
                record.id
            )));
        }
        Ok(record)
    }

    /// An event of it, with what docker says of each container.
    pub(crate) fn event(&self, action: impl Into<String>) -> Event {
        event_of(&self.record(), action)
    }
}

/// An event of a container, with what docker says of each: labels, image, name.
pub(crate) fn event_of(record: &Record, action: impl Into<String>) -> Event {
    let mut attributes = record.labels.clone();
    attributes.insert("image".to_owned(), record.image.reference.clone());
    attributes.insert("name".to_owned(), record.name.clone());
    Event { kind: EventKind::Container, action: action.into(), id: record.id.clone(), attributes }
}

/// The steps that write a record down.
pub(crate) fn put(record: &Record) -> Step {
    let value = serde_json::to_vec(record).expect("a record is JSON");
    Step::PutDocument { kind: DOCUMENT, name: record.id.clone(), value }
}

impl Engine {
    /// Writes a record down with events, and shows it.
    pub(crate) async fn save(&self, container: &Container, record: Record, events: Vec<Event>) -> Result<()> {
        let mut steps = vec![put(&record)];
        steps.extend(events.iter().map(Event::step));
        self.shared.store.commit(self.shared.namespace.clone(), steps).await?;
        container.set(record);
        Ok(())
    }

    /// The same where nothing more can be done about an error than to say so: what is shown goes before what is kept.
    pub(crate) async fn save_anyway(&self, container: &Container, record: Record, events: Vec<Event>) {
        if let Err(error) = self.save(container, record.clone(), events).await {
            tracing::error!(container = %container.id, %error, "the state of a container could not be written down");
            container.set(record);
        }
    }

    /// Runs a change to its end, whoever waits for it.
    pub(crate) async fn owned<T: Send + 'static>(
        &self,
        what: &'static str,
        operation: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        tokio::spawn(operation).await.map_err(|_| Error::Panicked(what))?
    }

    /// Runs what waits for disks or the kernel on a thread for that.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        f: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        tokio::task::spawn_blocking(f).await.map_err(|_| Error::Panicked(what))?
    }
}
