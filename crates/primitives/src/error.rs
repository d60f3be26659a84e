use gantry_types::ErrorKind;

use crate::filter::InvalidFilter;

/// Why a primitive did not do what was asked.
///
/// Those of the stores come with the name of the thing; what a caller may branch on is [`kind`](Self::kind).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The records.
    #[error(transparent)]
    Metadata(#[from] gantry_metadata::Error),
    /// The blobs.
    #[error(transparent)]
    Content(#[from] gantry_content::Error),
    /// The snapshots' directories.
    #[error(transparent)]
    Snapshot(#[from] gantry_snapshot::Error),
    /// A layer's archive.
    #[error(transparent)]
    Layer(#[from] gantry_layer::Error),
    /// A layer's compression.
    #[error(transparent)]
    Inflate(gantry_layer::InflateError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] gantry_registry::Error),
    /// A task, or its shim.
    #[error(transparent)]
    Task(#[from] gantry_tasks::Error),
    /// The configuration of registries or credentials.
    #[error("{what}")]
    Configuration {
        /// What was read.
        what: String,
        /// Why it cannot be used.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An index, manifest or configuration.
    #[error("{digest}")]
    Document {
        /// Which.
        digest: gantry_types::Digest,
        /// What is wrong with it.
        #[source]
        source: gantry_types::image::InvalidDocument,
    },
    /// A filter.
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    /// There is no such thing.
    #[error("{what} {name:?}: not found")]
    NotFound {
        /// Its kind.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The name is taken.
    #[error("{what} {name:?}: already exists")]
    AlreadyExists {
        /// Its kind.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The request is malformed.
    #[error("{what}: {reason}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The thing is in the wrong state for it.
    #[error("{what} {name:?} {reason}")]
    Refused {
        /// Its kind.
        what: &'static str,
        /// Its name.
        name: String,
        /// What stands in the way.
        reason: String,
    },
    /// This build, or what the request names, cannot do it.
    #[error("{0}")]
    Unimplemented(String),
    /// What came is not what was announced.
    #[error("{what} is {found}, {expected} was expected")]
    Mismatch {
        /// Of what.
        what: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A limit was reached.
    #[error("{what}: {count} is more than {limit}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How much was asked for.
        count: u64,
        /// How much there may be.
        limit: u64,
    },
    /// A foreign snapshotter, or another peer, gave an error.
    #[error("{peer}: {message}")]
    Peer {
        /// Who.
        peer: String,
        /// Its kind.
        kind: ErrorKind,
        /// What it said.
        message: String,
    },
    /// A system call gave an error.
    #[error("{action} {}", path.display())]
    File {
        /// What was tried, as in "opening".
        action: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another request did the same work, and this is how it ended.
    #[error("{0}")]
    Shared(std::sync::Arc<Error>),
    /// Whoever asked has gone, or the daemon stops.
    #[error("{0} was cancelled")]
    Cancelled(&'static str),
    /// A defect: a thread of ours panicked.
    #[error("{0} panicked")]
    Panicked(&'static str),
}

/// What most functions here give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A thread of ours panicked while it did `what`.
    pub(crate) fn panicked(what: &'static str) -> Self {
        Self::Panicked(what)
    }

    /// For `map_err`: `action` on `path` gave an error.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<std::path::PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// The same for rustix.
    pub(crate) fn errno(
        action: &'static str,
        path: impl Into<std::path::PathBuf>,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        let file = Self::file(action, path);
        move |errno| file(errno.into())
    }

    /// The error in the words of every door.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Metadata(error) => error.kind(),
            Self::Content(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
            Self::Layer(error) => error.kind(),
            Self::Inflate(error) => error.kind(),
            Self::Registry(error) => error.kind(),
            Self::Task(error) => error.kind(),
            Self::Document { .. } | Self::Filter(_) | Self::Invalid { .. } | Self::Configuration { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::Refused { .. } | Self::Mismatch { .. } => ErrorKind::FailedPrecondition,
            Self::Unimplemented(_) => ErrorKind::Unimplemented,
            Self::Limit { .. } => ErrorKind::ResourceExhausted,
            Self::Peer { kind, .. } => *kind,
            Self::File { source, .. } => io_kind(source),
            Self::Shared(error) => error.kind(),
            Self::Cancelled(_) => ErrorKind::Cancelled,
            Self::Panicked(_) => ErrorKind::Internal,
        }
    }
}

fn io_kind(error: &std::io::Error) -> ErrorKind {
    match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
        std::io::ErrorKind::ReadOnlyFilesystem => ErrorKind::FailedPrecondition,
        _ => ErrorKind::Internal,
    }
}

/// The chain of causes in one line: what a door puts into its message.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Transparent errors show their cause already.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
