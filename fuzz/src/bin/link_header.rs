//! Where the next page of a list is, and other headers of registries.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    gantry_registry::fuzzing::links(text);
    gantry_registry::fuzzing::headers(text);
});
