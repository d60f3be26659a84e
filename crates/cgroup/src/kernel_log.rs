//! What the kernel's log says of processes that were killed for want of memory.
//!
//! For cgroups that are gone: systemd removes a scope as soon as its last process has ended, and whoever is told of that end may
//! come too late for `memory.events`. The log has a line of each kill (mm/oom_kill.c, Linux 5.0; rate-limited in storms).

use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::controller::Controller;

/// Documentation/ABI/testing/dev-kmsg: a read gives one record.
const LOG: &str = "/dev/kmsg";
/// The longest record that the kernel gives (CONSOLE_EXT_LOG_MAX).
const MAX_RECORD_BYTES: usize = 8192;
/// No kernel's log has more.
const MAX_RECORDS: usize = 1 << 17;
/// Times of the log are of another clock, which runs almost as CLOCK_MONOTONIC does.
const SLACK: Duration = Duration::from_millis(100);

impl Cgroup {
    /// Whether the kernel's log has a kill for want of memory in the cgroup since a time of CLOCK_MONOTONIC. It may be gone.
    ///
    /// Does not wait. A log that cannot be read says nothing.
    ///
    /// # Privilege
    /// Root's, where `kernel.dmesg_restrict` is set.
    pub fn oom_kill_in_log(&self, since: Duration) -> bool {
        let Some(node) = self.node(Controller::Memory) else { return false };
        let Some(name) = node.path.file_name().and_then(|name| name.to_str()) else { return false };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(log) = openat(CWD, LOG, flags, Mode::empty()) else { return false };
        let mut buffer = [0; MAX_RECORD_BYTES];
        for _ in 0..MAX_RECORDS {
            match rustix::io::read(&log, &mut buffer) {
                Ok(length) => {
                    let record = String::from_utf8_lossy(&buffer[..length]);
                    if is_kill_in(&record, name, since.saturating_sub(SLACK)) {
                        return true;
                    }
                }
                // Overwritten meanwhile: the next one is the oldest.
                Err(Errno::PIPE | Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        false
    }
}

/// `6,1234,5678901,-;oom-kill:constraint=CONSTRAINT_MEMCG,…,task_memcg=/system.slice/docker-1.scope,task=sh,pid=9,uid=0`
fn is_kill_in(record: &str, name: &str, since: Duration) -> bool {
    let Some((prefix, text)) = record.split_once(';') else { return false };
    let Some(text) = text.strip_prefix("oom-kill:") else { return false };
    let mut prefix = prefix.split(',');
    // What programs write there is never of facility 0.
    let is_kernels =
        prefix.next().is_some_and(|priority| priority.parse().is_ok_and(|number: u32| number < 8));
    let at = prefix.nth(1).and_then(|micros| micros.parse().ok()).map(Duration::from_micros);
    let mut groups = text.lines().next().unwrap_or_default().split(',');
    // Those below it are its own, too.
    let is_of = |path: &str| path.split('/').any(|part| part == name);
    is_kernels
        && at.is_some_and(|at| at >= since)
        && groups.any(|field| field.strip_prefix("task_memcg=").is_some_and(is_of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kills_in_the_cgroup_and_since_the_time_count() {
        let record = "6,812,52123456,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=docker-ab.scope,\
                      mems_allowed=0,oom_memcg=/system.slice/docker-ab.scope,task_memcg=/system.slice/docker-ab.scope/x,\
                      task=sh,pid=812,uid=0\n SUBSYSTEM=x\n";
        let at = Duration::from_micros(52_123_456);
        assert!(is_kill_in(record, "docker-ab.scope", at));
        assert!(!is_kill_in(record, "docker-ab.scope", at + Duration::from_micros(1)));
        for name in ["docker-a.scope", "ocker-ab.scope", "sh"] {
            assert!(!is_kill_in(record, name, Duration::ZERO), "{name}");
        }
        for other in [
            "6,1,x,-;oom-kill:task_memcg=/docker-ab.scope",
            "6,1,9,-;said: oom-kill:task_memcg=/docker-ab.scope",
            "oom-kill:task_memcg=/docker-ab.scope",
            "6,1,9,-;oom-kill:oom_memcg=/docker-ab.scope",
            "12,1,9,-;oom-kill:task_memcg=/docker-ab.scope",
            "",
        ] {
            assert!(!is_kill_in(other, "docker-ab.scope", Duration::ZERO), "{other}");
        }
    }
}
