//! Builds behind the real docker client, with the daemon under test. Proven on dockerd: `GANTRY_DAEMON=containerd`.
//!
//! They run in namespaces of their own (`scripts/isolated.sh`); elsewhere they count as skipped.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code")]

mod base;
mod cases;
mod hostile;
mod sessions;
