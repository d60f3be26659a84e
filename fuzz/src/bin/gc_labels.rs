//! Labels as the collector reads them, and the resources of leases.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| gantry_metadata::fuzzing::labels(text));
