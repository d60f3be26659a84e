use std::time::Duration;

use gantry_types::ErrorKind;
use gantry_types::image::InvalidDocument;

use crate::Capability;

/// What another crate's code reports.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a registry did not give or take something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No host has it.
    #[error("{what} is not in {registry}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// The registry, as references call it.
        registry: String,
    },
    /// 401 or 403, with whatever credentials there were.
    #[error("{host} refuses {what}: {detail}")]
    Refused {
        /// Who refuses.
        host: String,
        /// What was asked for.
        what: String,
        /// 401 or 403.
        status: u16,
        /// The host's own words.
        detail: String,
    },
    /// Any other answer that is not what was asked for.
    #[error("{host} answers {what} with status {status}: {detail}")]
    Status {
        /// Who answers.
        host: String,
        /// What was asked for.
        what: String,
        /// The status.
        status: u16,
        /// The host's own words.
        detail: String,
    },
    /// No connection.
    #[error("no connection to {host}")]
    Connect {
        /// To whom.
        host: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The connection broke.
    #[error("the connection to {host} broke during {what}")]
    Broken {
        /// To whom.
        host: String,
        /// During what.
        what: String,
        /// How.
        #[source]
        source: BoxError,
    },
    /// The host takes too long.
    #[error("{host} did not answer {what} within {after:?}")]
    Timeout {
        /// Who.
        host: String,
        /// What it was asked for.
        what: String,
        /// The time limit.
        after: Duration,
    },
    /// The answer breaks the protocol.
    #[error("{host} answers {what} with {problem}")]
    Protocol {
        /// Who.
        host: String,
        /// What it was asked for.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// What came is not what was asked for.
    #[error("{host} sent {what} with {found} instead of {expected}")]
    Mismatch {
        /// Who sent it.
        host: String,
        /// What was asked for.
        what: String,
        /// The digest or size that was asked for.
        expected: String,
        /// The one that came.
        found: String,
    },
    /// A limit of [`Limits`](crate::Limits).
    #[error("{what} from {host} has more than {limit} {unit}")]
    Limit {
        /// Who sent it.
        host: String,
        /// What was asked for.
        what: String,
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// An answer that leads to plain HTTP, or elsewhere where nobody should go.
    #[error("{host} leads {what} to {target}, {reason}")]
    Misled {
        /// Who.
        host: String,
        /// What was asked for.
        what: String,
        /// Where to, without its query.
        target: String,
        /// Why that is not followed.
        reason: &'static str,
    },
    /// A manifest that is not what it should be.
    #[error("{what} from {host} is refused")]
    Document {
        /// Who sent it.
        host: String,
        /// What was asked for.
        what: String,
        /// Why.
        #[source]
        source: InvalidDocument,
    },
    /// The credentials for a host cannot be had.
    #[error("the credentials for {host} cannot be had")]
    Credentials {
        /// For whom.
        host: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The hosts of a registry cannot be had.
    #[error("the hosts of {registry} cannot be had")]
    Hosts {
        /// The registry.
        registry: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// No host of a registry may be asked for this.
    #[error("no host of {registry} has the capability {}", capability.name())]
    NoHost {
        /// The registry.
        registry: String,
        /// What it would need.
        capability: Capability,
    },
    /// A certificate, key, proxy, header or URL that was configured cannot be used.
    #[error("{host}: {problem}")]
    Configuration {
        /// For whom it was configured.
        host: String,
        /// What is wrong.
        problem: String,
    },
    /// The bytes of an upload cannot be read.
    #[error("{what} cannot be read for its upload")]
    Source {
        /// What is pushed.
        what: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl Error {
    /// What went wrong, in the words that doors map.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::NoHost { .. } => ErrorKind::NotFound,
            Self::Refused { status: 401, .. } => ErrorKind::Unauthenticated,
            Self::Refused { .. } => ErrorKind::PermissionDenied,
            Self::Status { status, .. } => of_status(*status),
            Self::Connect { .. } | Self::Broken { .. } | Self::Credentials { .. } => ErrorKind::Unavailable,
            Self::Timeout { .. } => ErrorKind::DeadlineExceeded,
            Self::Mismatch { .. } => ErrorKind::DataLoss,
            Self::Limit { .. } => ErrorKind::ResourceExhausted,
            Self::Document { .. } => ErrorKind::InvalidArgument,
            Self::Misled { .. } | Self::Hosts { .. } | Self::Configuration { .. } => {
                ErrorKind::FailedPrecondition
            }
            Self::Protocol { .. } | Self::Source { .. } => ErrorKind::Internal,
        }
    }

    /// How far a request got that ended like this: of several hosts' errors, the one that got furthest is told.
    pub(crate) fn reach(&self) -> u8 {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Configuration { .. } => 1,
            Self::NotFound { .. } => 2,
            Self::Status { .. } | Self::Broken { .. } | Self::Protocol { .. } => 3,
            Self::Refused { .. } | Self::Credentials { .. } => 4,
            _ => 5,
        }
    }
}

fn of_status(status: u16) -> ErrorKind {
    match status {
        404 => ErrorKind::NotFound,
        408 | 504 => ErrorKind::DeadlineExceeded,
        409 => ErrorKind::FailedPrecondition,
        405 | 501 => ErrorKind::Unimplemented,
        413 | 429 => ErrorKind::ResourceExhausted,
        416 => ErrorKind::OutOfRange,
        400..=499 => ErrorKind::InvalidArgument,
        _ => ErrorKind::Unavailable,
    }
}
