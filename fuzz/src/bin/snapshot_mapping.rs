//! Labels that say how ids are mapped.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| gantry_snapshot::fuzzing::mapping(text));
