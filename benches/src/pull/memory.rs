//! What an engine's processes have in memory that is theirs alone.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::group::Group;

/// The time between two looks; a peak that is shorter may be missed.
const PERIOD: Duration = Duration::from_millis(5);

/// The anonymous memory of all processes of a group, in KiB: RssAnon of proc_pid_status(5).
pub(crate) fn anonymous_kib(group: &Group) -> u64 {
    group.pids().into_iter().map(|pid| field(pid, "RssAnon:")).sum()
}

/// The largest resident size that its processes ever had, in KiB: VmHWM of proc_pid_status(5).
pub(crate) fn high_water_kib(group: &Group) -> u64 {
    group.pids().into_iter().map(|pid| field(pid, "VmHWM:")).sum()
}

fn field(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Watches a group from a thread of its own.
#[derive(Debug)]
pub(crate) struct Watch {
    peak: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn start(group: Arc<Group>) -> Self {
        let (peak, end) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, over) = (Arc::clone(&peak), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                seen.fetch_max(anonymous_kib(&group), Ordering::Relaxed);
                std::thread::sleep(PERIOD);
            }
        });
        Self { peak, end, thread }
    }

    /// Ends, and returns the peak in KiB.
    pub(crate) fn stop(self) -> u64 {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.peak.load(Ordering::Relaxed)
    }
}
