//! Device nodes, and links where they should be.

use std::fs;
use std::os::unix::fs::symlink;

use gantry_testkit::{Bundle, Canary, Need, Runtime, require};
use serde_json::json;

use crate::race;

/// A bundle with the image's own `/dev`, into which the runtime makes its devices.
fn with_own_dev() -> Bundle {
    Bundle::new()
        .writable()
        .without_mount("/dev/mqueue")
        .without_mount("/dev/shm")
        .without_mount("/dev/pts")
        .without_mount("/dev")
}

#[test]
fn cve_2026_41579_a_link_at_dev_leads_nowhere() {
    // The same in crun was CVE-2026-47766.
    require!(Need::Runc(1, 3));
    let runtime = Runtime::new();
    for dotted in [true, false] {
        let canary = Canary::new();
        let bundle = with_own_dev();
        fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
        let target = if dotted { canary.dotted() } else { canary.path().to_owned() };
        symlink(target, bundle.rootfs().join("dev")).unwrap();
        let _ = runtime.run(&bundle);
        canary.assert_untouched();
    }
}

#[test]
fn cve_2026_41579_links_in_dev_lead_nowhere() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    let bundle = with_own_dev();
    for name in
        ["null", "zero", "fd", "stdin", "stdout", "stderr", "ptmx", "pts", "core", "console", "tty", "shm"]
    {
        symlink(canary.dotted().join("dir").join(name), bundle.rootfs().join("dev").join(name)).unwrap();
    }
    let _ = runtime.run(&bundle);
    canary.assert_untouched();
}

#[test]
fn cve_2026_41579_a_dev_that_is_swapped_meanwhile_leads_nowhere() {
    require!(Need::Runc(1, 3));
    let runtime = Runtime::new();
    let canary = Canary::new();
    let bundle = with_own_dev();
    let root = bundle.rootfs();
    symlink(canary.dotted().join("dir"), root.join("swapped")).unwrap();
    let _racer = race::exchange(&root.join("dev"), &root.join("swapped"));
    race::repeat(|| {
        let _ = runtime.run(&bundle);
    });
    canary.assert_untouched();
}

#[test]
fn devices_of_the_configuration_are_not_made_through_links() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    let bundle = with_own_dev().edit(|c| {
        c["linux"]["devices"] = json!([
            { "path": "/link/node", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0 },
            { "path": "/dev/../link/other", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0 },
        ]);
    });
    symlink(canary.dotted().join("dir"), bundle.rootfs().join("link")).unwrap();
    let _ = runtime.run(&bundle);
    canary.assert_untouched();
}

#[test]
fn cve_2026_88265_standard_streams_are_opened_again_on_no_link_of_the_image() {
    // crun opened /dev/null again when a stream was it, through a link, and looked at its number alone.
    let runtime = Runtime::new();
    let canary = Canary::new();
    for target in [canary.dotted().join("file"), canary.dotted().join("absent")] {
        let bundle = with_own_dev().sh("echo written; echo written >&2");
        symlink(&target, bundle.rootfs().join("dev/null")).unwrap();
        let null = fs::File::open("/dev/null").unwrap();
        let _ = runtime.run_command(&bundle, &[]).stdin_fd(null).redirected(">/dev/null 2>/dev/null").run();
        canary.assert_untouched();
    }
}
