//! The status file of an ingest.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gantry_content::fuzzing::status(bytes));
