//! Errors, as clients are told of them: a status, and a message that people and programs read.
//!
//! Some programs compare messages (`docker run` pulls what is `No such image`), so what docker says in its own words is said
//! in them here, and nowhere else.

use gantry_docker_api::VersionError;
use gantry_engine::Error;
use gantry_types::ErrorKind;
use http::StatusCode;

/// An error that a client is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The status.
    pub(crate) status: StatusCode,
    /// What is wrong; nothing is said with 304.
    pub(crate) message: String,
}

impl Failure {
    /// A status and a message.
    pub(crate) fn with(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// 400.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::with(StatusCode::BAD_REQUEST, message)
    }

    /// 404.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::with(StatusCode::NOT_FOUND, message)
    }

    /// 404 of a path that is none of the API's.
    pub(crate) fn no_page() -> Self {
        Self::not_found("page not found")
    }

    /// 409.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::with(StatusCode::CONFLICT, message)
    }

    /// 413.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::with(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// 500.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::with(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 501.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::with(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// 503 of what only a swarm has.
    pub(crate) fn no_swarm() -> Self {
        let message = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
        Self::with(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

/// The status of a kind of error.
pub(crate) fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::InvalidArgument | ErrorKind::OutOfRange => StatusCode::BAD_REQUEST,
        ErrorKind::AlreadyExists | ErrorKind::FailedPrecondition | ErrorKind::Aborted => StatusCode::CONFLICT,
        ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Cancelled
        | ErrorKind::DeadlineExceeded
        | ErrorKind::ResourceExhausted
        | ErrorKind::DataLoss
        | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::NotModified(_) => StatusCode::NOT_MODIFIED,
            // A program that is not there is the request's fault, wherever it was looked for.
            Error::Start { exit_code: 126 | 127, .. } => StatusCode::BAD_REQUEST,
            Error::Start { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            error => status(error.kind()),
        };
        Self { status, message: message(&error) }
    }
}

/// What an error says, with its causes.
fn message(error: &Error) -> String {
    match error {
        Error::NotFound { what: "volume", name } => format!("get {name}: no such volume"),
        Error::NotFound { what: "network", name } => format!("network {name} not found"),
        Error::NotFound { what: "exec" | "exec instance", name } => format!("No such exec instance: {name}"),
        Error::NotFound { what, name } => format!("No such {what}: {name}"),
        error => chain(error),
    }
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl From<VersionError> for Failure {
    fn from(error: VersionError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<gantry_docker_api::Invalid> for Failure {
    fn from(error: gantry_docker_api::Invalid) -> Self {
        Self::invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status() {
        for (kind, code) in [
            (ErrorKind::NotFound, 404),
            (ErrorKind::AlreadyExists, 409),
            (ErrorKind::InvalidArgument, 400),
            (ErrorKind::FailedPrecondition, 409),
            (ErrorKind::PermissionDenied, 403),
            (ErrorKind::Unauthenticated, 401),
            (ErrorKind::Unimplemented, 501),
            (ErrorKind::Unavailable, 503),
            (ErrorKind::Aborted, 409),
            (ErrorKind::Cancelled, 500),
            (ErrorKind::DeadlineExceeded, 500),
            (ErrorKind::ResourceExhausted, 500),
            (ErrorKind::OutOfRange, 400),
            (ErrorKind::DataLoss, 500),
            (ErrorKind::Internal, 500),
        ] {
            assert_eq!(status(kind).as_u16(), code, "{kind:?}");
        }
    }

    #[test]
    fn errors_of_the_engine_are_told_in_dockers_words() {
        let start = |exit_code| Error::Start { message: "m".into(), exit_code, kind: ErrorKind::Internal };
        for (error, code, text) in [
            (Error::NotFound { what: "container", name: "x".into() }, 404, "No such container: x"),
            (Error::NotFound { what: "image", name: "x:latest".into() }, 404, "No such image: x:latest"),
            (Error::NotFound { what: "volume", name: "v".into() }, 404, "get v: no such volume"),
            (Error::NotFound { what: "network", name: "n".into() }, 404, "network n not found"),
            (Error::NotFound { what: "exec instance", name: "e".into() }, 404, "No such exec instance: e"),
            (Error::NotModified("m".into()), 304, "m"),
            (Error::Conflict("m".into()), 409, "m"),
            (Error::Invalid("m".into()), 400, "m"),
            (Error::Unsupported("m".into()), 501, "m"),
            (start(127), 400, "m"),
            (start(126), 400, "m"),
            (start(1), 500, "m"),
            (Error::Panicked("starting"), 500, "starting ended before its work was done"),
        ] {
            let failure = Failure::from(error);
            assert_eq!((failure.status.as_u16(), failure.message.as_str()), (code, text));
        }
        let foreign = Error::Foreign { what: "container", name: "x".into(), owner: "o".into(), tool: "ctr" };
        assert_eq!(Failure::from(foreign).status, StatusCode::CONFLICT);
    }

    #[test]
    fn causes_are_told() {
        let source = std::io::Error::from_raw_os_error(28);
        let error = Error::Io { action: "writing", path: "/a".into(), source };
        assert!(Failure::from(error).message.starts_with("writing /a: No space left"));
    }
}
