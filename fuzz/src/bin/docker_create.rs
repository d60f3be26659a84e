//! Bodies of `POST /containers/create` of Docker's API.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gantry_door_docker::fuzzing::create(bytes));
