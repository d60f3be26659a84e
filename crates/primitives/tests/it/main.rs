//! The store as doors use it, with a real registry.
#![forbid(unsafe_code)]

mod archive;
mod crash;
mod harness;
mod mounts;
mod pull;
mod push;
mod records;
mod tasks;

gantry_testkit::powercut_host!();
