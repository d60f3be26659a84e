//! Mount destinations that lead out of the root.

use std::fs;
use std::os::unix::fs::symlink;

use gantry_testkit::{Bundle, Canary, Runtime};

use crate::race;

#[test]
fn cve_2019_18837_a_destination_that_is_a_link_to_the_host_stays_inside() {
    let runtime = Runtime::new();
    for kind in ["tmpfs", "directory", "file"] {
        let canary = Canary::new();
        for target in [canary.path().to_owned(), canary.dotted()] {
            let bundle = Bundle::new().writable();
            symlink(&target, bundle.rootfs().join("link")).unwrap();
            let dir = bundle.make_dir("shared");
            fs::write(dir.join("single"), "x").unwrap();
            let bundle = match kind {
                "tmpfs" => {
                    bundle.mount("/link/new/dir", "tmpfs", "tmpfs", &[]).mount("/link", "tmpfs", "tmpfs", &[])
                }
                "directory" => bundle.bind(&dir, "/link/new", &["rbind"]).bind(&dir, "/link/dir", &["rbind"]),
                _ => bundle.bind(dir.join("single"), "/link/new", &["bind"]).bind(
                    dir.join("single"),
                    "/link/file",
                    &["bind"],
                ),
            };
            let _ = runtime.run(&bundle);
            canary.assert_untouched();
        }
    }
}

/// A bundle with a volume in which a directory and a link to the host change places all the time.
fn contested(canary: &Canary) -> (Bundle, gantry_testkit::Running) {
    let bundle = Bundle::new().writable().sh("cat /volume/a/file; ls /volume/a/sub");
    let volume = bundle.make_dir("volume");
    fs::create_dir(volume.join("a")).unwrap();
    symlink(canary.dotted(), volume.join("b")).unwrap();
    let racer = race::exchange(&volume.join("a"), &volume.join("b"));
    let bundle = bundle.bind(&volume, "/volume", &["rbind"]);
    (bundle, racer)
}

#[test]
fn cve_2021_30465_a_destination_that_is_swapped_meanwhile_mounts_nothing_outside() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    let (bundle, _racer) = contested(&canary);
    let bundle = bundle.mount("/volume/a/sub", "tmpfs", "tmpfs", &[]);
    race::repeat(|| {
        let output = runtime.run(&bundle);
        assert!(!output.stdout.contains("canary"), "{output}");
    });
    canary.assert_untouched();
}

#[test]
fn cve_2024_45310_a_destination_that_is_swapped_meanwhile_makes_nothing_outside() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    let (bundle, _racer) = contested(&canary);
    let dir = bundle.make_dir("source");
    fs::write(dir.join("single"), "x").unwrap();
    let bundle = bundle.bind(&dir, "/volume/a/made/dir", &["rbind"]).bind(
        dir.join("single"),
        "/volume/a/made-file",
        &["bind"],
    );
    race::repeat(|| {
        let _ = runtime.run(&bundle);
    });
    canary.assert_untouched();
}

#[test]
fn cve_2024_45310_a_working_directory_that_is_swapped_meanwhile_makes_nothing_outside() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    let (bundle, _racer) = contested(&canary);
    let bundle = bundle.edit(|c| c["process"]["cwd"] = serde_json::json!("/volume/a/made/here"));
    race::repeat(|| {
        let _ = runtime.run(&bundle);
    });
    canary.assert_untouched();
}

#[test]
fn a_link_that_is_turned_meanwhile_mounts_nothing_outside() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    let bundle = Bundle::new().writable();
    let volume = bundle.make_dir("volume");
    fs::create_dir(volume.join("real")).unwrap();
    let _racer = race::flip(&volume.join("link"), std::path::Path::new("real"), &canary.dotted());
    let bundle = bundle.bind(&volume, "/volume", &["rbind"]).mount("/volume/link/sub", "tmpfs", "tmpfs", &[]);
    race::repeat(|| {
        let _ = runtime.run(&bundle);
    });
    canary.assert_untouched();
}

#[test]
fn the_root_itself_may_be_a_link_of_the_host_but_not_of_the_image() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    let bundle = Bundle::new();
    let rootfs = bundle.rootfs();
    fs::rename(&rootfs, bundle.path().join("real")).unwrap();
    symlink("real", &rootfs).unwrap();
    let bundle = bundle.args(["echo", "fine"]);
    let output = runtime.run(&bundle);
    assert!(!output.status.success() || output.text() == "fine");
    canary.assert_untouched();
}
