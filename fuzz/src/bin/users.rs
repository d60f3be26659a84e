//! A user's text, and the files it is looked up in.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gantry_spec::fuzzing::users(bytes);
});
