use std::path::PathBuf;

use gantry_types::ErrorKind;
use gantry_types::labels::InvalidLabels;
use rustix::io::Errno;

use crate::{Kind, SnapshotNumber};

/// Why a snapshot could not be made, found, changed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No snapshot of that name or key.
    #[error("snapshot {key:?} does not exist")]
    NotFound {
        /// The key or name.
        key: String,
    },
    /// The name or key is in use.
    #[error("snapshot {key:?} exists already")]
    AlreadyExists {
        /// The key or name.
        key: String,
    },
    /// The snapshot to build on can still change.
    #[error("parent {parent:?} is not committed")]
    ParentNotCommitted {
        /// The parent's key.
        parent: String,
        /// Whether it was named at a commit.
        at_commit: bool,
    },
    /// Only an active snapshot has mounts or can be committed.
    #[error("snapshot {key:?} is {}: cannot {action}", kind.as_str())]
    WrongKind {
        /// The key or name.
        key: String,
        /// What it is.
        kind: Kind,
        /// What was asked for.
        action: &'static str,
    },
    /// Others build on it.
    #[error("cannot remove snapshot {key:?}, which has children")]
    HasChildren {
        /// The name.
        key: String,
    },
    /// It was prepared on another parent.
    #[error("cannot change the parent of snapshot {key:?} at its commit")]
    ParentFixed {
        /// The key.
        key: String,
    },
    /// Only labels can be updated.
    #[error("cannot update the field {field:?} of snapshot {key:?}")]
    ImmutableField {
        /// The key or name.
        key: String,
        /// The field as it was given.
        field: String,
    },
    /// Labels that are too long or too many.
    #[error("labels are refused")]
    Labels(#[source] InvalidLabels),
    /// The argument is not of its form.
    #[error("{what} {text:?} is invalid: {reason}")]
    Invalid {
        /// Which argument.
        what: &'static str,
        /// As it was given.
        text: String,
        /// Why.
        reason: &'static str,
    },
    /// The driver or snapshotter lacks the operation.
    #[error("{driver} cannot {what}")]
    Unsupported {
        /// Which one.
        driver: String,
        /// The operation.
        what: &'static str,
    },
    /// The driver cannot work in this directory.
    #[error("{driver} cannot use {}: {reason}", root.display())]
    Unusable {
        /// Which driver.
        driver: &'static str,
        /// Its directory.
        root: PathBuf,
        /// What the file system or the kernel lacks, and the next step.
        reason: &'static str,
    },
    /// The directory of a snapshot is gone.
    #[error("snapshot number {number} has no directory")]
    NoDirectory {
        /// Its number.
        number: SnapshotNumber,
    },
    /// The kernel refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The records, or a foreign snapshotter, refused or could not be asked.
    #[error("{message}")]
    Peer {
        /// Its kind of error.
        kind: ErrorKind,
        /// Its words.
        message: String,
        /// What lies below, where that is known.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(Errno) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn not_found(key: &str) -> Self {
        Self::NotFound { key: key.to_owned() }
    }

    pub(crate) fn exists(key: &str) -> Self {
        Self::AlreadyExists { key: key.to_owned() }
    }

    /// The kind, for whoever maps errors to status codes.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::NoDirectory { .. } => ErrorKind::NotFound,
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::ParentNotCommitted { at_commit: true, .. }
            | Self::WrongKind { .. }
            | Self::HasChildren { .. }
            | Self::Unusable { .. } => ErrorKind::FailedPrecondition,
            Self::ParentNotCommitted { .. }
            | Self::ParentFixed { .. }
            | Self::ImmutableField { .. }
            | Self::Labels(_)
            | Self::Invalid { .. } => ErrorKind::InvalidArgument,
            Self::Unsupported { .. } => ErrorKind::Unimplemented,
            Self::Io { source, .. } => kind_of_errno(*source),
            Self::Peer { kind, .. } => *kind,
        }
    }
}

fn kind_of_errno(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::MLINK => {
            ErrorKind::ResourceExhausted
        }
        Errno::PERM | Errno::ACCESS => ErrorKind::PermissionDenied,
        Errno::STALE => ErrorKind::Aborted,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_the_kind_that_containerd_answers() {
        let io = |source| Error::Io { action: "make", path: "/x".into(), source };
        let key = || "k".to_owned();
        let table = [
            (Error::not_found("k"), ErrorKind::NotFound),
            (Error::exists("k"), ErrorKind::AlreadyExists),
            (Error::ParentNotCommitted { parent: key(), at_commit: false }, ErrorKind::InvalidArgument),
            (Error::ParentNotCommitted { parent: key(), at_commit: true }, ErrorKind::FailedPrecondition),
            (
                Error::WrongKind { key: key(), kind: Kind::View, action: "be committed" },
                ErrorKind::FailedPrecondition,
            ),
            (Error::HasChildren { key: key() }, ErrorKind::FailedPrecondition),
            (Error::ParentFixed { key: key() }, ErrorKind::InvalidArgument),
            (Error::ImmutableField { key: key(), field: "parent".into() }, ErrorKind::InvalidArgument),
            (Error::Unsupported { driver: "native".into(), what: "rebase" }, ErrorKind::Unimplemented),
            (io(Errno::NOSPC), ErrorKind::ResourceExhausted),
            (io(Errno::PERM), ErrorKind::PermissionDenied),
            (io(Errno::IO), ErrorKind::Internal),
        ];
        for (error, kind) in table {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
