//! Places at which a test can have the process killed, in builds with debug assertions only.
//!
//! `GANTRY_FAILPOINT=<name>` sends SIGKILL to the process when it comes to that place for the first time;
//! `GANTRY_FAILPOINT=<name>:<n>` the n-th time, from 1.

/// Every place in the order in which a pull comes to them.
#[cfg(debug_assertions)]
pub const PLACES: [&str; 16] = [
    "pull.resolved",
    "pull.leased",
    "document.stored",
    "document.recorded",
    "layer.begun",
    "layer.received",
    "layer.stored",
    "layer.recorded",
    "unpack.prepared",
    "unpack.applied",
    "commit.rebased",
    "commit.counted",
    "commit.recorded",
    "unpack.finished",
    "image.named",
    "pull.ended",
];

/// Dies here if a test asked for it.
#[cfg(debug_assertions)]
pub(crate) fn hit(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ASKED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static TIMES: AtomicU32 = AtomicU32::new(0);
    debug_assert!(PLACES.contains(&name), "{name} is not in the list");
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
pub(crate) fn hit(_name: &str) {}
