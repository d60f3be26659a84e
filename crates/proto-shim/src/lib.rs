//! The messages that a shim and its daemon send each other: containerd's, in our own words, and [`own`].
//!
//! Used by the shim and the daemon over ttrpc. Only layouts: names and numbers of fields as containerd 2.3 and
//! containerd/cgroups v3 have them. It never sends, checks or judges; a field that no version of the protocol has is skipped.
//!
//! Names that containerd writes in capitals keep them where a type's address depends on it (`TaskOOM`).
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "a field's name is the protocol's; each message says what it is for")]

#[macro_use]
pub mod any;
pub mod bootstrap;
pub mod cri;
pub mod events;
pub mod forward;
pub mod info;
pub mod metrics_v1;
pub mod metrics_v2;
pub mod mount;
pub mod options;
pub mod own;
pub mod process;
pub mod sandbox;
pub mod task;

pub use prost::Message;

#[cfg(test)]
mod tests;
