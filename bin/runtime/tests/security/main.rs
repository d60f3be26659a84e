//! Every published escape of runc, crun and youki that concerns the low-level runtime, as a test named after it.
//!
//! Static fixtures are root file systems with links where a runtime expects files. Racers exchange such links while
//! containers start: for a few hundred starts or a few seconds each, and for `GANTRY_SOAK_SECONDS` when that is set.
//! What an escape would touch is a [`gantry_testkit::Canary`] on the host.
//!
//! A fixture may make a container fail to start: that is a safe answer, unless the test says otherwise.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code")]

mod binary;
mod capabilities;
mod console;
mod descriptors;
mod devices;
mod identity;
mod injection;
mod masks;
mod procfs;
mod race;
mod rootless;
mod volumes;
