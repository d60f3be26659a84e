/// What went wrong, in the words that every door can map to its own status codes.
///
/// The set is that of gRPC's status codes as containerd's `errdefs` uses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The named thing does not exist.
    NotFound,
    /// The named thing exists already.
    AlreadyExists,
    /// The request is malformed, whatever the state of the system.
    InvalidArgument,
    /// The request is well formed but the thing is in the wrong state for it.
    FailedPrecondition,
    /// The caller lacks a privilege.
    PermissionDenied,
    /// The caller's credentials are missing or wrong.
    Unauthenticated,
    /// The kernel, the host or this build lacks the feature.
    Unimplemented,
    /// A peer that is needed does not answer, or somebody else has the thing; trying again may help.
    Unavailable,
    /// The operation was ended by a conflict with another one.
    Aborted,
    /// The caller gave up.
    Cancelled,
    /// The time limit passed.
    DeadlineExceeded,
    /// A limit was reached.
    ResourceExhausted,
    /// A position outside of what there is.
    OutOfRange,
    /// Stored bytes are damaged or gone.
    DataLoss,
    /// Anything else: a broken invariant or an unexpected answer of the kernel.
    Internal,
}
