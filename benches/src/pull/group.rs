//! The processes of an engine: a cgroup of the unified hierarchy, which counts what all of them use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const ROOT: &str = "/sys/fs/cgroup";
/// How long killed processes may take to go.
const END: Duration = Duration::from_secs(20);

/// A cgroup; on drop, everything in it is killed and it is removed.
#[derive(Debug)]
pub(crate) struct Group(PathBuf);

impl Group {
    /// Makes one.
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        let path = Path::new(ROOT).join(format!("gantry-bench-{}-{name}", std::process::id()));
        if !Path::new(ROOT).join("cgroup.procs").exists() {
            return Err(format!("{ROOT} is not the unified hierarchy: scripts/isolated.sh --view v2"));
        }
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// A command whose process begins in the group.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        let script = format!("echo 0 > {}/cgroup.procs && exec \"$0\" \"$@\"", self.0.display());
        command.arg("-c").arg(script).arg(program);
        command
    }

    /// The processor time that it has used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(self.0.join("cpu.stat")).unwrap_or_default();
        let line = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Duration::from_micros(line.and_then(|number| number.parse().ok()).unwrap_or_default())
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let list = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        list.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        gantry_testkit::until_within(END, "an engine to end", || {
            let gone = self.pids().into_iter().all(is_dead);
            (gone && fs::remove_dir(&self.0).is_ok()).then_some(())
        });
    }
}

/// What has ended and waits for us, its parent, still is in the list.
fn is_dead(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with(['Z', 'X']))
}
