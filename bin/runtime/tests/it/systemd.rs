//! The systemd driver from end to end, where systemd is pid 1: `make conformance-vm` has such a machine.

use std::fs;
use std::path::{Path, PathBuf};

use gantry_testkit::{Bundle, Container, Invocation, Need, Runtime, User, require, until_true};
use serde_json::json;

const ROOT: &str = "/sys/fs/cgroup";

fn runtime() -> Runtime {
    Runtime::new().with_globals(["--systemd-cgroup"])
}

/// A bundle whose scope is in a slice, and the name of that scope.
fn in_slice(slice: &str) -> (Bundle, String) {
    let bundle = Bundle::new();
    let name = bundle.cgroup_parent().trim_start_matches('/').to_owned();
    let scope = format!("gantry-{name}.scope");
    (bundle.edit(|c| c["linux"]["cgroupsPath"] = json!(format!("{slice}:gantry:{name}"))), scope)
}

fn property(scope: &str, name: &str) -> String {
    let call = Invocation::new("systemctl").args(["show", "--value", "--property", name, scope]);
    call.run().ok().text().to_owned()
}

/// Where a container's process is.
fn cgroup_of(container: &Container<'_>) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    Path::new(ROOT).join(text.trim().trim_start_matches("0::/"))
}

fn read(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap_or_else(|error| panic!("{file}: {error}")).trim().to_owned()
}

#[test]
fn the_whole_life_is_in_a_scope() {
    require!(Need::Systemd, Need::CgroupV2);
    let runtime = runtime();
    let (bundle, scope) = in_slice("system.slice");
    let bundle = bundle.sleeping();
    let container = runtime.created(&bundle);
    assert_eq!(property(&scope, "ActiveState"), "active");
    container.start().ok();
    let dir = cgroup_of(&container);
    assert_eq!(dir, Path::new(ROOT).join("system.slice").join(&scope));
    let own = container.sh("cat /proc/self/cgroup");
    assert_eq!(own, format!("0::/system.slice/{scope}"), "exec is in the scope");
    container.command("pause", &[]).run().ok();
    assert!(read(&dir, "cgroup.events").contains("frozen 1"));
    container.command("resume", &[]).run().ok();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
    until_true("the scope to go", || !dir.exists() && property(&scope, "LoadState") == "not-found");
}

#[test]
fn slices_are_nested_by_their_names() {
    require!(Need::Systemd, Need::CgroupV2);
    let runtime = runtime();
    let (bundle, scope) = in_slice("gantrytest-inner.slice");
    let bundle = bundle.sleeping();
    let container = runtime.running(&bundle);
    let expected = Path::new(ROOT).join("gantrytest.slice/gantrytest-inner.slice").join(&scope);
    assert_eq!(cgroup_of(&container), expected);
    assert_eq!(property(&scope, "Slice"), "gantrytest-inner.slice");
}

#[test]
fn without_a_path_the_scope_is_in_the_system_slice() {
    require!(Need::Systemd, Need::CgroupV2);
    let runtime = runtime();
    let bundle = Bundle::new().sleeping();
    let bundle = bundle.edit(|c| drop(c["linux"].as_object_mut().unwrap().remove("cgroupsPath")));
    let container = runtime.running(&bundle);
    let expected = format!("system.slice/gantry-{}.scope", container.id());
    assert_eq!(cgroup_of(&container), Path::new(ROOT).join(expected));
}

#[test]
fn a_path_that_is_no_triple_is_refused() {
    require!(Need::Systemd, Need::CgroupV2);
    let runtime = runtime();
    for path in ["/absolute", "system.slice:gantry", "nosuch:gantry:x", "../up.slice:gantry:x"] {
        let bundle = Bundle::new().edit(|c| c["linux"]["cgroupsPath"] = json!(path));
        assert!(!runtime.container(&bundle).create().status.success(), "{path}");
        assert!(runtime.leftovers().is_empty(), "{path}");
    }
}

