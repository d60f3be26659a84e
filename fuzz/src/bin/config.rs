//! `config.json`, and everything that is made of it before the host is touched.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| gantry_runtime::fuzzing::config(text));
