use std::path::PathBuf;

use gantry_types::ErrorKind;
use rustix::io::Errno;

/// A log that could not be opened, written, rotated or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call on one of the log's files did not succeed.
    #[error("{action} log {path:?}")]
    File {
        /// What was tried, as in "opening".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// What the path names is a directory, a device or a FIFO.
    #[error("log {0:?} is not a regular file")]
    NotAFile(PathBuf),
    /// Another daemon does not take messages.
    #[error("sending to {address}")]
    Remote {
        /// Where it is.
        address: String,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// Memory for the backlog.
    #[error("mapping memory for a log")]
    Memory(#[source] Errno),
}

impl Error {
    /// The error in the words of every door.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAFile(_) => ErrorKind::InvalidArgument,
            Self::Remote { .. } => ErrorKind::Unavailable,
            Self::Memory(_) => ErrorKind::ResourceExhausted,
            Self::File { errno, .. } => match *errno {
                Errno::NOENT => ErrorKind::NotFound,
                Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NAMETOOLONG => ErrorKind::InvalidArgument,
                Errno::ACCESS | Errno::PERM | Errno::ROFS => ErrorKind::PermissionDenied,
                Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::MFILE | Errno::NFILE => {
                    ErrorKind::ResourceExhausted
                }
                _ => ErrorKind::Internal,
            },
        }
    }
}