#[test]
fn update_changes_the_files_and_the_properties() {
    require!(Need::Systemd, Need::CgroupV2);
    let runtime = runtime();
    let (bundle, scope) = in_slice("system.slice");
    let bundle = bundle.sleeping();
    let container = runtime.running(&bundle);
    let dir = cgroup_of(&container);
    let update = |flag: &str, value: &str| drop(container.command("update", &[flag, value]).run().ok());
    update("--memory", "67108864");
    update("--pids-limit", "33");
    update("--cpu-quota", "50000");
    // The quota stays when the period alone changes.
    update("--cpu-period", "200000");
    for (file, value) in [("memory.max", "67108864"), ("pids.max", "33"), ("cpu.max", "50000 200000")] {
        assert_eq!(read(&dir, file), value, "{file}");
    }
    for (name, value) in [
        ("MemoryMax", "67108864"),
        ("TasksMax", "33"),
        ("CPUQuotaPerSecUSec", "250ms"),
        ("CPUQuotaPeriodUSec", "200ms"),
    ] {
        assert_eq!(property(&scope, name), value, "{name}");
    }
    Invocation::new("systemctl").args(["daemon-reload"]).run().ok();
    assert_eq!(read(&dir, "memory.max"), "67108864", "systemd knows it, too");
    assert_eq!(read(&dir, "cpu.max"), "50000 200000");
}

#[test]
fn rules_for_devices_outlive_a_reload() {
    require!(Need::Systemd, Need::CgroupV2);
    let runtime = runtime();
    let (bundle, _) = in_slice("system.slice");
    let bundle = bundle.sleeping().capabilities(&["CAP_MKNOD"]).writable().edit(|c| {
        c["linux"]["resources"]["devices"] = json!([{ "allow": false, "access": "rwm" }]);
    });
    let container = runtime.running(&bundle);
    // Nodes may be made, but not opened.
    container.sh("mknod /kmsg c 1 11");
    let denied = "cat /kmsg 2>/dev/null || echo denied; echo x >/dev/null && echo null";
    assert_eq!(container.sh(denied), "denied\nnull");
    Invocation::new("systemctl").args(["daemon-reload"]).run().ok();
    assert_eq!(container.sh(denied), "denied\nnull");
}

#[test]
fn a_container_that_cannot_be_made_leaves_no_scope() {
    require!(Need::Systemd, Need::CgroupV2);
    let runtime = runtime();
    let (bundle, scope) = in_slice("system.slice");
    let bundle = bundle.args(["/no/such/program"]);
    runtime.container(&bundle).create().fails();
    until_true("the scope to go", || property(&scope, "LoadState") == "not-found");
    assert!(!Path::new(ROOT).join("system.slice").join(&scope).exists());
    // The name is free at once.
    let bundle = bundle.sleeping();
    let container = runtime.running(&bundle);
    container.delete_force().ok();
}

#[test]
fn the_limit_of_memory_kills_in_a_scope() {
    require!(Need::Systemd, Need::CgroupV2);
    let runtime = runtime();
    let (bundle, _) = in_slice("system.slice");
    let bundle = bundle.args(["dd", "if=/dev/zero", "of=/dev/shm/big", "bs=1M", "count=60"]).edit(|c| {
        c["linux"]["resources"]["memory"] = json!({ "limit": 16_777_216, "swap": 16_777_216 });
    });
    runtime.run(&bundle).exits(137);
}

#[test]
fn the_payload_may_make_cgroups_in_its_scope() {
    require!(Need::Systemd, Need::CgroupV2);
    let runtime = runtime();
    let (bundle, _) = in_slice("system.slice");
    let bundle = bundle.userns().namespace("cgroup", None).sh("mkdir /sys/fs/cgroup/made && echo made");
    let bundle = bundle.edit(|c| {
        for mount in c["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/sys/fs/cgroup" {
                mount["options"] = json!(["nosuid", "noexec", "nodev", "relatime", "rw"]);
            }
        }
    });
    assert_eq!(runtime.run(&bundle).ok().text(), "made");
}

/// A bundle with crun's annotations for cgroups below its scope.
fn with_groups_below(bundle: Bundle) -> Bundle {
    bundle.namespace("cgroup", None).edit(|c| {
        c["annotations"] = json!({ "run.oci.systemd.subgroup": "box", "run.oci.delegate-cgroup": "payload" });
        c["linux"]["resources"]["pids"] = json!({ "limit": 42 });
        for mount in c["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/sys/fs/cgroup" {
                mount["options"] = json!(["nosuid", "noexec", "nodev", "relatime", "rw"]);
            }
        }
    })
}

