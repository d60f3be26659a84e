//! The drivers against the contract, mounted for real, and what their directories are after a crash.
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code")]

mod conformance;
mod crash;
mod namespaces;
