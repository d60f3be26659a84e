//! Why a call fails, in the form in which it crosses from a worker to the shim and from the shim to its client.

use std::error::Error;

use gantry_types::ErrorKind;

/// A kind, for the status code, and words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// The rendered chain of causes.
    pub message: String,
}

impl Failure {
    /// A failure with its words.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Failure { kind, message: message.into() }
    }

    /// An error of a library's, with its causes.
    pub(crate) fn of(kind: ErrorKind, error: &dyn Error) -> Self {
        Failure::new(kind, render(error))
    }

    pub(crate) fn not_found(what: &str, id: &str) -> Self {
        Failure::new(ErrorKind::NotFound, format!("{what} {id:?} not found"))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Failure::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        Failure::new(ErrorKind::FailedPrecondition, message)
    }

    /// A system call that failed, with what it was for.
    pub(crate) fn call(what: impl Into<String>) -> impl FnOnce(gantry_sys::Errno) -> Self {
        let what = what.into();
        move |errno| {
            let kind = match errno {
                gantry_sys::Errno::NOENT | gantry_sys::Errno::SRCH => ErrorKind::NotFound,
                gantry_sys::Errno::EXIST => ErrorKind::AlreadyExists,
                gantry_sys::Errno::ACCESS | gantry_sys::Errno::PERM => ErrorKind::PermissionDenied,
                gantry_sys::Errno::ROFS => ErrorKind::FailedPrecondition,
                // Processes are AGAIN.
                gantry_sys::Errno::NOSPC
                | gantry_sys::Errno::DQUOT
                | gantry_sys::Errno::NOMEM
                | gantry_sys::Errno::MFILE
                | gantry_sys::Errno::NFILE
                | gantry_sys::Errno::AGAIN => ErrorKind::ResourceExhausted,
                _ => ErrorKind::Internal,
            };
            Failure::new(kind, format!("{what}: {errno}"))
        }
    }

    /// The same for the standard library's errors.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| match gantry_sys::Errno::from_io_error(&error) {
            Some(errno) => Failure::call(what)(errno),
            None => Failure::new(ErrorKind::Internal, format!("{what}: {error}")),
        }
    }
}

/// The chain of causes in one line.
fn render(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<gantry_runtime::Error> for Failure {
    fn from(error: gantry_runtime::Error) -> Self {
        Failure::new(error.kind(), render(&error))
    }
}

impl From<gantry_cgroup::Error> for Failure {
    fn from(error: gantry_cgroup::Error) -> Self {
        Failure::new(error.kind(), render(&error))
    }
}

/// Every kind, in the order of its number on the wire between worker and shim.
const KINDS: [ErrorKind; 11] = [
    ErrorKind::NotFound,
    ErrorKind::AlreadyExists,
    ErrorKind::InvalidArgument,
    ErrorKind::FailedPrecondition,
    ErrorKind::PermissionDenied,
    ErrorKind::Unimplemented,
    ErrorKind::Unavailable,
    ErrorKind::Cancelled,
    ErrorKind::DeadlineExceeded,
    ErrorKind::ResourceExhausted,
    ErrorKind::Internal,
];

impl Failure {
    /// The number of the kind, then the message.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let number = KINDS.iter().position(|kind| *kind == self.kind).unwrap_or(KINDS.len() - 1);
        let mut bytes = vec![number as u8];
        bytes.extend_from_slice(self.message.as_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let Some((&number, text)) = bytes.split_first() else {
            return Failure::new(ErrorKind::Internal, "a failure without words");
        };
        let kind = KINDS.get(usize::from(number)).copied().unwrap_or(ErrorKind::Internal);
        Failure::new(kind, String::from_utf8_lossy(text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_cross_the_boundary() {
        for kind in KINDS {
            let failure = Failure::new(kind, "why");
            assert_eq!(Failure::decode(&failure.encode()), failure);
        }
        assert_eq!(Failure::decode(&[]).kind, ErrorKind::Internal);
        assert_eq!(Failure::decode(&[200, b'x']).kind, ErrorKind::Internal);
    }
}
