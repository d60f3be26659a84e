//! The crate against a real kernel: makes cgroups below `/gantry-test-<pid>` and reads every field back.
//!
//! Runs as root on any mix of hierarchies, also as a static binary in a virtual machine. What the host lacks is
//! skipped, with the reason, and counted. Arguments: names to select, as in libtest.
// The lint's exception for tests does not see through a harness of one's own.
#![allow(clippy::unwrap_used)]

mod devices;
mod harness;
mod lifecycle;
mod limits;
mod observe;
mod rootless;
mod systemd;

fn main() -> std::process::ExitCode {
    if let Some(code) = harness::child() {
        return code;
    }
    let mut tests = Vec::new();
    tests.extend(lifecycle::tests());
    tests.extend(limits::tests());
    tests.extend(devices::tests());
    tests.extend(observe::tests());
    tests.extend(rootless::tests());
    tests.extend(systemd::tests());
    harness::run(&tests)
}
