//! `linux.resources`: as properties of systemd's, and written to a directory that stands for a cgroup.
#![no_main]

use std::cell::LazyCell;

use gantry_cgroup::fuzzing::{LIMIT_FILES, READ_FILES, limits};
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// The runner removes what a run leaves.
    static DIRECTORY: LazyCell<tempfile::TempDir> = LazyCell::new(|| {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        for name in LIMIT_FILES {
            std::fs::write(directory.path().join(name), "0\n").expect("it can be written to");
        }
        directory
    });
}

fuzz_target!(|text: &[u8]| DIRECTORY.with(|directory| {
    for (name, text) in READ_FILES {
        std::fs::write(directory.path().join(name), text).expect("it can be written to");
    }
    limits(text, directory.path());
}));
