//! The configuration of an image: what it says of the containers that are made of it (image specification v1.1.1, and docker's
//! additions: health checks, the shell, triggers of builds).
//!
//! Images are strangers': everything has limits, and what has the wrong shape is an error that names the field.

use std::collections::BTreeMap;
use std::time::Duration;

use gantry_types::Platform;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::options::HealthCheck;
use crate::{Error, Result};

/// The most labels, variables, arguments, ports, volumes.
const MAX_ENTRIES: usize = 8192;

/// An image's configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageDocument {
    /// When it was made: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By whom.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub author: String,
    /// GOARCH.
    #[serde(deserialize_with = "nullable")]
    pub architecture: String,
    /// Variant of that.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub variant: String,
    /// GOOS.
    #[serde(deserialize_with = "nullable")]
    pub os: String,
    /// The version of an operating system that needs it.
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub os_version: String,
    /// What the operating system must have.
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub os_features: Vec<String>,
    /// What containers run.
    #[serde(deserialize_with = "nullable")]
    pub config: ImageSettings,
    /// Its layers.
    #[serde(deserialize_with = "nullable")]
    pub rootfs: RootFs,
    /// How it was made.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub history: Vec<HistoryEntry>,
}

/// The layers, uncompressed, lowest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// `layers`
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    /// Digests of the uncompressed layers.
    #[serde(deserialize_with = "nullable")]
    pub diff_ids: Vec<gantry_types::DiffId>,
}

/// A step of how an image was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which instruction.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub created_by: String,
    /// By whom.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub author: String,
    /// What they said.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub comment: String,
    /// Whether it made no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "nullable")]
    pub empty_layer: bool,
}

/// What an image says of its containers. The names are those of its JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageSettings {
    /// As who.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub user: String,
    /// `80/tcp`: {}
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `KEY=VALUE`
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// Comes first.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub entrypoint: Vec<String>,
    /// Its arguments.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub cmd: Vec<String>,
    /// `/data`: {}
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub volumes: BTreeMap<String, Empty>,
    /// Where it begins.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub working_dir: String,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// What asks it to end.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub stop_signal: String,
    /// Docker's: how its health is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker's: what runs the shell form of instructions.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub shell: Vec<String>,
    /// Docker's: instructions for builds on top of it.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub on_build: Vec<String>,
    /// Docker's: seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Docker's, on Windows.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "nullable")]
    pub args_escaped: bool,
}

/// `{}`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// A health check in an image; times in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `CMD` and arguments, `CMD-SHELL` and a line, `NONE`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub test: Vec<String>,
    /// Between two probes.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// In which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two probes in that time.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// `null` for an empty value, which some writers produce.
fn nullable<'de, D, T>(from: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

impl From<&Healthcheck> for HealthCheck {
    fn from(check: &Healthcheck) -> Self {
        let time = |nanos: i64| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        Self {
            test: check.test.clone(),
            interval: time(check.interval),
            timeout: time(check.timeout),
            start_period: time(check.start_period),
            start_interval: time(check.start_interval),
            retries: u32::try_from(check.retries).unwrap_or(0),
        }
    }
}

impl From<&HealthCheck> for Healthcheck {
    fn from(check: &HealthCheck) -> Self {
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        Self {
            test: check.test.clone(),
            interval: nanos(check.interval),
            timeout: nanos(check.timeout),
            start_period: nanos(check.start_period),
            start_interval: nanos(check.start_interval),
            retries: i64::from(check.retries),
        }
    }
}

impl ImageDocument {
    /// What it runs on: Linux, unless it says something else.
    pub fn platform(&self) -> Platform {
        let os = if self.os.is_empty() { "linux" } else { &self.os };
        Platform {
            architecture: self.architecture.clone(),
            os: os.to_owned(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
        }
    }

    /// When it was made, if it says so.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created.as_deref().and_then(|text| text.parse().ok())
    }

    /// Reads one.
    ///
    /// # Errors
    /// Invalid for what has the wrong shape, or too much of something.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let document: Self = serde_json::from_slice(bytes).map_err(|error| {
            Error::Invalid(format!("the configuration of the image cannot be read: {error}"))
        })?;
        let settings = &document.config;
        let counts = [
            ("layers", document.rootfs.diff_ids.len()),
            ("history entries", document.history.len()),
            ("variables", settings.env.len()),
            ("arguments", settings.entrypoint.len() + settings.cmd.len()),
            ("ports", settings.exposed_ports.len()),
            ("volumes", settings.volumes.len()),
            ("labels", settings.labels.len()),
        ];
        match counts.iter().find(|(_, count)| *count > MAX_ENTRIES) {
            Some((what, count)) => {
                Err(Error::Invalid(format!("the image has {count} {what}, more than {MAX_ENTRIES}")))
            }
            None => Ok(document),
        }
    }
}
