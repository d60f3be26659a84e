//! The types of Docker's Engine API, 1.40 to 1.52, for the door that serves it and the command line that asks.
//!
//! Structures are read and written as Go's `encoding/json` does it (`wire`): keys in any case, `null` anywhere, and lists
//! and maps ([`List`], [`Map`]) that know whether they are `null`. Field names are the wire's; their meaning is in Docker's
//! reference of the Engine API. What texts mean — ports, mounts, filters, durations, sizes, times, names — is read here for
//! both sides.
//!
//! What it never does: input and output, and deciding. All its errors are the fault of who sent the text.
#![forbid(unsafe_code)]

pub mod auth;
pub mod bind;
pub mod container;
pub mod duration;
mod error;
pub mod event;
pub mod exec;
pub mod filters;
pub mod image;
pub mod limits;
pub mod message;
pub mod mount;
pub mod name;
pub mod network;
pub mod port;
pub mod size;
pub mod system;
pub mod timestamp;
mod version;
pub mod volume;
mod wire;

pub use error::Invalid;
pub use filters::Filters;
pub use system::{header, media_type};
pub use timestamp::Timestamp;
pub use version::{ApiVersion, VersionError};
pub use wire::{Fields, List, Map, Nothing, Omit, Words};
