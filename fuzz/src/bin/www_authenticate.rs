//! What registries ask for.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    gantry_registry::fuzzing::challenges(text);
});
