//! Mount options, id maps, cgroup paths, and other short texts of a configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    gantry_runtime::fuzzing::mount_options(text);
    gantry_runtime::fuzzing::idmaps(text);
    gantry_runtime::fuzzing::bpf_annotation(text);
    gantry_cgroup::fuzzing::cgroups_path(text);
    gantry_cgroup::fuzzing::controllers(text);
});
