use std::path::PathBuf;
use std::time::Duration;

use gantry_ttrpc::Status;
use gantry_types::ErrorKind;
use rustix::io::Errno;

/// Why a task did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such task or sandbox.
    #[error("{what} {id:?}: not found")]
    NotFound {
        /// Its kind.
        what: &'static str,
        /// Its container, or the sandbox.
        id: String,
    },
    /// It runs already, or its last end is not cleaned up yet.
    #[error("{what} {id:?}: already exists")]
    AlreadyExists {
        /// Its kind.
        what: &'static str,
        /// Its container, or the sandbox.
        id: String,
    },
    /// The request is malformed.
    #[error("{what}: {reason}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No shim goes by that name.
    #[error("runtime {name:?}: {reason}")]
    Runtime {
        /// The name in the request or record.
        name: String,
        /// What was looked for.
        reason: String,
    },
    /// The shim refused; the text is its own.
    #[error("{0}")]
    Shim(#[source] Refusal),
    /// The shim could not be started.
    #[error("{}: {reason}", program.display())]
    Start {
        /// Its binary.
        program: PathBuf,
        /// What it said, or what the kernel said.
        reason: String,
    },
    /// The shim did not answer in time.
    #[error("the shim of {id:?} does not answer {method} within {limit:?}")]
    Timeout {
        /// The container.
        id: String,
        /// What it was asked for.
        method: &'static str,
        /// How long.
        limit: Duration,
    },
    /// Whoever asked has gone, and what was begun is undone.
    #[error("whoever asked for {method} of {id:?} has gone")]
    Cancelled {
        /// The container.
        id: String,
        /// What was asked for.
        method: &'static str,
    },
    /// The shim is gone.
    #[error("the shim of {id:?} is gone: {reason}")]
    Lost {
        /// The container.
        id: String,
        /// What is known of it.
        reason: String,
    },
    /// A request is larger than a shim takes.
    #[error("{method} of {id:?}: {reason}")]
    TooLarge {
        /// The container.
        id: String,
        /// What was asked for.
        method: &'static str,
        /// How large.
        reason: String,
    },
    /// The answer is not the method's message.
    #[error("the shim of {id:?} answers {method} with what cannot be read")]
    Answer {
        /// The container.
        id: String,
        /// What it was asked for.
        method: &'static str,
    },
    /// A file of a bundle.
    #[error("{doing} {}", path.display())]
    File {
        /// What was done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A panic of ours; the operation's state is unknown.
    #[error("a task's operation panicked")]
    Panicked,
}

/// What a shim said when it refused.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Refusal(pub(crate) Status);

impl Error {
    /// What went wrong, in our words.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::Invalid { .. } => ErrorKind::InvalidArgument,
            Self::Runtime { .. } => ErrorKind::NotFound,
            Self::Shim(Refusal(status)) => status.kind(),
            Self::Start { .. } | Self::Answer { .. } | Self::Panicked => ErrorKind::Internal,
            Self::Timeout { .. } => ErrorKind::DeadlineExceeded,
            Self::Cancelled { .. } => ErrorKind::Cancelled,
            Self::Lost { .. } => ErrorKind::Unavailable,
            Self::TooLarge { .. } => ErrorKind::ResourceExhausted,
            Self::File { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull
                | std::io::ErrorKind::QuotaExceeded
                | std::io::ErrorKind::OutOfMemory => ErrorKind::ResourceExhausted,
                // Descriptors, of the process or the machine, and processes.
                _ if [Errno::MFILE, Errno::NFILE, Errno::AGAIN]
                    .iter()
                    .any(|errno| source.raw_os_error() == Some(errno.raw_os_error())) =>
                {
                    ErrorKind::ResourceExhausted
                }
                std::io::ErrorKind::ReadOnlyFilesystem => ErrorKind::FailedPrecondition,
                std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                _ => ErrorKind::Internal,
            },
        }
    }

    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }

    pub(crate) fn errno(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        let wrap = Self::file(doing, path);
        move |errno| wrap(errno.into())
    }
}
