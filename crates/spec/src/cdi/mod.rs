//! Devices of the Container Device Interface: files that say which edits of a container's configuration make a device.
//!
//! CDI 1.1.0, SPEC.md. The files are the host administrator's or a driver's (they name hooks that the host runs), so their
//! words are believed and their form is not; which devices a container gets is said by name, `vendor/class=name`, in the
//! request, and never by an image, a label or an annotation (CVE-2026-53492).
//!
//! [`Registry::load`] takes the files' bytes, [`Registry::edits`] the names; [`crate::generate`] applies the edits. What has
//! to be looked up of a device node is asked of the caller.

mod document;
mod edits;
mod name;
mod registry;

pub(crate) use edits::apply;
pub use edits::{Edits, Node};
pub use name::{DeviceName, is_device_name};
pub use registry::{File, Problem, Registry};

use gantry_types::ErrorKind;

/// The largest file, in bytes.
pub const MAX_FILE_BYTES: usize = 4 << 20;
/// The most files.
pub const MAX_FILES: usize = 1024;
/// The most devices of one file.
const MAX_DEVICES: usize = 8192;
/// The most entries of one list of edits.
const MAX_ENTRIES: usize = 16_384;
/// The most devices of one container.
const MAX_NAMES: usize = 1024;

/// Why a file is left out, or devices cannot be given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not `vendor/class=name`.
    #[error("invalid CDI device {name:?}: {reason}")]
    Name {
        /// What it was.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Devices that no file has.
    #[error("unresolvable CDI devices {}", .0.join(", "))]
    Unknown(Vec<String>),
    /// A device that two files of the same directory have.
    #[error("conflicting CDI device {name:?}: both {first:?} and {second:?} have it")]
    Conflict {
        /// The device.
        name: String,
        /// A file that has it.
        first: String,
        /// Another.
        second: String,
    },
    /// A device node that is not on this host.
    #[error("{0:?} is no device of this host")]
    NoNode(String),
    /// A device node that is of another kind than the file says.
    #[error("{path:?} is a device of type {found:?}, and not {expected:?}")]
    NodeType {
        /// The node.
        path: String,
        /// In the file.
        expected: String,
        /// On the host.
        found: String,
    },
    /// More of something than there may be.
    #[error("{count} {what} are more than {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Not JSON of this shape.
    #[error("it is not JSON of a CDI specification")]
    Json(#[source] serde_json::Error),
    /// Not YAML of this shape.
    #[error("it is not YAML of a CDI specification")]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// A version that is not known.
    #[error("unknown CDI version {0:?}: known are 0.3.0 to 1.1.0")]
    Version(String),
    /// Words that mean nothing.
    #[error("invalid {what} {value:?}: {reason}")]
    Invalid {
        /// Which field.
        what: &'static str,
        /// What is there.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Error {
    /// The error's kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) | Self::NoNode(_) => ErrorKind::NotFound,
            Self::Conflict { .. } | Self::NodeType { .. } => ErrorKind::FailedPrecondition,
            Self::TooMany { .. } => ErrorKind::ResourceExhausted,
            _ => ErrorKind::InvalidArgument,
        }
    }

    fn invalid(what: &'static str, value: &str, reason: &'static str) -> Self {
        Self::Invalid { what, value: value.chars().take(256).collect(), reason }
    }
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), Error> {
    if count > limit { Err(Error::TooMany { what, count, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
