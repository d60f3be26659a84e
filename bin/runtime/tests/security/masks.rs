//! Masked paths: what hides `/proc` must be what it claims to be.

use std::fs;
use std::os::unix::fs::symlink;

use gantry_testkit::{Bundle, Canary, Need, Runtime, require};
use serde_json::json;

use crate::race;

/// A bundle with the image's own `/dev`, whose `/dev/null` is a link, and with a file to mask.
fn with_linked_null(target: &std::path::Path) -> Bundle {
    let bundle = Bundle::new()
        .writable()
        .without_mount("/dev/mqueue")
        .without_mount("/dev/shm")
        .without_mount("/dev/pts")
        .without_mount("/dev")
        .sh("cat /secret; echo attacked >/secret; echo attacked >/proc/sysrq-trigger");
    bundle.write("secret", "secret\n");
    symlink(target, bundle.rootfs().join("dev/null")).unwrap();
    bundle.edit(|c| c["linux"]["maskedPaths"] = json!(["/secret", "/proc/kcore"]))
}

#[test]
fn cve_2025_31133_a_null_device_that_is_a_link_masks_nothing_else() {
    require!(Need::Runc(1, 3));
    let runtime = Runtime::new();
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let canary = Canary::new();
    let targets = [
        "/proc/sys/kernel/core_pattern".into(),
        "/etc/passwd".into(),
        "/proc/self/environ".into(),
        canary.dotted().join("file"),
    ];
    for target in targets {
        let bundle = with_linked_null(&target);
        let passwd = fs::read_to_string(bundle.rootfs().join("etc/passwd")).unwrap();
        let output = runtime.run(&bundle);
        assert!(
            !output.stdout.contains("secret") && !output.stdout.contains("root:"),
            "{target:?}: {output}"
        );
        assert_eq!(fs::read_to_string(bundle.rootfs().join("etc/passwd")).unwrap(), passwd, "{target:?}");
        assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before, "{target:?}");
        canary.assert_untouched();
    }
}

#[test]
fn cve_2025_31133_a_null_device_that_is_swapped_meanwhile_masks_nothing_else() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    let bundle = with_linked_null(std::path::Path::new("/dev/zero"));
    let dev = bundle.rootfs().join("dev");
    fs::remove_file(dev.join("null")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dev.join("null"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::from_raw_mode(0o666),
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    symlink(canary.dotted().join("file"), dev.join("swapped")).unwrap();
    let _racer = race::exchange(&dev.join("null"), &dev.join("swapped"));
    race::repeat(|| {
        let output = runtime.run(&bundle);
        assert!(!output.stdout.contains("secret"), "{output}");
    });
    canary.assert_untouched();
}

#[test]
fn cve_2025_62161_a_null_device_that_is_a_file_masks_nothing() {
    // The same in youki: what the image put there was bound over the masked path.
    let runtime = Runtime::new();
    let bundle = with_linked_null(std::path::Path::new("/x"));
    fs::remove_file(bundle.rootfs().join("dev/null")).unwrap();
    bundle.write("dev/null", "of the image\n");
    let output = runtime.run(&bundle);
    assert!(!output.stdout.contains("secret") && !output.stdout.contains("of the image"), "{output}");
}

#[test]
fn cve_2025_31133_a_masked_path_that_is_a_link_masks_nothing_of_the_host() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    let bundle = Bundle::new().writable().edit(|c| {
        c["linux"]["maskedPaths"] = json!(["/link/file", "/link", "/file"]);
        c["linux"]["readonlyPaths"] = json!(["/link/dir", "/link"]);
    });
    symlink(canary.dotted(), bundle.rootfs().join("link")).unwrap();
    symlink(canary.dotted().join("file"), bundle.rootfs().join("file")).unwrap();
    let _ = runtime.run(&bundle);
    canary.assert_untouched();
    assert_eq!(fs::read_to_string(canary.path().join("file")).unwrap(), "canary\n");
}

#[test]
fn masked_paths_cannot_be_uncovered_from_inside() {
    let runtime = Runtime::new();
    let script = "umount /secret; umount -l /secret; mount -o remount,rw /proc/sys; cat /secret; echo 1 >/proc/sys/kernel/sysrq";
    let bundle = Bundle::docker().writable().sh(script);
    bundle.write("secret", "secret\n");
    let bundle = bundle.edit(|c| c["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/secret")));
    let output = runtime.run(&bundle);
    assert!(!output.stdout.contains("secret"), "{output}");
}
