//! Places at which a test can have the process killed, in builds with debug assertions only: ours, and those of whoever uses us.
//!
//! `GANTRY_FAILPOINT=<name>` sends SIGKILL to the process when it comes to that place for the first time;
//! `GANTRY_FAILPOINT=<name>:<n>` the n-th time, from 1.

/// Every place in the order in which the life of a task comes to them, but for those that only shims of others have (`foreign.`).
#[cfg(debug_assertions)]
pub const PLACES: [&str; 23] = [
    "bundle.begun",
    "bundle.filled",
    "bundle.made",
    "foreign.started",
    "foreign.addressed",
    "shim.bound",
    "shim.told",
    "shim.spawned",
    "shim.connected",
    "create.joined",
    "create.answered",
    "create.recorded",
    "start.answered",
    "exec.answered",
    "kill.answered",
    "process.deleted",
    "delete.answered",
    "delete.forgotten",
    "delete.noted",
    "shim.ended",
    "bundle.unmounted",
    "bundle.renamed",
    "bundle.removed",
];

/// Dies here if a test asked for it.
#[cfg(debug_assertions)]
pub fn hit(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ASKED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static TIMES: AtomicU32 = AtomicU32::new(0);
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var("GANTRY_FAILPOINT").ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), times.parse().ok()?))
    });
    if let Some((place, times)) = asked
        && place == name
        && TIMES.fetch_add(1, Ordering::Relaxed) + 1 == *times
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Dies here if a test asked for it, which it cannot in this build.
#[cfg(not(debug_assertions))]
#[inline]
pub fn hit(_name: &str) {}
