use std::io;

use gantry_types::ErrorKind;
use rustix::io::Errno;

use crate::error::kind_of;

/// A conversation with systemd that did not end as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemdError {
    /// The environment names no bus of the user.
    #[error(
        "no D-Bus session of the user: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR leads to one \
         (hint: install dbus-user-session, and log in again)"
    )]
    NoUserBus,
    /// No bus could be reached.
    #[error("connecting to systemd at {address:?}")]
    Connect {
        /// The socket.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bus does not want us.
    #[error("authenticating at {address:?}: the bus answered {answer:?}")]
    Refused {
        /// The socket.
        address: String,
        /// Its words.
        answer: String,
    },
    /// Sending or receiving failed.
    #[error("talking to systemd at {address:?}")]
    Io {
        /// The socket.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was received is no message, or has other arguments than documented.
    #[error("systemd at {address:?} sent a malformed message")]
    Malformed {
        /// The socket.
        address: String,
    },
    /// systemd refused a call.
    #[error("systemd refused {call}: {text} ({name})")]
    Call {
        /// The method, with what it was about.
        call: String,
        /// The name of the error.
        name: String,
        /// What systemd says.
        text: String,
    },
    /// A job of systemd did not succeed.
    #[error("systemd's job for unit {unit:?} ended as {result:?}")]
    Job {
        /// The unit.
        unit: String,
        /// As in `failed`.
        result: String,
    },
    /// No answer, or no end of a job, in time.
    #[error("timeout waiting for systemd to {what}")]
    Timeout {
        /// What was waited for.
        what: String,
    },
}

impl SystemdError {
    /// The error in the words of every door.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoUserBus => ErrorKind::FailedPrecondition,
            Self::Connect { source, .. } | Self::Io { source, .. } => {
                match Errno::from_io_error(source).map(kind_of) {
                    Some(kind @ (ErrorKind::PermissionDenied | ErrorKind::ResourceExhausted)) => kind,
                    _ => ErrorKind::Unavailable,
                }
            }
            Self::Refused { .. } => ErrorKind::PermissionDenied,
            Self::Malformed { .. } | Self::Job { .. } => ErrorKind::Internal,
            Self::Timeout { .. } => ErrorKind::DeadlineExceeded,
            Self::Call { name, .. } => match name.as_str() {
                "org.freedesktop.systemd1.NoSuchUnit" | "org.freedesktop.systemd1.NoSuchProcess" => {
                    ErrorKind::NotFound
                }
                "org.freedesktop.systemd1.UnitExists" => ErrorKind::AlreadyExists,
                "org.freedesktop.DBus.Error.AccessDenied"
                | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => {
                    ErrorKind::PermissionDenied
                }
                "org.freedesktop.DBus.Error.InvalidArgs"
                | "org.freedesktop.DBus.Error.PropertyReadOnly"
                | "org.freedesktop.DBus.Error.UnknownProperty" => ErrorKind::InvalidArgument,
                _ => ErrorKind::Internal,
            },
        }
    }

    /// Whether systemd said so with this error of its own.
    pub(super) fn is(&self, suffix: &str) -> bool {
        matches!(self, Self::Call { name, .. } if name.strip_prefix("org.freedesktop.systemd1.") == Some(suffix))
    }
}
