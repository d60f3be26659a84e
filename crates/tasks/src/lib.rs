//! Shims, and the tasks in them: starts them, calls them, and finds them again.
//!
//! ```text
//!   Create ─► bundle ─► the group's shim: there, or started ─► its Task service
//!                                     │
//!                                     └─ watched: who dies is started again (ours), or cleaned up after
//! ```
//! `primitives` gives it what a record says, and hears from it of tasks that were lost. Its vocabulary is that of
//! `proto-shim`. `docs/design/0006-tasks.md` is what it holds to, `compat-surface` of containerd 1.6 to 2.4 what shims of
//! others expect.
//!
//! What it never does: it knows no store, keeps no state of a process (the shim does), makes no container itself, and
//! forks nothing but the execution of a shim's binary.
#![forbid(unsafe_code)]

mod address;
mod binary;
mod bundle;
mod burial;
mod client;
mod error;
#[doc(hidden)]
pub mod failpoint;
mod launch;
mod recover;
mod sandbox;
mod shim;
mod tasks;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use binary::{DEFAULT_RUNTIME, Runtime};
pub use burial::Lost;
pub use error::{Error, Refusal};
pub use gantry_proto_shim as proto;
pub use recover::Recovered;
pub use sandbox::SandboxRequest;
pub use tasks::{CreateRequest, Key, Tasks};

/// How tasks are kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a reboot may take: bundles, sockets, the shims' state.
    pub state: PathBuf,
    /// What lasts: work directories.
    pub root: PathBuf,
    /// The daemon's socket for events, which shims are told.
    pub events: PathBuf,
    /// The daemon's socket, which shims are told.
    pub grpc: PathBuf,
    /// The binary of our shim.
    pub shim: PathBuf,
    /// What the configuration says of runtimes, by their names.
    pub runtimes: BTreeMap<String, Runtime>,
    /// The version of containerd's API, which shims are told.
    pub version: String,
    /// Whether shims log for developers.
    pub debug: bool,
    /// Whether each shim and its containers share no core with others.
    pub core_scheduling: bool,
    /// How long shims may take.
    pub limits: Limits,
}

/// How long shims may take. Who tests has less patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a call that waits for no container.
    pub call: Duration,
    /// For the state of a task among many.
    pub list: Duration,
    /// To say at the daemon's start that they live, and what of.
    pub connect: Duration,
    /// To take back what they have begun.
    pub undo: Duration,
    /// To end.
    pub shutdown: Duration,
    /// For the verbs of their binaries: `start`, `delete`, `-info`.
    pub verb: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(60),
            list: Duration::from_secs(2),
            connect: Duration::from_secs(5),
            undo: Duration::from_secs(10),
            shutdown: Duration::from_secs(5),
            verb: Duration::from_secs(30),
        }
    }
}
