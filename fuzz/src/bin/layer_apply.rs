//! Archives of layers, applied to a directory.
#![no_main]

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::LazyLock;

/// A directory, and the root in it.
static PLACE: LazyLock<(File, File)> = LazyLock::new(|| {
    let outside = std::env::temp_dir().join(format!("layer-apply-{}", std::process::id()));
    let root = outside.join("root");
    std::fs::create_dir_all(&root).expect("a private directory");
    let open = |path| File::open(path).expect("the directory can be opened");
    (open(outside), open(root))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (outside, root) = &*PLACE;
    gantry_layer::fuzzing::apply_into(root.as_fd(), outside.as_fd(), bytes);
});
