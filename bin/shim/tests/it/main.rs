//! Black-box tests of the shim: each drives the binary as containerd does, over the Task service.
//!
//! Every test is proven on the reference first: `GANTRY_SHIM=/usr/bin/containerd-shim-runc-v2 cargo test --test it`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code")]

mod adoption;
mod binary;
mod cause;
mod checkpoint;
mod deadlines;
mod errors;
mod events;
mod exec;
mod handed;
mod harness;
mod hostile;
mod idle;
mod lifecycle;
mod limits;
mod pods;
mod rootfs;
mod runtimes;
mod sandbox;
mod security;
mod shutdown;
mod soak;
mod stdio;
mod terminal;
mod upgrade;
mod version3;
