//! Places at which a test can have the process killed, in builds with debug assertions only.
//!
//! `GANTRY_CONTENT_KILL=<name>` sends SIGKILL to the process when it comes to that place.

/// Dies here if a test asked for it.
#[cfg(debug_assertions)]
pub(crate) fn hit(name: &str) {
    use std::sync::OnceLock;

    static ASKED: OnceLock<Option<String>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| std::env::var("GANTRY_CONTENT_KILL").ok());
    if asked.as_deref() == Some(name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Dies here if a test asked for it, which it cannot in this build.
#[cfg(not(debug_assertions))]
#[inline]
pub(crate) fn hit(_name: &str) {}
