use gantry_types::ErrorKind;

/// Why a container's options cannot become a configuration.
///
/// Errors of users, seccomp profiles and CDI have families of their own, which are the sources of some of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value that means nothing, or that nobody may ask for.
    #[error("invalid {field} {value:?}: {reason}")]
    Invalid {
        /// Which option.
        field: &'static str,
        /// What was asked for.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two options that exclude each other.
    #[error("{first} and {second} exclude each other{hint}")]
    Conflict {
        /// One of them.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// What to do, as `: …`; empty if that is plain.
        hint: &'static str,
    },
    /// Neither the image nor the request says what to run.
    #[error("no command specified: the image has neither an entry point nor a command, so give one")]
    NoCommand,
    /// The name of no capability.
    #[error("unknown capability: {0:?}")]
    UnknownCapability(String),
    /// A capability that the daemon does not have itself, or the kernel does not know.
    #[error("the capability {0:?} is not available: the kernel lacks it, or the daemon runs without it")]
    UnavailableCapability(String),
    /// A kernel parameter that is not one of the container's own namespaces.
    #[error("the sysctl {name:?} is not allowed: {reason}")]
    Sysctl {
        /// The parameter.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// A limit of this crate.
    #[error("{count} {what} are more than {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Something that this kernel, or the way the daemon was started, does not give.
    #[error("{what} is not possible here: {reason}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// What is lacking.
        reason: &'static str,
    },
    /// The seccomp profile is refused.
    #[error("the seccomp profile cannot be used")]
    Seccomp(#[source] crate::seccomp::Error),
}

impl Error {
    /// The error's kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. }
            | Self::Conflict { .. }
            | Self::NoCommand
            | Self::UnknownCapability(_)
            | Self::UnavailableCapability(_)
            | Self::Sysctl { .. }
            | Self::Seccomp(_) => ErrorKind::InvalidArgument,
            Self::TooMany { .. } => ErrorKind::ResourceExhausted,
            Self::Unsupported { .. } => ErrorKind::Unimplemented,
        }
    }

    pub(crate) fn invalid(
        field: &'static str,
        value: impl std::fmt::Display,
        reason: impl Into<String>,
    ) -> Self {
        Self::Invalid { field, value: value.to_string(), reason: reason.into() }
    }
}

pub(crate) fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), Error> {
    if count > limit { Err(Error::TooMany { what, count, limit }) } else { Ok(()) }
}
