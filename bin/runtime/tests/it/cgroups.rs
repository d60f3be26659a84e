//! Where the container's cgroups are, and who is in them.

use std::fs;

use gantry_testkit::{Bundle, Cgroups, Need, Runtime, require, until_true};
use serde_json::json;

#[test]
fn the_container_is_in_its_cgroup_in_every_hierarchy() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let cgroups = Cgroups::detect();
    let dirs = cgroups.dirs(&bundle.cgroup());
    assert!(!dirs.is_empty());
    for dir in dirs {
        let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        assert_eq!(procs.trim(), container.pid().to_string(), "{}", dir.display());
    }
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    // A host that shows the unified hierarchy alone may have others mounted elsewhere.
    let seen = |line: &&str| !line.contains("hugetlb") && (!cgroups.is_v2() || line.starts_with("0::"));
    for line in own.lines().filter(seen) {
        assert!(line.ends_with(&bundle.cgroup()) || line == "0::/", "{own}");
    }
}

#[test]
fn the_cgroups_are_gone_after_deletion() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    assert!(!Cgroups::detect().dirs(&bundle.cgroup()).is_empty());
    container.delete_force().ok();
    assert_eq!(Cgroups::detect().dirs(&bundle.cgroup()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn cgroups_that_the_container_made_inside_are_deleted_with_it() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    for dir in Cgroups::detect().dirs(&bundle.cgroup()) {
        fs::create_dir_all(dir.join("a/b/c")).unwrap();
        fs::create_dir_all(dir.join("d")).unwrap();
    }
    container.delete_force().ok();
    assert_eq!(Cgroups::detect().dirs(&bundle.cgroup()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_runtime_itself_is_never_in_the_cgroup() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("sleep 1000");
    let container = runtime.container(&bundle);
    let running = runtime.run_named(&bundle, container.id(), &[]).spawn();
    until_true("the container to run", || container.command("state", &[]).run().status.success());
    container.wait_for("running");
    let own = fs::read_to_string(format!("/proc/{}/cgroup", running.pid())).unwrap();
    assert!(!own.contains(bundle.cgroup_parent()), "{own}");
    container.kill("KILL").ok();
    running.wait().exits(137);
}

#[test]
fn without_a_path_the_cgroup_is_named_after_the_container() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping().edit(|c| {
        c["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    });
    let container = runtime.running(&bundle);
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert!(own.lines().any(|line| line.ends_with(&format!("/{}", container.id()))), "{own}");
}

#[test]
fn a_relative_path_is_below_a_place_that_the_runtime_chooses_always_the_same() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let relative = format!("{}/relative", bundle.cgroup_parent().trim_start_matches('/'));
    let bundle = bundle.edit(|c| c["linux"]["cgroupsPath"] = json!(relative));
    let container = runtime.running(&bundle);
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert!(own.lines().any(|line| line.ends_with(&relative)), "{own}");
    container.delete_force().ok();
}

#[test]
fn dots_in_the_path_stay_below_the_root() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let path = format!("/../../..{}/dots", bundle.cgroup_parent());
    let bundle = bundle.edit(|c| c["linux"]["cgroupsPath"] = json!(path));
    let container = runtime.container(&bundle);
    let output = container.create();
    if output.status.success() {
        let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
        assert!(!own.contains(".."), "{own}");
    }
}

#[test]
fn a_cgroup_with_processes_is_not_taken_over() {
    require!(Need::Runc(1, 2));
    let runtime = Runtime::new();
    let first = Bundle::new().sleeping();
    let _container = runtime.running(&first);
    let path = first.cgroup();
    let second = Bundle::new().edit(|c| c["linux"]["cgroupsPath"] = json!(path));
    let container = runtime.container(&second);
    let output = container.create();
    if output.status.success() {
        // runc only warns on v1 and before 1.2: then the first must survive the second's deletion.
        container.delete_force().ok();
    }
    assert!(!Cgroups::detect().processes(&first.cgroup()).is_empty());
}

#[test]
fn an_existing_empty_cgroup_is_used() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let root = if Cgroups::detect().is_v2() { "" } else { "pids" };
    let dir = Cgroups::detect().file(root, &bundle.cgroup(), "");
    fs::create_dir_all(&dir).unwrap();
    let container = runtime.running(&bundle);
    let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap();
    assert_eq!(procs.trim(), container.pid().to_string());
}

#[test]
fn the_payload_can_make_cgroups_when_they_are_delegated() {
    require!(Need::CgroupV2);
    let runtime = Runtime::new();
    let bundle =
        Bundle::new().userns().namespace("cgroup", None).sh("mkdir /sys/fs/cgroup/made && echo made");
    let bundle = bundle.edit(|c| {
        for mount in c["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/sys/fs/cgroup" {
                mount["options"] = json!(["nosuid", "noexec", "nodev", "relatime", "rw"]);
            }
        }
    });
    assert_eq!(runtime.run(&bundle).ok().text(), "made");
}

#[test]
fn the_cgroup_of_a_user_namespace_is_not_given_away_when_it_is_mounted_read_only() {
    require!(Need::CgroupV2);
    let runtime = Runtime::new();
    let bundle =
        Bundle::new().userns().namespace("cgroup", None).sh("! mkdir /sys/fs/cgroup/made 2>/dev/null");
    runtime.run(&bundle).ok();
}

#[test]
fn the_systemd_driver_makes_a_scope() {
    require!(Need::Systemd, Need::CgroupV2);
    let runtime = Runtime::new().with_globals(["--systemd-cgroup"]);
    let bundle = Bundle::new().sleeping();
    let name = bundle.cgroup_parent().trim_start_matches('/').to_owned();
    let bundle = bundle.edit(|c| {
        c["linux"]["cgroupsPath"] = json!(format!("system.slice:gantry:{name}"));
        c["linux"]["resources"]["pids"] = json!({ "limit": 42 });
    });
    let container = runtime.running(&bundle);
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert_eq!(own.trim(), format!("0::/system.slice/gantry-{name}.scope"));
    let dir = format!("/sys/fs/cgroup/system.slice/gantry-{name}.scope");
    assert_eq!(fs::read_to_string(format!("{dir}/pids.max")).unwrap().trim(), "42");
    let output = gantry_testkit::Invocation::new("systemctl")
        .args(["show", "--property", "TasksMax,Delegate", &format!("gantry-{name}.scope")])
        .run()
        .ok();
    assert!(output.stdout.contains("TasksMax=42") && output.stdout.contains("Delegate=yes"), "{output}");
    container.delete_force().ok();
    until_true("the scope to go", || !std::path::Path::new(&dir).exists());
}

#[test]
fn properties_of_the_systemd_unit_come_from_annotations() {
    require!(Need::Systemd, Need::CgroupV2);
    let runtime = Runtime::new().with_globals(["--systemd-cgroup"]);
    let bundle = Bundle::new().sleeping();
    let name = bundle.cgroup_parent().trim_start_matches('/').to_owned();
    let bundle = bundle.edit(|c| {
        c["linux"]["cgroupsPath"] = json!(format!("system.slice:gantry:{name}"));
        c["annotations"] = json!({ "org.systemd.property.TimeoutStopUSec": "uint64 123456789" });
    });
    let _container = runtime.running(&bundle);
    let unit = format!("gantry-{name}.scope");
    let call =
        gantry_testkit::Invocation::new("systemctl").args(["show", "--property", "TimeoutStopUSec", &unit]);
    assert!(call.run().ok().stdout.contains("2min 3.456789s"));
}
