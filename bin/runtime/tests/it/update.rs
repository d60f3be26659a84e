//! update: limits of a running container.

use gantry_testkit::{Bundle, Cgroups, Container, Need, Peer, Runtime, missing, require};
use serde_json::json;

/// A flag, and the file and value that it becomes on v1 and on v2.
type Flag = (
    &'static str,
    &'static str,
    (&'static str, &'static str, &'static str),
    (&'static str, &'static str, &'static str),
);

const FLAGS: [Flag; 8] = [
    (
        "--memory",
        "67108864",
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.max", "67108864"),
    ),
    (
        "--memory-reservation",
        "33554432",
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("memory", "memory.low", "33554432"),
    ),
    ("--cpu-share", "512", ("cpu", "cpu.shares", "512"), ("cpu", "", "")),
    ("--cpu-quota", "50000", ("cpu", "cpu.cfs_quota_us", "50000"), ("cpu", "cpu.max", "50000 100000")),
    ("--cpu-period", "90000", ("cpu", "cpu.cfs_period_us", "90000"), ("cpu", "cpu.max", "50000 90000")),
    ("--cpuset-cpus", "0", ("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.cpus", "0")),
    ("--cpuset-mems", "0", ("cpuset", "cpuset.mems", "0"), ("cpuset", "cpuset.mems", "0")),
    ("--pids-limit", "33", ("pids", "pids.max", "33"), ("pids", "pids.max", "33")),
];

#[track_caller]
fn check(container: &Container<'_>, controller: &str, file: &str, expected: &str) {
    if !file.is_empty() && missing(&[Need::Controller("memory")]).is_none() {
        let path = container.bundle().cgroup();
        assert_eq!(Cgroups::detect().read(controller, &path, file), expected, "{file}");
    }
}

#[test]
fn every_flag_changes_its_limit_and_no_other() {
    require!(Need::Controller("memory"), Need::Controller("cpu"), Need::Controller("pids"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let v2 = Cgroups::detect().is_v2();
    let mut done: Vec<&Flag> = Vec::new();
    for flag in &FLAGS {
        container.command("update", &[flag.0, flag.1]).run().ok();
        done.push(flag);
        for (_, _, one, two) in &done {
            let (controller, file, expected) = if v2 { *two } else { *one };
            // The quota stands in one file with the period that a later flag changes.
            if !(v2 && file == "cpu.max") {
                check(&container, controller, file, expected);
            }
        }
    }
    if v2 {
        check(&container, "cpu", "cpu.max", "50000 90000");
    }
}

#[test]
fn several_flags_at_once() {
    require!(Need::Controller("memory"), Need::Controller("cpu"), Need::Controller("pids"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let mut call = runtime.command(["update"]);
    for (flag, value, ..) in FLAGS {
        call = call.args([flag, value]);
    }
    call.arg(container.id()).run().ok();
    let v2 = Cgroups::detect().is_v2();
    for (_, _, one, two) in &FLAGS {
        let (controller, file, expected) = if v2 { *two } else { *one };
        if file != "cpu.max" {
            check(&container, controller, file, expected);
        }
    }
}

#[test]
fn resources_come_from_standard_input_and_from_a_file() {
    require!(Need::Controller("memory"), Need::Controller("pids"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let resources = json!({
        "memory": { "limit": 67_108_864, "reservation": 0, "swap": 0 },
        "cpu": { "shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": "" },
        "pids": { "limit": 44 },
        "blockIO": { "weight": 0 },
    });
    container.command("update", &["--resources", "-"]).stdin(resources.to_string()).run().ok();
    let v2 = Cgroups::detect().is_v2();
    check(&container, "memory", if v2 { "memory.max" } else { "memory.limit_in_bytes" }, "67108864");
    check(&container, "pids", "pids.max", "44");
    let file = runtime.scratch().join("resources.json");
    std::fs::write(&file, json!({ "pids": { "limit": 55 } }).to_string()).unwrap();
    container.command("update", &["-r", file.to_str().unwrap()]).run().ok();
    check(&container, "pids", "pids.max", "55");
    check(&container, "memory", if v2 { "memory.max" } else { "memory.limit_in_bytes" }, "67108864");
}

#[test]
fn limits_can_be_lifted() {
    require!(Need::Controller("memory"), Need::Controller("pids"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping().edit(|c| {
        c["linux"]["resources"]["memory"] = json!({ "limit": 67_108_864, "swap": 67_108_864 });
        c["linux"]["resources"]["pids"] = json!({ "limit": 10 });
        c["linux"]["resources"]["cpu"] = json!({ "quota": 50_000 });
    });
    let container = runtime.running(&bundle);
    let flags = ["--memory", "-1", "--memory-swap", "-1", "--pids-limit", "-1", "--cpu-quota", "-1"];
    container.command("update", &flags).run().ok();
    check(&container, "pids", "pids.max", "max");
    if Cgroups::detect().is_v2() {
        check(&container, "memory", "memory.max", "max");
        check(&container, "cpu", "cpu.max", "max 100000");
    } else {
        check(&container, "memory", "memory.limit_in_bytes", "9223372036854771712");
        check(&container, "memory", "memory.memsw.limit_in_bytes", "9223372036854771712");
        check(&container, "cpu", "cpu.cfs_quota_us", "-1");
    }
}

#[test]
fn memory_and_swap_change_together_in_either_direction() {
    require!(Need::CgroupV1, Need::Controller("memory"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping().edit(|c| {
        c["linux"]["resources"]["memory"] = json!({ "limit": 67_108_864, "swap": 67_108_864 });
    });
    let container = runtime.running(&bundle);
    for size in ["134217728", "33554432"] {
        // The kernel refuses a limit above that with swap: the order of the two writes must fit.
        container.command("update", &["--memory", size, "--memory-swap", size]).run().ok();
        check(&container, "memory", "memory.limit_in_bytes", size);
        check(&container, "memory", "memory.memsw.limit_in_bytes", size);
    }
}

#[test]
fn sizes_may_have_units() {
    require!(Need::Controller("memory"), Need::Not(Peer::Crun, "takes bytes"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    container.command("update", &["--memory", "100M"]).run().ok();
    let file = if Cgroups::detect().is_v2() { "memory.max" } else { "memory.limit_in_bytes" };
    check(&container, "memory", file, "104857600");
}

#[test]
fn burst_and_idle_can_be_changed() {
    require!(Need::Runc(1, 2), Need::Controller("cpu"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let flags = ["--cpu-quota", "50000", "--cpu-period", "100000", "--cpu-burst", "20000"];
    container.command("update", &flags).run().ok();
    let file = if Cgroups::detect().is_v2() { "cpu.max.burst" } else { "cpu.cfs_burst_us" };
    check(&container, "cpu", file, "20000");
    container.command("update", &["--cpu-idle", "1"]).run().ok();
    check(&container, "cpu", "cpu.idle", "1");
}

#[test]
fn an_update_of_a_created_container_works() {
    require!(Need::Controller("pids"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.created(&bundle);
    container.command("update", &["--pids-limit", "20"]).run().ok();
    check(&container, "pids", "pids.max", "20");
    container.start().ok();
    check(&container, "pids", "pids.max", "20");
}

#[test]
fn an_update_keeps_the_rules_for_devices() {
    require!(Need::Controller("pids"));
    let runtime = Runtime::new();
    let bundle = Bundle::docker().sleeping();
    let container = runtime.running(&bundle);
    container.command("update", &["--pids-limit", "20"]).run().ok();
    container.exec(&[], ["sh", "-c", "mknod /x c 1 11 && cat /x"]).fails().says("not permitted");
    assert_eq!(container.sh("echo x >/dev/null && echo fine"), "fine");
}

#[test]
fn a_paused_container_stays_paused_by_an_update() {
    require!(Need::Controller("pids"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    container.command("pause", &[]).run().ok();
    container.command("update", &["--pids-limit", "20"]).run().ok();
    assert_eq!(container.status(), "paused");
    container.command("resume", &[]).run().ok();
}

#[test]
fn impossible_values_are_refused() {
    require!(Need::Controller("memory"), Need::Controller("cpuset"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    for flags in [["--memory", "x"], ["--cpuset-cpus", "4000"], ["--cpu-quota", "x"], ["--pids-limit", "x"]] {
        let output = container.command("update", &flags).run();
        assert!(!output.status.success(), "{flags:?}");
    }
    container.command("update", &["--resources", "-"]).stdin("{").run().fails();
    container.command("update", &["--resources", "/no/such/file"]).run().fails();
    assert_eq!(container.status(), "running");
}
