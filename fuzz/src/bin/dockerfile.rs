//! Dockerfiles: parsed, planned, and what changes only the configuration is carried out.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gantry_build::fuzzing::dockerfile(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        gantry_build::fuzzing::expansion(text);
    }
});
