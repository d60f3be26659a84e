//! Logs of containers, which whoever wrote them may have damaged.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gantry_logs::fuzzing::log(bytes));
