//! Archives of layers: headers, pax records, sparse maps.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gantry_layer::fuzzing::archive(bytes));
