//! What a container may leave: processes, mounts, cgroups, files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gantry_e2e::{Gantryd, on_reference};
use gantry_testkit::{Cgroups, DEADLINE};

use super::NAMESPACE;

/// The shims that have been started for a container.
pub(super) fn shims(id: &str) -> BTreeSet<u32> {
    shims_with(&[id])
}

/// The shims with these words in their command line.
pub(super) fn shims_with(wanted: &[&str]) -> BTreeSet<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_shim = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = words.split(|byte| *byte == 0).collect();
        String::from_utf8_lossy(words[0]).contains("containerd-shim")
            && wanted.iter().all(|word| words.contains(&word.as_bytes()))
    };
    pids.filter(is_shim).collect()
}

/// The daemon's bundles.
pub(super) fn bundles(daemon: &Gantryd) -> PathBuf {
    daemon.state().join(if on_reference() { "io.containerd.runtime.v2.task" } else { "task" })
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

/// Waits until nothing is left of a container.
#[track_caller]
pub(super) fn assert_container_gone(daemon: &Gantryd, id: &str) {
    assert_gone(daemon, id, || remains(daemon, id));
}

/// Everything with the name of a container.
fn remains(daemon: &Gantryd, id: &str) -> Vec<String> {
    let mut found: Vec<String> = shims(id).iter().map(|pid| format!("shim {pid}")).collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let part = format!("/{id}/");
    found.extend(mounts.lines().filter(|line| line.contains(&part)).map(|line| format!("mount {line}")));
    let mut paths = Cgroups::detect().dirs(&format!("{NAMESPACE}/{id}"));
    let work = if on_reference() { "io.containerd.runtime.v2.task" } else { "task" };
    paths.extend([
        bundles(daemon).join(NAMESPACE).join(id),
        daemon.root().join(work).join(NAMESPACE).join(id),
        Path::new("/run/containerd/runc").join(NAMESPACE).join(id),
        Path::new("/run/gantry/runtime").join(NAMESPACE).join(id),
    ]);
    let pods = fs::read_dir(daemon.state().join("shim")).into_iter().flatten().flatten();
    paths.extend(pods.map(|pod| pod.path().join("containers").join(format!("{id}.json"))));
    found.extend(paths.iter().filter(|path| path.exists()).map(|path| path.display().to_string()));
    found
}

/// Waits until nothing is left.
///
/// # Panics
/// With what is left at the end of the time.
#[track_caller]
fn assert_gone(daemon: &Gantryd, what: &str, look: impl Fn() -> Vec<String>) {
    let end = Instant::now() + DEADLINE;
    let mut left = look();
    while !left.is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
        left = look();
    }
    assert!(left.is_empty(), "left of {what}: {left:#?}\n{}", daemon.log());
}

/// Waits until nothing is left of a daemon's containers.
#[track_caller]
pub(super) fn assert_all_gone(daemon: &Gantryd) {
    assert_gone(daemon, "all containers", || remains_of(daemon));
}

/// Everything of a daemon that has no container any more.
fn remains_of(daemon: &Gantryd) -> Vec<String> {
    let socket = daemon.socket().display().to_string();
    let mut found: Vec<String> = shims_with(&[&socket]).iter().map(|pid| format!("shim {pid}")).collect();
    let (state, root) = (daemon.state(), daemon.root());
    for directory in [
        bundles(daemon).join(NAMESPACE),
        state.join("s"),
        state.join("shim"),
        root.join("task").join(NAMESPACE),
    ] {
        found.extend(entries(&directory));
    }
    let tenant = daemon.namespace(NAMESPACE);
    let containers = tenant.ctr(["containers", "ls", "--quiet"]).run().ok();
    found.extend(containers.lines().iter().map(|id| format!("container {id}")));
    let tasks = tenant.ctr(["task", "ls", "--quiet"]).run().ok();
    found.extend(tasks.lines().iter().map(|id| format!("task {id}")));
    found.extend(tenant.snapshots().into_iter().filter(|key| !key.starts_with("sha256:")));
    found.extend(daemon.mounts());
    found
}
