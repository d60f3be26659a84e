//! Multiplexed streams of an engine, cut anywhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gantry_stream::fuzzing::frames(bytes));
