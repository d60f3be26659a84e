//! The configuration of `gantryd`, and containerd's.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    gantry_config::fuzzing::config(text);
});
