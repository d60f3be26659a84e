//! How a call fails.
use std::fmt;

use gantry_types::ErrorKind;

/// gRPC's codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum Code {
    /// Nothing went wrong.
    Ok = 0,
    /// The caller gave up.
    Cancelled = 1,
    /// A code that has no name here, or an error without one.
    Unknown = 2,
    /// The request is malformed.
    InvalidArgument = 3,
    /// The time limit passed.
    DeadlineExceeded = 4,
    /// The named thing does not exist.
    NotFound = 5,
    /// The named thing exists already.
    AlreadyExists = 6,
    /// The caller lacks a privilege.
    PermissionDenied = 7,
    /// A limit was reached.
    ResourceExhausted = 8,
    /// The thing is in the wrong state for the request.
    FailedPrecondition = 9,
    /// Somebody else's request was first.
    Aborted = 10,
    /// Past the end.
    OutOfRange = 11,
    /// There is no such method or feature.
    Unimplemented = 12,
    /// A broken invariant.
    Internal = 13,
    /// A peer does not answer.
    Unavailable = 14,
    /// Data are lost.
    DataLoss = 15,
    /// The caller is not known.
    Unauthenticated = 16,
}

impl From<ErrorKind> for Code {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::AlreadyExists => Self::AlreadyExists,
            ErrorKind::InvalidArgument => Self::InvalidArgument,
            ErrorKind::FailedPrecondition => Self::FailedPrecondition,
            ErrorKind::PermissionDenied => Self::PermissionDenied,
            ErrorKind::Unauthenticated => Self::Unauthenticated,
            ErrorKind::Unimplemented => Self::Unimplemented,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Aborted => Self::Aborted,
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::DeadlineExceeded => Self::DeadlineExceeded,
            ErrorKind::ResourceExhausted => Self::ResourceExhausted,
            ErrorKind::OutOfRange => Self::OutOfRange,
            ErrorKind::DataLoss => Self::DataLoss,
            ErrorKind::Internal => Self::Internal,
        }
    }
}

impl From<Code> for ErrorKind {
    fn from(code: Code) -> Self {
        match code {
            Code::Cancelled => Self::Cancelled,
            Code::InvalidArgument => Self::InvalidArgument,
            Code::OutOfRange => Self::OutOfRange,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::Unauthenticated => Self::Unauthenticated,
            Code::ResourceExhausted => Self::ResourceExhausted,
            Code::FailedPrecondition => Self::FailedPrecondition,
            Code::Aborted => Self::Aborted,
            Code::Unimplemented => Self::Unimplemented,
            Code::Unavailable => Self::Unavailable,
            Code::DataLoss => Self::DataLoss,
            Code::Ok | Code::Unknown | Code::Internal => Self::Internal,
        }
    }
}

/// Why a call failed: `google.rpc.Status`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Status {
    /// A [`Code`].
    #[prost(enumeration = "Code", tag = "1")]
    pub code: i32,
    /// What went wrong, for people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// More of it, for programs.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Detail>,
}

/// A message of any type: `google.protobuf.Any`.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Detail {
    /// The name of its type.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl Status {
    /// A failure.
    pub fn new(code: impl Into<Code>, message: impl Into<String>) -> Self {
        Self { code: code.into().into(), message: message.into(), details: Vec::new() }
    }

    /// What went wrong, in our words.
    pub fn kind(&self) -> ErrorKind {
        // A code without a name is no reason to take the call for a good one.
        Code::try_from(self.code).unwrap_or(Code::Unknown).into()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Code::try_from(self.code) {
            Ok(code) => write!(f, "{} ({code:?})", self.message),
            Err(_) => write!(f, "{} (code {})", self.message, self.code),
        }
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_the_wire() {
        for kind in [
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
        ] {
            assert_eq!(Status::new(kind, "").kind(), kind);
        }
    }

    #[test]
    fn codes_without_a_name_are_internal() {
        for code in [-1, 17, i32::MAX] {
            let status = Status { code, message: "odd".into(), details: Vec::new() };
            assert_eq!(status.kind(), ErrorKind::Internal);
            assert!(status.to_string().contains(&code.to_string()));
        }
    }
}
