//! Networks for real: each test is in a network namespace that plays the host, with another one that plays the outside.
//! Needs root, and the program `ip` for what is not ours.
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code")]

mod beside;
mod host;
mod ipv6;
mod isolation;
mod lifecycle;
mod recovery;
mod traffic;
