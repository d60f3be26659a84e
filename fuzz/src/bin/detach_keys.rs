//! Detach keys of a client, and what is typed.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gantry_stream::fuzzing::detach(bytes));
