//! Compressed layers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gantry_layer::fuzzing::inflate(bytes));
