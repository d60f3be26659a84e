//! Events of shims, as the daemon reads from them what it remembers of a process.
#![no_main]

use gantry_proto_shim::any::Named;
use gantry_proto_shim::events::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskOOM, TaskPaused, TaskResumed,
    TaskStart,
};

const TYPES: [&str; 9] = [
    TaskCreate::TYPE_URL,
    TaskStart::TYPE_URL,
    TaskExecAdded::TYPE_URL,
    TaskExecStarted::TYPE_URL,
    TaskPaused::TYPE_URL,
    TaskResumed::TYPE_URL,
    TaskExit::TYPE_URL,
    TaskDelete::TYPE_URL,
    TaskOOM::TYPE_URL,
];

// The first byte chooses the event.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((which, value)) = bytes.split_first() else { return };
    gantry_primitives::fuzzing::shim_event(TYPES[usize::from(*which) % TYPES.len()], value);
});
