//! Places at which a test can have the process killed: see [`gantry_tasks::failpoint`], which does it.

#[cfg(debug_assertions)]
pub use gantry_tasks::failpoint::PLACES as TASK_PLACES;

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

/// Between the commit of a shim's event and its acknowledgement.
#[cfg(debug_assertions)]
pub const EVENT_PLACE: &str = "event.recorded";

/// Dies here if a test asked for it.
#[inline]
pub(crate) fn hit(name: &str) {
    #[cfg(debug_assertions)]
    debug_assert!(PLACES.contains(&name) || name == EVENT_PLACE, "{name} is not in the list");
    gantry_tasks::failpoint::hit(name);
}
