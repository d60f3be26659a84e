//! Real engines with the runtime under test in place of theirs: Debian's podman, buildah, containerd and dockerd, and conmon
//! as CRI-O calls it.
//!
//! The tests run in namespaces and cgroups of their own, made by `scripts/isolated.sh`: each engine has a private root,
//! state directory, socket, network and cgroup parent, and whatever it leaves dies with its pid namespace. Daemons write
//! their logs to files; every command has a time limit. `cargo xtask test` runs them so; elsewhere they count as skipped.
//!
//! One daemon serves all tests of its engine: names are unique per test.
//!
//! For the store: [`Registry`] is Debian's docker-registry on the loopback device, [`images`] makes images of every kind, and
//! [`Gantryd`] is the daemon under test, or the reference in its place.
#![forbid(unsafe_code)]

mod api;
mod caller;
mod containerd;
mod docker;
mod gantryd;
mod image;
pub mod images;
mod podman;
mod raw;
mod registry;
mod transfer;
pub mod tree;

pub use api::{Api, Model};
pub use caller::{Caller, Seen};
pub use containerd::Containerd;
pub use docker::Docker;
pub use gantryd::{Gantryd, Tenant, client_is_2, on_reference};
pub use image::{IMAGE, image_archive};
pub use podman::Podman;
pub use raw::{Answer, Raw};
pub use registry::{Access, PASSWORD, Registry, Trust, USER};
pub use transfer::ServerPull;

/// The reason to skip the tests of an engine, if there is one.
pub fn unfit(program: &'static str) -> Option<String> {
    use gantry_testkit::{Need, missing};
    if std::env::var_os("GANTRY_ISOLATED").is_none() {
        return Some("needs scripts/isolated.sh around it: cargo xtask test".into());
    }
    missing(&[Need::Root, Need::Program(program)])
}

/// Leaves the test, counted as skipped, when its engine cannot run here.
#[macro_export]
macro_rules! require_engine {
    ($program:expr) => {
        if let Some(reason) = $crate::unfit($program) {
            gantry_testkit::skip_test!(&reason);
        }
    };
}
