//! Fixtures of the tests: bundles, runtimes, leak counts.
//!
//! Everything here drives an OCI runtime *binary* from outside, as an engine does, and looks at what the kernel shows.
//! The binary is the workspace's own, or the one that `GANTRY_RUNTIME` names: every test is proven on Debian's runc too.
//!
//! A test reads like this:
//!
//! ```no_run
//! use gantry_testkit::{Bundle, Runtime};
//!
//! let runtime = Runtime::new();
//! let bundle = Bundle::new().sh("echo hello");
//! assert_eq!(runtime.run(&bundle).ok().text(), "hello");
//! ```
//!
//! What a test makes, it makes below directories and cgroups of its own, and [`Runtime`] and [`Bundle`] check on drop
//! that nothing of it is left: no state, mount, cgroup or process.
//!
//! It never signals a process, and never changes a cgroup or mount, that a test did not make itself. Failures are
//! panics, as this is test code.
#![forbid(unsafe_code)]

pub mod bpf;
#[cfg(feature = "powercut")]
pub mod powercut;

mod bundle;
mod canary;
mod cgroup;
mod config;
mod container;
mod invocation;
mod leaks;
mod namespace;
mod need;
mod poll;
mod probe;
mod receiver;
mod rootfs;
mod runtime;
mod terminal;
mod user;

pub use bundle::Bundle;
pub use canary::Canary;
pub use cgroup::{Cgroups, Hierarchy};
pub use config::{docker_default, runc_spec, runc_spec_rootless};
pub use container::Container;
pub use invocation::{Invocation, Output, Running};
pub use leaks::{Leaks, mounts_below, sweep};
pub use namespace::Namespace;
pub use need::{Need, missing, skip};
pub use poll::{DEADLINE, until, until_true, until_within};
pub use probe::{Mount, Report, parse_mountinfo, probe_binary, syscall_binary};
pub use receiver::{Received, Receiver};
pub use rootfs::{busybox, copy_program};
pub use runtime::{Peer, Runtime, Version, client_binary, peer_shim, runtime_binary, shim_binary};
pub use terminal::Terminal;
pub use user::User;

/// Leaves the test, counted as skipped, when something that it needs is missing.
///
/// `require!(Need::Root, Need::CgroupV2)` prints `SKIP <test>: <reason>` and returns.
#[macro_export]
macro_rules! require {
    ($($need:expr),+ $(,)?) => {
        if let Some(reason) = $crate::missing(&[$($need),+]) {
            $crate::skip_test!(&reason);
        }
    };
}

/// Leaves the test, counted as skipped, for a reason.
#[macro_export]
macro_rules! skip_test {
    ($reason:expr) => {{
        fn here() {}
        $crate::skip(std::any::type_name_of_val(&here).trim_end_matches("::here"), $reason);
        return;
    }};
}

/// Docker's default seccomp profile for x86_64, x86 and x32 as it is in a `config.json`, with docker's default
/// capabilities.
pub const DOCKER_DEFAULT_SECCOMP: &str = include_str!("../fixtures/docker-default-seccomp.json");

#[cfg(all(test, feature = "powercut"))]
powercut_host!();
