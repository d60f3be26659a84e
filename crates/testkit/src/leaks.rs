use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use crate::Cgroups;

/// What the names of all cgroups of the tests begin with; the pid of the test process follows.
pub(crate) const PREFIX: &str = "gantry-test-";

/// How long what a test left may take to go, when it is going already.
const SETTLE: Duration = Duration::from_secs(10);

/// The mounts of this mount namespace at or below `path`.
pub fn mounts_below(path: &Path) -> Vec<String> {
    let info = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let targets = info.lines().filter_map(|line| line.split(' ').nth(4));
    targets.filter(|target| Path::new(target).starts_with(path)).map(str::to_owned).collect()
}

/// A count of what containers can leave behind on the host.
///
/// Only for suites that run alone: another test that starts a container meanwhile shows up as a leak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaks {
    mounts: BTreeSet<String>,
    network_namespaces: BTreeSet<PathBuf>,
    cgroups: BTreeSet<String>,
}

impl Leaks {
    /// What is there now.
    pub fn snapshot() -> Self {
        let info = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let mounts = info.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect();
        let mut network_namespaces = BTreeSet::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().bytes().all(|b| b.is_ascii_digit())
                && let Ok(link) = fs::read_link(entry.path().join("ns/net"))
            {
                network_namespaces.insert(link);
            }
        }
        let cgroups = Cgroups::detect().top_level(PREFIX).into_iter().collect();
        Self { mounts, network_namespaces, cgroups }
    }

    /// What is there now and was not when `self` was taken, once what is on its way out is gone.
    pub fn since(&self) -> Vec<String> {
        settle(|| {
            let now = Self::snapshot();
            let mut found: Vec<String> = Vec::new();
            found.extend(now.mounts.difference(&self.mounts).map(|mount| format!("mount {mount}")));
            let namespaces = now.network_namespaces.difference(&self.network_namespaces);
            found.extend(namespaces.map(|link| format!("network namespace {}", link.display())));
            found.extend(now.cgroups.difference(&self.cgroups).map(|group| format!("cgroup {group}")));
            found
        })
    }
}

/// Looks until nothing is found, or until it does not get better; returns what is left.
pub(crate) fn settle(look: impl Fn() -> Vec<String>) -> Vec<String> {
    let end = Instant::now() + SETTLE;
    loop {
        let found = look();
        if found.is_empty() || Instant::now() > end {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Unmounts everything at and below `path`, kills what is in the cgroup `parent`, and removes that.
///
/// Both belong to one test alone, so that nothing else can be meant.
pub(crate) fn clean(path: &Path, parent: &str) {
    for target in mounts_below(path).iter().rev() {
        let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
    }
    let cgroups = Cgroups::detect();
    if cgroups.dirs(parent).is_empty() {
        return;
    }
    thaw(&cgroups, parent);
    settle(|| {
        let pids = cgroups.processes(parent);
        for pid in &pids {
            if let Some(pid) = rustix::process::Pid::from_raw(*pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        pids.iter().map(|pid| format!("process {pid}")).collect()
    });
    cgroups.remove(parent);
}

/// A frozen process takes no signal on v1.
fn thaw(cgroups: &Cgroups, parent: &str) {
    for dir in cgroups.below(parent) {
        let _ = fs::write(dir.join("freezer.state"), "THAWED");
        let _ = fs::write(dir.join("cgroup.freeze"), "0");
    }
}

/// Removes what test processes that were killed left behind: their cgroups with everything in them, their mounts and
/// their temporary directories.
pub fn sweep() {
    let cgroups = Cgroups::detect();
    for group in cgroups.top_level(PREFIX) {
        let owner =
            group.trim_start_matches('/').trim_start_matches(PREFIX).split('-').next().unwrap_or_default();
        if owner.parse::<u32>().is_ok_and(|pid| pid != process::id() && !is_alive(pid)) {
            clean(Path::new("/nonexistent"), &group);
        }
    }
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}
