//! `state.json`, and the cgroup in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    gantry_runtime::fuzzing::record(text);
    gantry_cgroup::fuzzing::record(text);
});
