//! The tests' daemon: what containerd does with a shim, no more and no less.
//!
//! ```text
//!   Daemon ─ directory, event server
//!     └─ shim() ─► Shim ─ one process, one connection
//!                    └─ task() ─► Task ─ one container with its bundle
//! ```
//! A [`Task`] deletes its container when it is dropped; a [`Daemon`] ends its shims and counts what they leave behind.

mod binary;
mod daemon;
mod events;
mod fifo;
mod handed;
mod shim;
mod task;

pub(crate) use binary::{Answer, Call, is_containerd_1, is_ours, shim_binary};
pub(crate) use daemon::{Daemon, name_of};
pub(crate) use fifo::{Input, Output};
pub(crate) use handed::mail;
pub(crate) use shim::{Expect, Shim, is_gone};
pub(crate) use task::{Io, Task, process_spec};

/// Leaves the test, counted as skipped, on the reference: for what only our shim promises.
macro_rules! ours {
    ($reason:literal) => {
        if !$crate::harness::is_ours() {
            gantry_testkit::skip_test!(concat!("a contract of Gantry's shim: ", $reason));
        }
    };
}
pub(crate) use ours;

/// Leaves the test, counted as skipped, on a reference of version 1.
macro_rules! since_2 {
    ($reason:literal) => {
        if $crate::harness::is_containerd_1() {
            gantry_testkit::skip_test!(concat!("containerd 1: ", $reason));
        }
    };
}
pub(crate) use since_2;
