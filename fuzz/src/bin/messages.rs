//! What comes from criu, from the kernel over netlink, and from a container's child; and files of the seccomp cache.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gantry_sys::netlink::fuzz_datagram(bytes);
    gantry_runtime::fuzzing::criu_message(bytes);
    gantry_runtime::fuzzing::messages(bytes);
    gantry_runtime::fuzzing::cache_entry(bytes);
});
