//! Values that every part of Gantry shares: identifiers, error kinds and the OCI runtime configuration.
//!
//! Used by every crate. It never opens a file, makes a system call or logs: a value that parses here is well formed,
//! and nothing more is known of it.
#![forbid(unsafe_code)]

mod error_kind;
mod id;
pub mod oci;
mod user;

pub use error_kind::ErrorKind;
pub use id::{ContainerId, InvalidId, MAX_ID_BYTES};
pub use user::{ExecUser, InvalidUser};
