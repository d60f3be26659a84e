//! The OCI runtime configuration (`config.json`), runtime-spec v1.3.0, `config.md` and `config-linux.md`.
//!
//! Gantry's own types, because a runtime must accept what runc accepts: `null` wherever Go has a slice, a map or a
//! pointer, unknown fields, unknown capabilities. A field that is absent or `null` has its type's zero, as in Go.
//! Values are checked where they are used, by the `runtime` crate.

mod capability;
mod hooks;
mod json;
mod linux;
mod process;
mod resources;
mod seccomp;
mod spec;
mod state;

pub use capability::CAPABILITIES;
pub use hooks::*;
pub use json::{Strict, from_json};
pub use linux::*;
pub use process::*;
pub use resources::*;
pub use seccomp::*;
pub use spec::*;
pub use state::*;

use serde::{Deserialize, Deserializer};

/// The version of runtime-spec that these types follow.
pub const OCI_VERSION: &str = "1.3.0";

/// Reads `null` as the type's default, as Go's decoder does.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
