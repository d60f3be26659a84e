//! Values that every part of Gantry shares: digests, references, identifiers, labels, mounts, error kinds, and the formats
//! of OCI images and of the OCI runtime configuration.
//!
//! Used by every crate. It never opens a file, makes a system call or logs: a value that parses here is well formed,
//! and nothing more is known of it.
#![forbid(unsafe_code)]

mod descriptor;
pub mod digest;
mod error_kind;
mod id;
pub mod identifier;
pub mod image;
pub mod labels;
pub mod media_type;
mod mount;
pub mod oci;
pub mod platform;
pub mod reference;
mod user;

pub use descriptor::Descriptor;
pub use digest::{Algorithm, ChainId, DiffId, Digest, Hasher};
pub use error_kind::ErrorKind;
pub use id::{ContainerId, InvalidId, MAX_ID_BYTES};
pub use identifier::Namespace;
pub use labels::Labels;
pub use mount::Mount;
pub use platform::Platform;
pub use reference::Reference;
pub use user::{ExecUser, InvalidUser};
