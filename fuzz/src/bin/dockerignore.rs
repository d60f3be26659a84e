//! `.dockerignore` and patterns, and paths behind a zero byte.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gantry_build::fuzzing::ignore(bytes));
