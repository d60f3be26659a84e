//! Seccomp profiles in docker's format.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    gantry_spec::fuzzing::profile(text);
});
