//! URIs of log drivers.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| gantry_logs::fuzzing::driver(text));
