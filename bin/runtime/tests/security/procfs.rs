//! `/proc` and `/sys`: through them labels and sysctls are written.

use std::fs;
use std::os::unix::fs::symlink;

use gantry_testkit::{Bundle, Canary, Need, Runtime, require};
use serde_json::json;

use crate::race;

#[test]
fn cve_2019_16884_nothing_but_procfs_is_mounted_at_proc() {
    let runtime = Runtime::new();
    // An image's VOLUME /proc becomes a bind mount there.
    let bundle = Bundle::docker().without_mount("/proc");
    let dir = bundle.make_dir("fake");
    fs::create_dir_all(dir.join("self/attr")).unwrap();
    fs::write(dir.join("self/attr/exec"), "").unwrap();
    let bundle = bundle.bind(&dir, "/proc", &["rbind"]);
    let bundle = bundle.edit(|c| c["process"]["apparmorProfile"] = json!("unconfined-not"));
    runtime.container(&bundle).create().fails();
    let bundle = Bundle::docker().mount("/proc", "tmpfs", "tmpfs", &[]);
    runtime.container(&bundle).create().fails();
    assert_eq!(fs::read_to_string(dir.join("self/attr/exec")).unwrap(), "", "a label that nobody enforces");
}

#[test]
fn cve_2019_19921_a_link_at_proc_is_refused() {
    // Again in CVE-2023-27561.
    let runtime = Runtime::new();
    for target in ["/elsewhere", "/tmp/../elsewhere", "elsewhere"] {
        let bundle = Bundle::docker();
        fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
        fs::create_dir(bundle.rootfs().join("elsewhere")).unwrap();
        symlink(target, bundle.rootfs().join("proc")).unwrap();
        runtime.container(&bundle).create().fails();
    }
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn cve_2023_28642_a_link_at_sys_is_refused() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    for target in ["/elsewhere".into(), canary.dotted().join("dir")] {
        let bundle = Bundle::docker();
        fs::remove_dir(bundle.rootfs().join("sys")).unwrap();
        fs::create_dir(bundle.rootfs().join("elsewhere")).unwrap();
        symlink(target, bundle.rootfs().join("sys")).unwrap();
        runtime.container(&bundle).create().fails();
    }
    canary.assert_untouched();
}

#[test]
fn cve_2019_19921_a_proc_that_is_swapped_meanwhile_is_no_way_out() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    let bundle = Bundle::docker().sh("true");
    let root = bundle.rootfs();
    symlink(canary.dotted().join("dir"), root.join("swapped")).unwrap();
    let _racer = race::exchange(&root.join("proc"), &root.join("swapped"));
    race::repeat(|| {
        // Whoever swaps names of the root while it is used gets an odd container, and must get no more than that.
        let _ = runtime.run(&bundle);
    });
    canary.assert_untouched();
}

#[test]
fn cve_2025_52881_mounts_below_proc_through_links_are_refused() {
    require!(Need::Runc(1, 3));
    let runtime = Runtime::new();
    for destination in
        ["/link/self/attr", "/link/sys", "/link/sys/kernel", "/link/1", "/proc/./sys", "/proc/self/../sys"]
    {
        let bundle = Bundle::docker().mount(destination, "tmpfs", "tmpfs", &[]);
        symlink("/proc", bundle.rootfs().join("link")).unwrap();
        let output = runtime.container(&bundle).create();
        assert!(!output.status.success(), "{destination}");
    }
}

#[test]
fn cve_2025_52881_sysctls_are_written_to_the_kernel_and_nowhere_else() {
    let runtime = Runtime::new();
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    // A volume in which a racer swaps a directory for a link to the files that an attacker wants to be written.
    let bundle = Bundle::docker().sh("cat /proc/sys/net/ipv4/ip_default_ttl");
    let volume = bundle.make_dir("volume");
    fs::create_dir_all(volume.join("a/net/ipv4")).unwrap();
    fs::write(volume.join("a/net/ipv4/ip_default_ttl"), "").unwrap();
    symlink("/proc/sys/kernel", volume.join("b")).unwrap();
    let bundle = bundle.bind(&volume, "/volume", &["rbind"]).bind(volume.join("a"), "/volume/a", &["rbind"]);
    let bundle = bundle.edit(|c| c["linux"]["sysctl"] = json!({ "net.ipv4.ip_default_ttl": "33" }));
    let _racer = race::exchange(&volume.join("a"), &volume.join("b"));
    race::repeat(|| {
        let output = runtime.run(&bundle);
        assert!(!output.status.success() || output.text() == "33", "{output}");
    });
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
}

#[test]
fn cve_2025_52881_the_working_directory_of_the_set_up_cannot_be_redirected() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    let bundle = Bundle::new().writable();
    symlink(canary.dotted().join("dir"), bundle.rootfs().join("work")).unwrap();
    let bundle = bundle.edit(|c| c["process"]["cwd"] = json!("/work/new"));
    let _ = runtime.run(&bundle);
    canary.assert_untouched();
}
