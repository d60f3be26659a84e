use std::fmt;

use gantry_sys::Errno;
use gantry_types::{ContainerId, ErrorKind};

use crate::state::Status;

/// What an operation on a container can end with.
///
/// The texts of the life cycle's errors are those that containerd, dockerd and podman look for in a runtime's output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value of the configuration, or of a request, that cannot be.
    #[error("{field}: {reason}")]
    Config {
        /// The field, as in `linux.namespaces[2].path`.
        field: String,
        /// Why.
        reason: String,
    },
    /// The id is taken.
    #[error("container with given ID already exists")]
    Exists(ContainerId),
    /// There is no such container.
    #[error("container does not exist")]
    NotFound(ContainerId),
    /// The container is in the wrong state for the operation.
    #[error("{reason}")]
    State {
        /// What it was found in.
        status: Status,
        /// What cannot be done, in runc's words.
        reason: String,
    },
    /// A system call on something of the host.
    #[error("{what}: {failure}")]
    Io {
        /// What was attempted, with its operands.
        what: String,
        /// The kernel's answer.
        failure: Failure,
    },
    /// The container's process could not be set up.
    #[error("unable to start container process: {message}")]
    Init {
        /// Which step, with its operands and the kernel's answer.
        message: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A hook failed.
    #[error("error running {kind} hook #{index}: {reason}{}", Output(.output))]
    Hook {
        /// Such as `prestart`.
        kind: &'static str,
        /// Which of its kind.
        index: usize,
        /// How it ended.
        reason: String,
        /// What it wrote, cut to a limit.
        output: String,
    },
    /// The cgroup.
    #[error(transparent)]
    Cgroup(#[from] gantry_cgroup::Error),
    /// The seccomp profile.
    #[error("linux.seccomp: {0}")]
    Seccomp(crate::seccomp::SeccompError),
    /// criu refused, or failed.
    #[error("criu failed: {reason}")]
    Criu {
        /// What it said, and its log.
        reason: String,
    },
    /// The kernel or this build lacks what was asked for.
    #[error("{0}")]
    Unsupported(String),
    /// An operation failed, and so did cleaning up after it.
    #[error("{cause}; and cleaning up: {cleanup}")]
    Cleanup {
        /// What failed first.
        cause: Box<Error>,
        /// What failed then.
        cleanup: Box<Error>,
    },
}

/// The kernel's answer, as Go's runtimes print it: in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure(pub Errno);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0.raw_os_error()).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        let mut chars = text.chars();
        // "No such file" becomes "no such file", and "RPC ..." stays.
        match (chars.next(), chars.clone().next()) {
            (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
                write!(f, "{}{}", first.to_lowercase(), chars.as_str())
            }
            _ => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}

struct Output<'a>(&'a str);

impl fmt::Display for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ", output: {}", self.0) }
    }
}

impl Error {
    /// The class of the error, for callers that map it to a status code.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Config { .. } | Error::Seccomp(_) => ErrorKind::InvalidArgument,
            Error::Exists(_) => ErrorKind::AlreadyExists,
            Error::NotFound(_) => ErrorKind::NotFound,
            Error::State { .. } => ErrorKind::FailedPrecondition,
            Error::Io { failure, .. } => kind_of(failure.0),
            // The process ended while it was set up: by somebody's signal, or for want of memory.
            Error::Init { errno: Errno::CHILD, .. } => ErrorKind::Aborted,
            Error::Init { errno, .. } => kind_of(*errno),
            Error::Hook { .. } | Error::Criu { .. } => ErrorKind::Internal,
            Error::Cgroup(error) => error.kind(),
            Error::Unsupported(_) => ErrorKind::Unimplemented,
            Error::Cleanup { cause, .. } => cause.kind(),
        }
    }

    /// A value that cannot be.
    pub(crate) fn config(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Config { field: field.into(), reason: reason.into() }
    }

    /// A map from the kernel's answer to an error that names what was attempted.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let what = what.into();
        move |errno| Error::Io { what, failure: Failure(errno) }
    }
}

fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOENT | Errno::SRCH => ErrorKind::NotFound,
        Errno::EXIST => ErrorKind::AlreadyExists,
        Errno::PERM | Errno::ACCESS => ErrorKind::PermissionDenied,
        Errno::INVAL | Errno::NAMETOOLONG => ErrorKind::InvalidArgument,
        Errno::NOSYS | Errno::OPNOTSUPP => ErrorKind::Unimplemented,
        // Processes are AGAIN.
        Errno::NOSPC | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::DQUOT | Errno::AGAIN => {
            ErrorKind::ResourceExhausted
        }
        Errno::TIMEDOUT => ErrorKind::DeadlineExceeded,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_killed_is_nobodys_fault() {
        let killed = Error::Init { message: "container init ended".into(), errno: Errno::CHILD };
        assert_eq!(killed.kind(), ErrorKind::Aborted);
        let refused = Error::Init { message: "setsid: operation not permitted".into(), errno: Errno::PERM };
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn answers_read_as_go_prints_them() {
        assert_eq!(Failure(Errno::NOENT).to_string(), "no such file or directory");
        assert_eq!(Failure(Errno::PERM).to_string(), "operation not permitted");
        assert_eq!(Failure(Errno::ACCESS).to_string(), "permission denied");
    }
}
