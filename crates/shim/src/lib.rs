//! The shim: a pod's parent. It serves containerd's Task API over ttrpc, keeps standard streams and exit statuses, and makes
//! containers with the linked runtime, or drives an external one.
//!
//! Called by `containerd-shim-gantry-v2` alone. It starts no thread, runs no asynchronous runtime, and its event loop
//! ([`pod`]) makes no call that may wait; what may is done in forked workers ([`worker`], [`work`]). Protocols and files are those
//! of docs/design/0004-shim.md; the binary's contract is containerd's (core/runtime/v2/README.md at v2.1).
//!
//! ```text
//!   invocation ─► start ─► place, bootstrap ─fork─► pod ─fork─► worker: work
//!             ├─► serve ─► place, bootstrap ──────► pod
//!             └─► delete, info
//! ```
#![forbid(unsafe_code)]

mod bootstrap;
mod delete;
pub mod events;
mod failure;
mod info;
mod invocation;
mod log;
pub mod metrics;
mod options;
mod place;
mod pod;
mod serve;
mod start;
mod stdio;
pub mod streams;
mod work;
mod worker;

pub use delete::delete;
pub use failure::Failure;
pub use gantry_sys::heap::Heap;
pub use info::{RUNTIME_NAME, info, version};
pub use invocation::{Action, Invocation};
pub use serve::serve;
pub use start::start;

/// Goes on in the place of another binary of the shim, until its pod is shut down: what `Upgrade` executes.
///
/// # Errors
/// InvalidArgument for a handover of another version, and what setting up gives.
pub fn take_over(handover: i32) -> Result<(), Failure> {
    pod::take_over(handover)
}
