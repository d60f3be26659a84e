//! Archives of layers, applied to a directory.
#![no_main]

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::LazyLock;

/// In memory: the disk is not what is tested.
static OUTSIDE: LazyLock<(PathBuf, File, File)> = LazyLock::new(|| {
    let outside = PathBuf::from(format!("/dev/shm/layer-apply-{}", std::process::id()));
    let root = outside.join("root");
    std::fs::create_dir_all(&root).expect("a private directory");
    let open = |path| File::open(path).expect("the directory can be opened");
    (outside.clone(), open(outside), open(root))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (_, outside, root) = &*OUTSIDE;
    gantry_layer::fuzzing::apply_into(root.as_fd(), outside.as_fd(), bytes);
});
