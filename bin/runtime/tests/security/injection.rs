//! Texts of the configuration that end up in files of the kernel or in other programs' formats.

use std::fs;

use gantry_testkit::{Bundle, Need, Runtime, require};
use serde_json::json;

#[test]
fn cve_2022_0811_sysctls_do_not_smuggle_others() {
    let runtime = Runtime::new();
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for (name, value) in [
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/evil"),
        ("kernel.shm_rmid_forced", "1\nkernel.core_pattern=|/evil"),
        ("kernel.shm_rmid_forced+kernel.core_pattern", "1"),
        ("kernel.shm_rmid_forced\nkernel.core_pattern", "|/evil"),
        ("net.ipv4.ip_forward/../../../kernel/core_pattern", "|/evil"),
        ("net..kernel.core_pattern", "|/evil"),
    ] {
        let bundle = Bundle::new().edit(|c| c["linux"]["sysctl"] = json!({ name: value }));
        let _ = runtime.run(&bundle);
        assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before, "{name}");
    }
}

#[test]
fn cve_2021_43784_long_texts_do_not_overflow_the_message_to_the_first_process() {
    // runc put the maps and paths into a netlink message whose attributes have a length of 16 bits.
    let runtime = Runtime::new();
    let entries: Vec<_> =
        (0..5000).map(|n| json!({ "containerID": n * 2, "hostID": 100_000 + n * 2, "size": 1 })).collect();
    let bundle = Bundle::new().userns().edit(|c| c["linux"]["uidMappings"] = json!(entries));
    let output = runtime.container(&bundle).create();
    assert!(!output.status.success(), "more entries than the kernel takes: {output}");
    let path = format!("/{}", "x".repeat(70_000));
    let bundle = Bundle::new().edit(|c| {
        for entry in c["linux"]["namespaces"].as_array_mut().unwrap() {
            if entry["type"] == "network" {
                entry["path"] = json!(path);
            }
        }
    });
    runtime.container(&bundle).create().fails();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn cve_2024_3154_annotations_cannot_set_what_a_scope_does_not_have() {
    require!(Need::Systemd, Need::CgroupV2);
    let runtime = Runtime::new().with_globals(["--systemd-cgroup"]);
    for (name, value) in [
        ("org.systemd.property.ExecStart", "'/bin/evil'"),
        ("org.systemd.property.CollectMode'; x", "'inactive'"),
        ("org.systemd.property.", "'x'"),
        ("org.systemd.property.TimeoutStopUSec", "uint64 1; evil"),
    ] {
        let bundle = Bundle::new();
        let unit = bundle.cgroup_parent().trim_start_matches('/').to_owned();
        let bundle = bundle.edit(|c| {
            c["linux"]["cgroupsPath"] = json!(format!("system.slice:gantry:{unit}"));
            c["annotations"] = json!({ name: value });
        });
        let output = runtime.container(&bundle).create();
        assert!(!output.status.success(), "{name}");
    }
}

#[test]
fn names_of_hosts_with_line_breaks_reach_no_file() {
    let runtime = Runtime::new();
    let before = fs::read_to_string("/etc/passwd").unwrap();
    let bundle = Bundle::new().edit(|c| {
        c["hostname"] = json!("host\nroot::0:0::/:/bin/sh");
        c["process"]["env"] = json!(["PATH=/bin", "HOME=/x\nevil:x:0:0::/:/bin/sh"]);
    });
    let passwd = fs::read_to_string(bundle.rootfs().join("etc/passwd")).unwrap();
    let _ = runtime.run(&bundle);
    assert_eq!(fs::read_to_string("/etc/passwd").unwrap(), before);
    assert_eq!(fs::read_to_string(bundle.rootfs().join("etc/passwd")).unwrap(), passwd);
}
