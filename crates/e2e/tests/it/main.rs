//! Real engines in front of the runtime under test.
//!
//! Proven on runc first: `GANTRY_RUNTIME=/usr/sbin/runc`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code")]

mod build;
mod buildah;
mod conmon;
mod containerd;
mod docker;
mod engine;
mod installed;
mod podman;
mod shim;
mod store;
mod tasks;

use gantry_testkit::{Invocation, Output, Terminal};

gantry_testkit::powercut_host!();

/// Runs a client in a terminal, and returns what was shown with how it ended.
fn in_terminal(call: Invocation) -> (String, Output) {
    let (mut terminal, other) = Terminal::pair();
    let call = call.redirected(">&0 2>&0").wrapped(["setsid", "--ctty", "--wait"]).stdin_fd(other);
    let running = call.spawn();
    let shown = terminal.read_to_end();
    (shown, running.wait())
}
