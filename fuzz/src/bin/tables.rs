//! A container's /etc/passwd, and the tables of procfs and of cgroups.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gantry_runtime::fuzzing::passwd(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        gantry_runtime::fuzzing::tables(text);
        gantry_cgroup::fuzzing::tables(text);
        gantry_cgroup::fuzzing::statistics(text);
    }
});
