use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use gantry_types::{Digest, ErrorKind};
use rustix::io::Errno;

use crate::Ingest;

/// Something that the store did not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key is empty or too long.
    #[error("invalid key of {length} bytes: an ingest's key has 1 to {limit}")]
    Key {
        /// How long it is, in bytes.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// There is no such blob.
    #[error("content {0} not found")]
    NoBlob(Digest),
    /// There is no such ingest.
    #[error("ingest {0:?} not found")]
    NoIngest(String),
    /// The blob is there already.
    #[error("content {0} exists already")]
    Exists(Digest),
    /// Another writer has the ingest.
    #[error("ingest {key:?} is locked by another writer since {}", seconds(*.since))]
    Locked {
        /// Its key.
        key: String,
        /// When the other writer came.
        since: SystemTime,
    },
    /// The ingest was aborted while it was written.
    #[error("ingest {0:?} was aborted")]
    Aborted(String),
    /// Not as many bytes as were announced.
    #[error("{found} bytes were written, {expected} were expected")]
    Size {
        /// How many there are.
        found: u64,
        /// How many there should be.
        expected: u64,
    },
    /// Not the bytes that were announced.
    #[error("the digest is {found}, {expected} was expected")]
    Mismatch {
        /// The digest of what was written.
        found: Digest,
        /// The digest that it should have.
        expected: Digest,
    },
    /// A position behind the last byte.
    #[error("no byte at {position}, there are {length}")]
    Position {
        /// The position.
        position: u64,
        /// How many bytes there are.
        length: u64,
    },
    /// The blob is larger than the store takes.
    #[error("a blob may have {0} bytes (max_blob_bytes)")]
    TooLarge(u64),
    /// As many ingests are open as may be.
    #[error("{0} ingests are open, which is the limit (max_ingests)")]
    TooManyIngests(usize),
    /// Another process, or another `Store`, has the directory.
    #[error("content store {0:?} is in use")]
    InUse(PathBuf),
    /// The disk did not take the bytes of a committed blob.
    #[error("syncing content {digest}")]
    Sync {
        /// The blob. A new ingest may replace its bytes.
        digest: Digest,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// A call on one of the store's files did not succeed.
    #[error("{action} {path:?}")]
    File {
        /// What was tried, as in "opening".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        errno: Errno,
    },
}

fn seconds(time: SystemTime) -> String {
    let age = time.elapsed().unwrap_or_default();
    format!("{} s", age.as_secs())
}

impl Error {
    /// For `map_err`: `action` on `path` gave an error.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self + use<> {
        let path = path.to_path_buf();
        move |errno| Self::File { action, path, errno }
    }

    /// The error in the words of every door.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Key { .. } => ErrorKind::InvalidArgument,
            Self::NoBlob(_) | Self::NoIngest(_) => ErrorKind::NotFound,
            Self::Exists(_) => ErrorKind::AlreadyExists,
            Self::Locked { .. } | Self::InUse(_) => ErrorKind::Unavailable,
            Self::Aborted(_) => ErrorKind::Aborted,
            Self::Size { .. } | Self::Mismatch { .. } => ErrorKind::FailedPrecondition,
            Self::Position { .. } => ErrorKind::OutOfRange,
            Self::TooLarge(_) | Self::TooManyIngests(_) => ErrorKind::ResourceExhausted,
            Self::Sync { errno, .. } => match kind_of(*errno) {
                ErrorKind::ResourceExhausted => ErrorKind::ResourceExhausted,
                _ => ErrorKind::DataLoss,
            },
            Self::File { errno, .. } => kind_of(*errno),
        }
    }
}

fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::MFILE | Errno::NFILE | Errno::MLINK => {
            ErrorKind::ResourceExhausted
        }
        Errno::ACCESS | Errno::PERM | Errno::ROFS => ErrorKind::PermissionDenied,
        Errno::NOENT => ErrorKind::NotFound,
        Errno::IO => ErrorKind::DataLoss,
        _ => ErrorKind::Internal,
    }
}

/// A commit that did not happen.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: Error,
    /// The ingest with its bytes, still locked, if it is worth anything: to truncate, to write the rest, or to abort.
    /// Dropping it keeps the bytes for whoever resumes.
    pub ingest: Option<Box<Ingest>>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_and_quotas_are_exhausted_resources() {
        for (errno, kind) in [
            (Errno::NOSPC, ErrorKind::ResourceExhausted),
            (Errno::DQUOT, ErrorKind::ResourceExhausted),
            (Errno::FBIG, ErrorKind::ResourceExhausted),
            (Errno::ROFS, ErrorKind::PermissionDenied),
            (Errno::IO, ErrorKind::DataLoss),
        ] {
            assert_eq!(Error::file("writing", Path::new("/x"))(errno).kind(), kind);
        }
        let digest = Digest::sha256(b"");
        assert_eq!(Error::Sync { digest, errno: Errno::IO }.kind(), ErrorKind::DataLoss);
    }
}
