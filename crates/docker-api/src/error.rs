//! What is wrong with a text of a person's or a client's.

use crate::limits::{MAX_FILTER_VALUES, MAX_FILTERS, MAX_MOUNT};
use crate::name::ALLOWED;

/// Why a text does not mean anything. Every one is the fault of who sent it: status 400, exit code 125.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// No name of a container.
    #[error("Invalid container name ({0}), only {ALLOWED} are allowed")]
    ContainerName(String),
    /// No name of a volume.
    #[error(
        "{0:?} includes invalid characters for a local volume name, only {ALLOWED:?} are allowed. If you intended to pass a host directory, use absolute path"
    )]
    VolumeName(String),
    /// No name of a network.
    #[error("invalid network name {0:?}, only {ALLOWED} are allowed")]
    NetworkName(String),
    /// A port's specification.
    #[error("{reason}: {text}")]
    Port {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A mount's specification.
    #[error("invalid mount specification {text:?}: {reason}")]
    Mount {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A mount's specification that is longer than [`MAX_MOUNT`].
    #[error("mount specification of {0} bytes is longer than the limit of {MAX_MOUNT}")]
    MountTooLong(usize),
    /// Filters that are no JSON of either form.
    #[error("invalid filter: no object of names and values")]
    Filters(#[source] serde_json::Error),
    /// Filters that are too many.
    #[error("filters are longer than the limit of {MAX_FILTERS} bytes or {MAX_FILTER_VALUES} values")]
    TooManyFilters,
    /// A filter that is not known.
    #[error("invalid filter '{0}'")]
    Filter(String),
    /// A filter's value.
    #[error("invalid filter '{name}={value}'")]
    FilterValue {
        /// The filter.
        name: String,
        /// Its value.
        value: String,
    },
    /// A length of time.
    #[error("time: invalid duration {0:?}")]
    Duration(String),
    /// A number of bytes.
    #[error("invalid size: '{0}'")]
    Size(String),
    /// A point in time.
    #[error(
        "invalid time {0:?}: give seconds since 1970, a duration ago, or a date such as 2006-01-02T15:04:05"
    )]
    Time(String),
}
