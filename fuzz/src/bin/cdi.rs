//! Files of CDI, as JSON and as YAML.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gantry_spec::fuzzing::cdi(bytes);
});
