//! Whatever a container writes is read back from its log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gantry_logs::fuzzing::round_trip(bytes));
