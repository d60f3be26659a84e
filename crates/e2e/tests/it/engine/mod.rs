//! The engine behind the real docker client, with nobody between. Proven on dockerd: `GANTRY_DAEMON=containerd`.

mod advisories;
mod api;
mod apparmor;
mod hostile;
mod images;
mod life;
mod network;
mod packages;
mod races;
mod recovery;
mod registry;
mod restarts;
mod run;
mod userns;
mod volumes;

use std::sync::OnceLock;

use gantry_e2e::{Docker, Gantryd};

/// Ends with a status of its own when it is asked to.
const TRAP: &str = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done";

/// The one of this test process.
fn shared() -> &'static Docker {
    static SHARED: OnceLock<(Option<Gantryd>, Docker)> = OnceLock::new();
    &SHARED.get_or_init(|| Docker::engine("gt-eng")).1
}

/// A container in the background.
fn detached(docker: &Docker, name: &str, options: &[&str], args: &[&str]) -> String {
    let call = docker.docker(["run", "--detach", "--name", name]);
    call.args(options).arg("busybox").args(args).run().ok().text().to_owned()
}

fn remove(docker: &Docker, name: &str) {
    docker.docker(["rm", "--force", "--volumes", name]).run().ok();
}
