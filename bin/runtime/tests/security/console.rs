//! `/dev/console` and the terminal.

use std::fs;
use std::os::unix::fs::symlink;

use gantry_testkit::{Bundle, Canary, Need, Receiver, Runtime, Terminal, require};
use serde_json::json;

use crate::race;

/// A bundle with a terminal and with the image's own `/dev`.
fn terminal_bundle() -> Bundle {
    let bundle =
        Bundle::new().writable().without_mount("/dev/mqueue").without_mount("/dev/shm").without_mount("/dev");
    bundle.sh("echo through >/dev/console").edit(|c| c["process"]["terminal"] = json!(true))
}

/// Creates, starts and deletes the container, as far as it goes.
fn attempt(runtime: &Runtime, bundle: &Bundle) {
    let receiver = Receiver::listen(runtime.scratch().join("console"));
    let container = runtime.container(bundle);
    let output = container.create_command(&["--console-socket", receiver.path()]).run();
    if output.status.success() {
        let mut terminal = Terminal::new(receiver.receive().fds.remove(0));
        if container.start().status.success() {
            terminal.read_to_end();
        }
        container.delete_force().ok();
    }
}

#[test]
fn cve_2025_52565_a_link_at_dev_console_leads_nowhere() {
    let runtime = Runtime::new();
    for target in ["file", "dir/file", "absent", "dir"] {
        let canary = Canary::new();
        for link in [canary.path().join(target), canary.dotted().join(target)] {
            let bundle = terminal_bundle();
            symlink(link, bundle.rootfs().join("dev/console")).unwrap();
            attempt(&runtime, &bundle);
            canary.assert_untouched();
        }
    }
}

#[test]
fn cve_2026_88264_a_missing_dev_console_is_not_made_through_a_link() {
    // crun opened it with O_CREAT and followed the link; runc before 1.3.6 made links there.
    require!(Need::Runc(1, 3));
    let runtime = Runtime::new();
    let canary = Canary::new();
    let bundle = terminal_bundle();
    fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
    symlink(canary.dotted().join("dir"), bundle.rootfs().join("dev")).unwrap();
    attempt(&runtime, &bundle);
    canary.assert_untouched();
}

#[test]
fn cve_2025_52565_a_console_that_is_swapped_meanwhile_leads_nowhere() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    let bundle = terminal_bundle();
    let dev = bundle.rootfs().join("dev");
    fs::write(dev.join("console"), "").unwrap();
    symlink(canary.dotted().join("file"), dev.join("swapped")).unwrap();
    let _racer = race::exchange(&dev.join("console"), &dev.join("swapped"));
    race::repeat(|| attempt(&runtime, &bundle));
    canary.assert_untouched();
}

#[test]
fn cve_2025_52565_a_link_at_dev_pts_is_not_followed_out() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    for mounted in [true, false] {
        let mut bundle = terminal_bundle();
        if !mounted {
            bundle = bundle.without_mount("/dev/pts");
        }
        symlink(canary.dotted().join("dir"), bundle.rootfs().join("dev/pts")).unwrap();
        symlink(canary.dotted().join("file"), bundle.rootfs().join("dev/ptmx")).unwrap();
        attempt(&runtime, &bundle);
        canary.assert_untouched();
    }
}
