//! Black-box tests of the runtime's command line: each drives the binary as an engine does.
//!
//! Every test is proven on runc first: `GANTRY_RUNTIME=/usr/sbin/runc cargo test --test it`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code")]

mod apparmor;
mod cgroups;
mod checkpoint;
mod devices;
mod errors;
mod events;
mod exec;
mod failpoints;
mod features;
mod hooks;
mod hostile_config;
mod idmap;
mod inherited_fds;
mod lifecycle;
mod limits;
mod listing;
mod masks;
mod mount_attributes;
mod mounts;
mod namespaces;
mod net_devices;
mod old_kernel;
mod pause;
mod process;
mod rootless;
mod seccomp;
mod seccomp_notify;
mod spec;
mod systemd;
mod terminal;
mod update;
mod userns;
