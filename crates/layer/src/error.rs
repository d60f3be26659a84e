use std::io;

use gantry_types::ErrorKind;
use rustix::io::Errno;

use crate::inflate::InflateError;

/// Why a layer was not applied or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no valid archive.
    #[error("invalid archive at byte {offset}: {reason}")]
    Malformed {
        /// Where the header of the entry begins, in the uncompressed stream.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// An entry of the archive cannot be.
    #[error("invalid entry {path:?}: {reason}")]
    Invalid {
        /// The name of the entry.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A limit was reached.
    #[error("layer has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// A hard link to a file that neither this layer nor one below has.
    #[error("hard link {path:?} to {target:?}, which does not exist")]
    MissingTarget {
        /// The name of the link.
        path: String,
        /// What it should be linked to.
        target: String,
    },
    /// Something is in the way that is not to go.
    #[error("cannot overwrite {there} {path:?} with {comes}")]
    Overwrite {
        /// What is in the way.
        path: String,
        /// `directory` or `non-directory`.
        there: &'static str,
        /// The other.
        comes: &'static str,
    },
    /// An upper directory uses a feature of overlayfs by which its files are not whole.
    #[error("{path:?} has the overlay attribute {attribute:?}: compare the mounted trees instead")]
    Incomplete {
        /// The file in the upper directory.
        path: String,
        /// The attribute.
        attribute: &'static str,
    },
    /// A file that is being written to a layer became shorter.
    #[error("{path:?} changed while it was read")]
    Changed {
        /// The file.
        path: String,
    },
    /// The reader of the archive gave an error.
    #[error("read of the layer")]
    Read(#[source] io::Error),
    /// The writer of the layer gave an error.
    #[error("write of the layer")]
    Write(#[source] io::Error),
    /// The kernel refused something.
    #[error("{operation} {path:?}")]
    System {
        /// The system call.
        operation: &'static str,
        /// The file, relative to the root.
        path: String,
        /// The kernel's reason.
        #[source]
        errno: Errno,
    },
}

impl Error {
    pub(crate) fn system(operation: &'static str, path: &[u8], errno: Errno) -> Self {
        Self::System { operation, path: text(path), errno }
    }

    pub(crate) fn invalid(path: &[u8], reason: &'static str) -> Self {
        Self::Invalid { path: text(path), reason }
    }

    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed { .. }
            | Self::Invalid { .. }
            | Self::MissingTarget { .. }
            | Self::Overwrite { .. } => ErrorKind::InvalidArgument,
            Self::Limit { .. } => ErrorKind::ResourceExhausted,
            Self::Incomplete { .. } | Self::Changed { .. } => ErrorKind::FailedPrecondition,
            Self::Read(error) | Self::Write(error) => kind_of_io(error),
            Self::System { errno, .. } => kind_of_errno(*errno),
        }
    }
}

fn kind_of_io(error: &io::Error) -> ErrorKind {
    if let Some(inflate) = error.get_ref().and_then(|source| source.downcast_ref::<InflateError>()) {
        return inflate.kind();
    }
    match error.raw_os_error() {
        Some(errno) => kind_of_errno(Errno::from_raw_os_error(errno)),
        None if error.kind() == io::ErrorKind::UnexpectedEof => ErrorKind::InvalidArgument,
        None => ErrorKind::Unavailable,
    }
}

fn kind_of_errno(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::FBIG => {
            ErrorKind::ResourceExhausted
        }
        Errno::PERM | Errno::ACCESS => ErrorKind::PermissionDenied,
        Errno::NAMETOOLONG | Errno::LOOP | Errno::NOTDIR | Errno::MLINK => ErrorKind::InvalidArgument,
        Errno::ROFS => ErrorKind::FailedPrecondition,
        Errno::OPNOTSUPP | Errno::NOSYS => ErrorKind::Unimplemented,
        _ => ErrorKind::Internal,
    }
}

/// A path for a message: what is not UTF-8 is replaced.
pub(crate) fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
