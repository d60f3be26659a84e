//! Docker's `config.json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    gantry_config::fuzzing::docker(text);
});
