//! What comes over D-Bus.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gantry_cgroup::fuzzing::bus_message(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        gantry_cgroup::fuzzing::bus_text(text);
    }
});
