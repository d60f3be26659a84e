//! What is kept of a container: the person's wishes, what became of them, and its state.
//!
//! One JSON document a container (`Store::commit`), written with the event that tells of the change. Fields are only ever
//! added: a record of an older daemon is read with their defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use gantry_network::Endpoint;
use gantry_types::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::options::{HealthCheck, MountKind, Options, ReadOnlyBelow};

/// All that is known of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The image that it was made of.
    pub image: ImageOf,
    /// What was asked for.
    pub options: Options,
    /// What that and the image make together.
    pub process: Command,
    /// Its mounts.
    pub mounts: Vec<MountPoint>,
    /// What happens in it.
    pub state: State,
    /// Its place in the bridge's network, while it has one.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// The user namespace that it has, or had at its last start; None for the host's.
    #[serde(default)]
    pub userns: Option<crate::Userns>,
    /// How often it was started again by its policy.
    #[serde(default)]
    pub restart_count: u32,
    /// Where its log is; None for a driver without a file.
    #[serde(default)]
    pub log_path: Option<PathBuf>,
    /// Labels of the image and of the request.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// The image of a container, as it was then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageOf {
    /// As the person named it.
    pub reference: String,
    /// The whole name in the store; empty for an image by digest without a name.
    pub name: String,
    /// The digest of what the name names: an index, or a manifest.
    pub target: Option<Digest>,
    /// The digest of the manifest of the container's platform.
    pub manifest: Option<Digest>,
    /// The digest of its configuration.
    pub config: Option<Digest>,
    /// The name of the snapshot of all its layers; empty for an image without layers.
    pub chain: String,
    /// `os/architecture`.
    pub platform: String,
}

/// What runs, with what the image says merged in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Command {
    /// Comes first.
    pub entrypoint: Vec<String>,
    /// Its arguments.
    pub cmd: Vec<String>,
    /// The environment, without what the engine adds.
    pub env: Vec<String>,
    /// Where it begins.
    pub working_dir: String,
    /// As who.
    pub user: String,
    /// What asks it to end.
    pub stop_signal: String,
    /// `80/tcp`, …
    pub exposed: Vec<String>,
    /// Paths of the image's volumes, and of those that were asked for without a name.
    pub volumes: Vec<String>,
    /// How its health is asked for; None for not at all.
    pub health: Option<HealthCheck>,
    /// What runs the shell form of a health check.
    pub shell: Vec<String>,
    /// The host name that it has.
    pub hostname: String,
}

/// A mount as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountPoint {
    /// What it is.
    pub kind: MountKind,
    /// Of a volume: its name. Of an image: as it was called.
    pub name: String,
    /// On the host; empty for memory. Of an image: where it is for as long as a start takes.
    pub source: String,
    /// In the container.
    pub target: String,
    /// Of a volume: its driver.
    pub driver: String,
    /// The mode word of `-v`.
    pub mode: String,
    /// Whether it can be written to.
    pub writable: bool,
    /// If it cannot: what is mounted below it.
    pub read_only_below: ReadOnlyBelow,
    /// `rprivate` and so on.
    pub propagation: String,
    /// Whether the volume goes with the container when its volumes are to.
    pub anonymous: bool,
    /// Whether what the image has there is still to be copied into it at the next start.
    pub copy_up: bool,
    /// Of a bind: without what is mounted below.
    pub non_recursive: bool,
    /// A path in the source.
    pub subpath: String,
    /// Of memory: mount options.
    pub options: Vec<String>,
    /// Whether the source is made where there is none.
    pub create_source: bool,
    /// Of an image: the digest of what its name named.
    pub image: Option<Digest>,
}

/// What a container does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It was never started.
    #[default]
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It has ended and waits to be started again by its policy.
    Restarting,
    /// It is being removed.
    Removing,
    /// It has ended.
    Exited,
    /// It could not be removed.
    Dead,
}

impl Status {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether it has a process.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// What happens in a container, and what happened last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// What it does.
    pub status: Status,
    /// Its first process, on the host; 0 without one.
    pub pid: u32,
    /// When it was started last.
    pub started: Option<Timestamp>,
    /// When it ended last.
    pub finished: Option<Timestamp>,
    /// Its exit status: 128 and the signal for a process that was killed.
    pub exit_code: i32,
    /// Why it could not be started.
    pub error: String,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// Whether a person asked it to end.
    pub stopped_by_hand: bool,
    /// Its health; None where nobody asks.
    pub health: Option<Health>,
    /// Why it ended, as its shim says: an object for people.
    pub cause: Option<serde_json::Value>,
}

/// What is known of a container's health.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The word.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last probes, oldest first.
    pub log: Vec<Probe>,
}

/// The word for a container's health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Nothing is known yet.
    #[default]
    Starting,
    /// The last probe succeeded.
    Healthy,
    /// Too many failed.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A probe of a container's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// 0 for healthy.
    pub exit_code: i32,
    /// The beginning of what it wrote.
    pub output: String,
}

impl Record {
    /// How long it has to end when it is asked to.
    pub fn stop_timeout(&self) -> Duration {
        self.options.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT)
    }

    /// What runs.
    pub fn args(&self) -> Vec<String> {
        self.process.entrypoint.iter().chain(&self.process.cmd).cloned().collect()
    }

    /// The first digits of the id, which people use.
    pub fn short_id(&self) -> &str {
        &self.id[..12.min(self.id.len())]
    }
}

/// Docker's.
pub const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);
