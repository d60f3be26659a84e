use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for something that a working runtime does at once, on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(3);

/// Polls until `look` finds something, and returns it.
///
/// # Panics
/// When [`DEADLINE`] passes first; the message names `what`.
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(DEADLINE, what, look)
}

/// Polls until `look` finds something, and returns it.
///
/// # Panics
/// When `limit` passes first; the message names `what`.
#[track_caller]
pub fn until_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {limit:?} for {what}");
        thread::sleep(PAUSE);
    }
}

/// Polls until `look` is true.
///
/// # Panics
/// As [`until`].
#[track_caller]
pub fn until_true(what: &str, mut look: impl FnMut() -> bool) {
    until(what, || look().then_some(()));
}
