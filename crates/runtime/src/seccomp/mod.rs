//! seccomp profiles to BPF programs: config-linux.md of runtime-spec v1.3.0, section Seccomp.
//!
//! A compiler of its own instead of libseccomp: the program is a search tree over ranges of numbers, which the kernel
//! takes in a tenth of the time of libseccomp's. The verdicts are those of runc with libseccomp.
//!
//! ```text
//!  profile ──► policy ──► for each ABI: number ──► alternatives ──► graph ───────────► instructions
//!          profile                outcomes, zones   order           lower, chain, tree  assemble
//! ```
//!
//! Whoever creates a container calls [`Cache::program`]; the container's process passes the program to
//! [`gantry_sys::seccomp::load`]. Nothing here is loaded into the kernel, and compiling does no I/O.

mod annotations;
mod arch;
mod assemble;
mod cache;
mod chain;
mod compile;
mod error;
mod features;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod graph;
mod lower;
mod order;
mod outcomes;
mod profile;
mod program;
mod syscall_table;
mod syscalls;
mod tree;
mod zones;

pub use annotations::{
    BPF_DATA_ANNOTATION, FAIL_UNKNOWN_ANNOTATION, RECEIVER_ANNOTATION, UnknownNames, listener_path,
    program_from_annotation, require_known,
};
pub use arch::Arch;
pub use cache::{CACHE_DIRECTORY, Cache, CacheError, MAX_ENTRIES, Request};
pub use compile::compile;
pub use error::SeccompError;
pub use features::{Features, features};
pub use gantry_sys::seccomp::Instruction;
pub use profile::unknown_syscalls;
pub use program::Program;
pub use syscalls::{syscall_names, syscall_number};

/// How many arguments a system call has.
const ARGUMENTS: usize = 6;

/// The most entries in a profile's `syscalls`.
pub const MAX_RULES: usize = 4096;

/// The most names in all entries together.
pub const MAX_NAMES: usize = 16_384;

/// The most conditions, each counted for every call that it applies to.
pub const MAX_CONDITIONS: usize = 16_384;
