//! What the engine answers instead of a result.

use std::io;

use gantry_types::ErrorKind;

/// The result of the engine's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done. The words are a person's: doors show them as they are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is none.
    #[error("no such {what}: {name}")]
    NotFound {
        /// What was looked for, as in `container`.
        what: &'static str,
        /// By which name.
        name: String,
    },
    /// The image is there, and has nothing for a platform.
    #[error(
        "image with reference {image} was found but does not provide the specified platform ({platform})"
    )]
    NoPlatform {
        /// Its name.
        image: String,
        /// The platform.
        platform: String,
    },
    /// There is no such file in a container.
    #[error("Could not find the file {path} in container {container}")]
    NoFile {
        /// The file, as it was asked for.
        path: String,
        /// The name of the container.
        container: String,
    },
    /// What was to be written to is read-only.
    #[error("{0} is marked read-only")]
    ReadOnly(&'static str),
    /// The request makes no sense, whatever the state.
    #[error("{0}")]
    Invalid(String),
    /// The state is against it.
    #[error("{0}")]
    Conflict(String),
    /// It is so already.
    #[error("{0}")]
    NotModified(String),
    /// What was asked for is none of an engine like this one's abilities.
    #[error("{0}")]
    Unsupported(String),
    /// The container belongs to another door.
    #[error("{what} {name} belongs to {owner}: use {tool} for this")]
    Foreign {
        /// What it is.
        what: &'static str,
        /// Its name.
        name: String,
        /// Its owner.
        owner: String,
        /// What its owner's users call.
        tool: &'static str,
    },
    /// The program could not be started: its exit status is 126 or 127.
    #[error("{message}")]
    Start {
        /// What the runtime said.
        message: String,
        /// 127 if there is no such program, 126 if it is none.
        exit_code: i32,
        /// The kind of what the runtime said.
        kind: ErrorKind,
    },
    /// Bytes, records, shims.
    #[error(transparent)]
    Store(#[from] gantry_primitives::Error),
    /// Namespaces, addresses, ports.
    #[error(transparent)]
    Network(#[from] gantry_network::Error),
    /// The specification of the container.
    #[error(transparent)]
    Spec(#[from] gantry_spec::Error),
    /// A file.
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
    /// A file of the web cannot be fetched.
    #[error("failed to GET {url}{detail}")]
    Web {
        /// Its address, without a password.
        url: String,
        /// Why, with what stands before it.
        detail: String,
        /// The kind of that.
        kind: ErrorKind,
    },
    /// A part of the engine ended before its work.
    #[error("{0} ended before its work was done")]
    Panicked(&'static str),
}

impl Error {
    pub(crate) fn no_container(name: impl Into<String>) -> Self {
        Self::NotFound { what: "container", name: name.into() }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<std::path::Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().display().to_string();
        move |source| Self::Io { action, path, source }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::NoFile { .. } | Self::NoPlatform { .. } => ErrorKind::NotFound,
            // As with dockerd, whatever its documentation says.
            Self::Invalid(_) | Self::ReadOnly(_) => ErrorKind::InvalidArgument,
            Self::Conflict(_) | Self::Foreign { .. } => ErrorKind::FailedPrecondition,
            Self::NotModified(_) => ErrorKind::AlreadyExists,
            Self::Unsupported(_) => ErrorKind::Unimplemented,
            Self::Start { kind, .. } | Self::Web { kind, .. } => *kind,
            Self::Store(error) => error.kind(),
            Self::Network(error) => error.kind(),
            Self::Spec(error) => error.kind(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                io::ErrorKind::StorageFull => ErrorKind::ResourceExhausted,
                _ => ErrorKind::Internal,
            },
            Self::Panicked(_) => ErrorKind::Internal,
        }
    }
}