#[test]
fn cgroups_below_the_scope_are_the_container_and_its_payload() {
    require!(Need::Ours, Need::Systemd, Need::CgroupV2);
    let runtime = runtime();
    let (bundle, scope) = in_slice("system.slice");
    let bundle = with_groups_below(bundle.userns().sleeping());
    let container = runtime.running(&bundle);
    let expected = Path::new(ROOT).join("system.slice").join(&scope).join("box/payload");
    assert_eq!(cgroup_of(&container), expected);
    let limited = expected.parent().unwrap();
    assert_eq!(read(limited, "pids.max"), "42");
    assert!(!expected.join("pids.max").exists(), "which controllers there are below is the payload's to say");
    assert_eq!(container.sh("cat /proc/1/cgroup; cat /sys/fs/cgroup/pids.max"), "0::/payload\n42");
    container.sh("mkdir /sys/fs/cgroup/payload/own && echo 1 >/sys/fs/cgroup/payload/own/cgroup.procs");
    container.command("update", &["--pids-limit", "40"]).run().ok();
    assert_eq!(read(limited, "pids.max"), "40");
    container.command("pause", &[]).run().ok();
    assert!(read(limited, "cgroup.events").contains("frozen 1"));
    container.command("resume", &[]).run().ok();
    container.delete_force().ok();
    until_true("the scope to go", || !limited.exists() && property(&scope, "LoadState") == "not-found");
}

#[test]
fn cgroups_below_the_scope_stay_below_it() {
    require!(Need::Ours, Need::Systemd, Need::CgroupV2);
    let runtime = runtime();
    for annotation in ["run.oci.systemd.subgroup", "run.oci.delegate-cgroup"] {
        for name in ["..", "../x", "a/b"] {
            let (bundle, _) = in_slice("system.slice");
            let bundle = bundle.edit(|c| c["annotations"] = json!({ annotation: name }));
            runtime.container(&bundle).create().fails();
            assert!(runtime.leftovers().is_empty(), "{annotation} {name}");
        }
    }
}

#[test]
fn an_ordinary_user_has_scopes_of_its_own_manager() {
    require!(Need::Systemd, Need::CgroupV2, Need::Root, Need::User);
    let user = User::find().unwrap();
    Invocation::new("systemctl").arg("start").arg(format!("user@{}.service", user.uid)).run().ok();
    let session = format!("/run/user/{}", user.uid);
    let runtime = Runtime::rootless(&user).with_globals(["--systemd-cgroup"]);
    let bundle = Bundle::rootless(&user).sleeping();
    let name = bundle.cgroup_parent().trim_start_matches('/').to_owned();
    let bundle = bundle.edit(|c| {
        c["linux"]["cgroupsPath"] = json!(format!("user.slice:gantry:{name}"));
        c["linux"]["resources"] = json!({ "pids": { "limit": 20 }, "memory": { "limit": 67_108_864 } });
    });
    let container = runtime.container(&bundle);
    let call = |call: Invocation| {
        call.env("XDG_RUNTIME_DIR", &session)
            .env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={session}/bus"))
            .run()
    };
    call(container.create_command(&[])).ok();
    call(container.command("start", &[])).ok();
    let dir = cgroup_of(&container);
    let shown = dir.display().to_string();
    assert!(shown.contains(&format!("/user@{}.service/", user.uid)), "{shown}");
    assert!(shown.ends_with(&format!("/user.slice/gantry-{name}.scope")), "{shown}");
    assert_eq!((read(&dir, "pids.max"), read(&dir, "memory.max")), ("20".into(), "67108864".into()));
    let exec = call(container.exec_command(&[], ["cat", "/proc/self/cgroup"])).ok();
    // By systemd, as the runtime is no neighbour of the scope.
    assert!(exec.text().ends_with(&format!("/user.slice/gantry-{name}.scope")), "{exec}");
    call(container.command("update", &["--pids-limit", "30"])).ok();
    assert_eq!(read(&dir, "pids.max"), "30");
    call(container.command("delete", &["--force"])).ok();
    until_true("the scope to go", || !dir.exists());
}
