//! Annotations `org.systemd.property.*`, in the notation of GVariant.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| gantry_cgroup::fuzzing::annotations(text));
