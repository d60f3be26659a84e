//! What can be wrong with a seccomp profile.

use gantry_types::ErrorKind;

/// How much of a name from a profile is repeated in an error.
const MAX_QUOTED_CHARS: usize = 64;

/// A profile that cannot be turned into a program. The fault is always in the profile or in an annotation.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The profile is not JSON, or not of the form that config-linux.md gives.
    #[error("cannot read the seccomp profile")]
    Json {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A string that must be one of a few is something else.
    #[error("unknown seccomp {what} {value:?}, expected one of {}", known.join(", "))]
    Unknown {
        /// `action`, `operator`, `architecture` or `flag`.
        what: &'static str,
        /// What the profile says.
        value: String,
        /// What it could have said.
        known: Vec<&'static str>,
    },
    /// A rule names a call by the empty string.
    #[error("a seccomp rule has an empty system call name")]
    EmptyName,
    /// A rule names a call that no architecture has, and the configuration asked to be told.
    #[error("unknown system call {name:?} in the seccomp profile")]
    UnknownSyscall {
        /// The name.
        name: String,
    },
    /// An errno, or the data of `SCMP_ACT_TRACE`, is out of range.
    #[error("seccomp errnoRet {value} is more than {max}")]
    ErrnoOutOfRange {
        /// The value.
        value: u32,
        /// The greatest that is possible.
        max: u32,
    },
    /// A condition is on an argument that does not exist.
    #[error("seccomp condition on argument {index}, system calls have {}", super::ARGUMENTS)]
    ArgumentIndex {
        /// The index.
        index: u32,
    },
    /// `SCMP_ACT_NOTIFY` where it would make the runtime wait for itself.
    #[error("SCMP_ACT_NOTIFY cannot be used {place}")]
    Notify {
        /// `as the default action` or `for the write syscall`.
        place: &'static str,
    },
    /// `SCMP_ACT_NOTIFY` is used and nobody is there to get the descriptor.
    #[error("seccomp listenerPath is not set, and the profile uses SCMP_ACT_NOTIFY")]
    ListenerPathMissing,
    /// The receiver's path is not absolute.
    #[error("seccomp listener path {path:?} is not absolute")]
    ListenerPathRelative {
        /// The path.
        path: String,
    },
    /// Rules of one call say different things for the same arguments, and neither comes first.
    #[error("seccomp rules of {syscall} have the same conditions and different actions")]
    Contradiction {
        /// The call.
        syscall: &'static str,
    },
    /// There are too many of something in the profile.
    #[error("seccomp profile has {count} {what}, more than {limit}")]
    TooMany {
        /// `rules`, `system call names` or `conditions`.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The program would be larger than the kernel takes.
    #[error(
        "seccomp profile with {names} system call names and {conditions} conditions for {architectures} architectures needs more than {} instructions",
        gantry_sys::seccomp::MAX_INSTRUCTIONS
    )]
    TooLarge {
        /// Names in the profile.
        names: usize,
        /// Conditions in the profile.
        conditions: usize,
        /// Architectures that it is for.
        architectures: usize,
    },
    /// The program in `run.oci.seccomp_bpf_data` is not one.
    #[error("annotation {}: {reason}", super::BPF_DATA_ANNOTATION)]
    BpfData {
        /// Why not.
        reason: &'static str,
    },
}

impl SeccompError {
    /// The kind: always a fault of the configuration.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }

    pub(super) fn unknown(what: &'static str, value: &str, known: Vec<&'static str>) -> SeccompError {
        SeccompError::Unknown { what, value: quote(value), known }
    }
}

/// The start of a string from a profile, which may be of any length.
pub(super) fn quote(value: &str) -> String {
    value.chars().take(MAX_QUOTED_CHARS).collect()
}
