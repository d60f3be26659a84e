use std::io;
use std::path::PathBuf;

use gantry_types::ErrorKind;

/// What is wrong with a file, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is too large.
    #[error("{} has more than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// It is not TOML, or JSON.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A value that does not belong to its key.
    #[error("{}:{line}: {key} is {found}, but has to be {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, with its tables.
        key: String,
        /// What is allowed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A key that does not exist.
    #[error("{}:{line}: there is no key {key}; {hint}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, with its tables.
        key: String,
        /// The key that it may have been meant to be, or those that exist there.
        hint: String,
    },
    /// A version of the format that this build does not read.
    #[error("{}:{line}: version {found} of containerd's configuration is not supported; it has to be 2, 3 or 4, or no version for Gantry's own", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The version.
        found: String,
    },
    /// More files imported than is reasonable, or one that imports itself.
    #[error("{} imports more than {limit} files, itself perhaps", path.display())]
    Imports {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// Keys of `daemon.json` that dockerd does not know.
    #[error("unable to configure the Docker door with file {}: the following directives don't match any configuration option: {keys}", path.display())]
    Directives {
        /// The file.
        path: PathBuf,
        /// The keys, in order.
        keys: String,
    },
    /// A credential helper that does not do its work.
    #[error("credential helper {helper} for {server}: {problem}")]
    Helper {
        /// `docker-credential-…`.
        helper: String,
        /// For which registry.
        server: String,
        /// What went wrong; never the helper's output.
        problem: String,
    },
}

impl Error {
    /// What went wrong, in the words that doors map.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::PermissionDenied
            }
            Self::Read { .. } => ErrorKind::Internal,
            Self::TooLarge { .. } | Self::Imports { .. } => ErrorKind::ResourceExhausted,
            Self::Syntax { .. }
            | Self::Value { .. }
            | Self::Unknown { .. }
            | Self::Version { .. }
            | Self::Directives { .. } => ErrorKind::InvalidArgument,
            Self::Helper { .. } => ErrorKind::Unavailable,
        }
    }
}
