//! Errors as gRPC states them: clients branch on the code, and show the message.

use gantry_primitives::chain;
use gantry_types::ErrorKind;
use tonic::{Code, Status};

/// The longest message: some clients refuse headers beyond 8 KiB.
const MAX_MESSAGE_BYTES: usize = 4096;

/// The code of each kind.
pub(crate) const fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::FailedPrecondition => Code::FailedPrecondition,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Unimplemented => Code::Unimplemented,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Aborted => Code::Aborted,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::ResourceExhausted => Code::ResourceExhausted,
        ErrorKind::OutOfRange => Code::OutOfRange,
        ErrorKind::DataLoss => Code::DataLoss,
        ErrorKind::Internal => Code::Internal,
    }
}

/// The words that containerd's own errors end with; its clients cut them off and put them back on.
const fn words(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "not found",
        ErrorKind::AlreadyExists => "already exists",
        ErrorKind::InvalidArgument => "invalid argument",
        ErrorKind::FailedPrecondition => "failed precondition",
        ErrorKind::PermissionDenied => "permission denied",
        ErrorKind::Unauthenticated => "unauthenticated",
        ErrorKind::Unimplemented => "not implemented",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Aborted => "aborted",
        ErrorKind::Cancelled => "context canceled",
        ErrorKind::DeadlineExceeded => "context deadline exceeded",
        ErrorKind::ResourceExhausted => "resource exhausted",
        ErrorKind::OutOfRange => "out of range",
        ErrorKind::DataLoss => "data loss",
        ErrorKind::Internal => "internal",
    }
}

/// A status with the error and what caused it, outermost first.
pub(crate) fn status(error: &gantry_primitives::Error) -> Status {
    refuse(error.kind(), chain(error))
}

/// A status of that kind.
pub(crate) fn refuse(kind: ErrorKind, message: impl Into<String>) -> Status {
    let (mut message, words) = (short(message.into()), words(kind));
    // Scripts look for them in what clients print.
    if !message.ends_with(words) {
        message.push_str(": ");
        message.push_str(words);
    }
    Status::new(code(kind), message)
}

macro_rules! refusals {
    ($($name:ident: $kind:ident),*) => {
        $(pub(crate) fn $name(message: impl Into<String>) -> Status {
            refuse(ErrorKind::$kind, message)
        })*
    };
}

refusals! {
    already_exists: AlreadyExists,
    cancelled: Cancelled,
    data_loss: DataLoss,
    failed_precondition: FailedPrecondition,
    internal: Internal,
    invalid_argument: InvalidArgument,
    not_found: NotFound,
    out_of_range: OutOfRange,
    resource_exhausted: ResourceExhausted,
    unavailable: Unavailable,
    unimplemented: Unimplemented
}

/// Makes statuses of what the primitives answer.
pub(crate) trait OrStatus<T> {
    /// The value, or the status of the error.
    fn or_status(self) -> Result<T, Status>;
}

impl<T> OrStatus<T> for Result<T, gantry_primitives::Error> {
    fn or_status(self) -> Result<T, Status> {
        self.map_err(|error| status(&error))
    }
}

fn short(mut text: String) -> String {
    if text.len() > MAX_MESSAGE_BYTES {
        let end = (0..=MAX_MESSAGE_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_code() {
        let table = [
            (ErrorKind::Cancelled, 1),
            (ErrorKind::InvalidArgument, 3),
            (ErrorKind::DeadlineExceeded, 4),
            (ErrorKind::NotFound, 5),
            (ErrorKind::AlreadyExists, 6),
            (ErrorKind::PermissionDenied, 7),
            (ErrorKind::ResourceExhausted, 8),
            (ErrorKind::FailedPrecondition, 9),
            (ErrorKind::Aborted, 10),
            (ErrorKind::OutOfRange, 11),
            (ErrorKind::Unimplemented, 12),
            (ErrorKind::Internal, 13),
            (ErrorKind::Unavailable, 14),
            (ErrorKind::DataLoss, 15),
            (ErrorKind::Unauthenticated, 16),
        ];
        for (kind, number) in table {
            assert_eq!(code(kind) as i32, number, "{kind:?}");
        }
    }

    #[test]
    fn messages_end_as_those_of_containerd_do() {
        assert_eq!(not_found("image \"a\"").message(), "image \"a\": not found");
        assert_eq!(not_found("image \"a\": not found").message(), "image \"a\": not found");
        assert_eq!(unimplemented("x").message(), "x: not implemented");
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let text = short("ä".repeat(MAX_MESSAGE_BYTES));
        assert!(text.len() <= MAX_MESSAGE_BYTES + '…'.len_utf8() && text.ends_with('…'));
        assert_eq!(short("x".into()), "x");
    }
}
