//! What a build answers instead of an image.

use std::io;

use gantry_types::ErrorKind;

/// The result of the parts of a build.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be built. The words are docker's where programs know them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Dockerfile is wrong.
    #[error("dockerfile parse error on line {line}: {message}")]
    Dockerfile {
        /// Where the instruction begins.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It is none of the classic builder's abilities.
    #[error("{0}")]
    Unsupported(String),
    /// A limit was reached.
    #[error("{what} has more than {limit} {unit}")]
    Limit {
        /// Of what.
        what: String,
        /// How much there may be.
        limit: u64,
        /// Of what kind, as in `bytes`.
        unit: &'static str,
    },
    /// A program of `RUN` failed.
    #[error("The command '{command}' returned a non-zero code: {code}")]
    Command {
        /// The program and its arguments.
        command: String,
        /// Its exit status.
        code: i32,
    },
    /// Files could not be copied.
    #[error("{instruction} failed: {message}")]
    Copy {
        /// `COPY` or `ADD`.
        instruction: &'static str,
        /// Why.
        message: String,
    },
    /// What is elsewhere cannot be had.
    #[error("{what}: {reason}")]
    Remote {
        /// What was done, as in `fetching <address>`.
        what: String,
        /// What came of it.
        reason: String,
        /// The kind of that.
        kind: ErrorKind,
    },
    /// Whoever wanted the image has gone.
    #[error("the build was cancelled")]
    Cancelled,
    /// The engine.
    #[error(transparent)]
    Engine(#[from] gantry_engine::Error),
    /// An archive, or files.
    #[error("{action}")]
    Archive {
        /// What was done, as in `unpacking the build context`.
        action: String,
        /// What came of it.
        #[source]
        source: gantry_layer::Error,
    },
    /// A file of the engine's.
    #[error("{action} {path}")]
    Io {
        /// What was done, as in `writing`.
        action: &'static str,
        /// To which file.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn line(line: usize, message: impl Into<String>) -> Self {
        Self::Dockerfile { line, message: message.into() }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<std::path::Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().display().to_string();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn errno(
        action: &'static str,
        path: impl AsRef<std::path::Path>,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        let failed = Self::io(action, path);
        move |errno| failed(errno.into())
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Dockerfile { .. } | Self::Invalid(_) | Self::Copy { .. } => ErrorKind::InvalidArgument,
            Self::Unsupported(_) => ErrorKind::Unimplemented,
            Self::Limit { .. } => ErrorKind::ResourceExhausted,
            Self::Command { .. } => ErrorKind::FailedPrecondition,
            Self::Remote { kind, .. } => *kind,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Engine(error) => error.kind(),
            Self::Archive { source, .. } => source.kind(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                io::ErrorKind::StorageFull => ErrorKind::ResourceExhausted,
                _ => ErrorKind::Internal,
            },
        }
    }

    /// The code that clients are told: the exit status of a program, else none.
    pub fn code(&self) -> i32 {
        match self {
            Self::Command { code, .. } => *code,
            _ => 0,
        }
    }
}
