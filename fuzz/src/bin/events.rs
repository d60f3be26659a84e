//! The journal of events that a killed shim left.
#![no_main]

use gantry_shim::events::Replay;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(replay) = Replay::read(bytes) else { return };
    // A damaged tail is not read: a shorter journal never says more.
    if let Ok(shorter) = Replay::read(&bytes[..bytes.len() - bytes.len().min(1)]) {
        assert!(shorter.waiting() <= replay.waiting());
    }
});
