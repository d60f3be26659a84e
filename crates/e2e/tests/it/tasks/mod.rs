//! The daemon's tasks behind its containerd door, driven by Debian's real `ctr` and `dockerd`, with our shim and others.
//!
//! Proven on the reference: `GANTRY_DAEMON=containerd`. What only Gantry promises says [`ours!`].

mod attach;
mod case;
mod checkpoint;
mod deaths;
mod docker;
mod events;
mod exec;
mod faults_daemon;
mod faults_events;
mod faults_limits;
mod faults_power;
mod faults_shim;
mod grpc;
mod gvisor;
mod life;
mod limits;
mod many;
mod refusals;
mod remains;
mod restarts;
mod runtimes;
mod soak;
mod upgrade;
mod userns;

use std::sync::OnceLock;

use gantry_e2e::{Gantryd, image_archive};

use self::case::Case;

/// The namespace of the tests: names of containers are unique in it, over all daemons. Cgroups have its name, and one `tasks`
/// cannot be on version 1.
const NAMESPACE: &str = "gt-tasks";
/// Debian's shim.
const DEBIAN: &str = "/usr/bin/containerd-shim-runc-v2";
/// Runs until SIGTERM, and then ends with 3.
const TRAP: &str = "trap 'exit 3' TERM; while :; do sleep 0.05; done";

/// Leaves a test of a contract that only Gantry keeps.
macro_rules! ours {
    () => {
        if gantry_e2e::on_reference() {
            gantry_testkit::skip_test!("a contract of Gantry alone");
        }
    };
}
use ours;

/// The daemon of those tests that do not kill it.
fn shared() -> &'static Gantryd {
    static SHARED: OnceLock<Gantryd> = OnceLock::new();
    SHARED.get_or_init(|| loaded("gt-task"))
}

/// A daemon with the image.
fn loaded(name: &str) -> Gantryd {
    loaded_with(name, "")
}

/// The same, with more lines in its configuration.
fn loaded_with(name: &str, more: &str) -> Gantryd {
    let daemon = Gantryd::with_config(name, more);
    daemon.namespace(NAMESPACE).ctr(["images", "import"]).arg(image_archive()).run().ok();
    daemon
}
