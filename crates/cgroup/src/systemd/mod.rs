//! Scopes of systemd: transient units that hold one container each (docs/design/0002-systemd-driver.md).
//!
//! systemd owns the cgroups of its slices: whoever makes others there is in its way. It is asked for a scope instead,
//! over D-Bus, which this module speaks by itself: one socket, no thread, no library. Answers are bounded in size,
//! depth and time, and none of them makes it panic.

mod bus;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod message;
mod properties;
mod scope;
mod text;
mod unit;
mod value;

pub(crate) use bus::Bus;
pub use error::SystemdError;
pub(crate) use scope::Pending;
pub use unit::Unit;
pub use value::{Property, Value};
