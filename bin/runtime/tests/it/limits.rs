//! Every resource of the configuration, read back from the cgroup; and that the limits limit.

use gantry_testkit::{Bundle, Cgroups, Need, Runtime, missing, require, skip, skip_test};
use serde_json::{Value, json};

/// One resource: what the configuration says, and the file and value that it becomes.
struct Limit {
    name: &'static str,
    resources: Value,
    v1: Option<(&'static str, &'static str, &'static str)>,
    v2: Option<(&'static str, &'static str, &'static str)>,
}

fn limit(
    name: &'static str,
    resources: Value,
    v1: Option<(&'static str, &'static str, &'static str)>,
    v2: Option<(&'static str, &'static str, &'static str)>,
) -> Limit {
    Limit { name, resources, v1, v2 }
}

fn memory() -> Vec<Limit> {
    vec![
        limit(
            "memory limit",
            json!({ "memory": { "limit": 67_108_864 } }),
            Some(("memory", "memory.limit_in_bytes", "67108864")),
            Some(("memory", "memory.max", "67108864")),
        ),
        limit(
            "memory reservation",
            json!({ "memory": { "limit": 67_108_864, "reservation": 33_554_432 } }),
            Some(("memory", "memory.soft_limit_in_bytes", "33554432")),
            Some(("memory", "memory.low", "33554432")),
        ),
        limit(
            "memory and swap",
            json!({ "memory": { "limit": 67_108_864, "swap": 100_663_296 } }),
            Some(("memory", "memory.memsw.limit_in_bytes", "100663296")),
            // The two are counted together in the configuration, and apart in v2.
            Some(("memory", "memory.swap.max", "33554432")),
        ),
        limit(
            "no swap",
            json!({ "memory": { "limit": 67_108_864, "swap": 67_108_864 } }),
            Some(("memory", "memory.memsw.limit_in_bytes", "67108864")),
            Some(("memory", "memory.swap.max", "0")),
        ),
        limit(
            "unlimited memory",
            json!({ "memory": { "limit": -1 } }),
            Some(("memory", "memory.limit_in_bytes", "9223372036854771712")),
            Some(("memory", "memory.max", "max")),
        ),
        limit(
            "swappiness",
            json!({ "memory": { "swappiness": 33 } }),
            Some(("memory", "memory.swappiness", "33")),
            None,
        ),
        limit(
            "no out-of-memory killer",
            json!({ "memory": { "limit": 67_108_864, "disableOOMKiller": true } }),
            Some(("memory", "memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0")),
            None,
        ),
    ]
}

fn cpu() -> Vec<Limit> {
    vec![
        limit("cpu shares", json!({ "cpu": { "shares": 512 } }), Some(("cpu", "cpu.shares", "512")), None),
        limit(
            "cpu quota",
            json!({ "cpu": { "quota": 30_000, "period": 60_000 } }),
            Some(("cpu", "cpu.cfs_quota_us", "30000")),
            Some(("cpu", "cpu.max", "30000 60000")),
        ),
        limit(
            "cpu period",
            json!({ "cpu": { "quota": 30_000, "period": 60_000 } }),
            Some(("cpu", "cpu.cfs_period_us", "60000")),
            Some(("cpu", "cpu.max", "30000 60000")),
        ),
        limit(
            "a period alone",
            json!({ "cpu": { "period": 60_000 } }),
            Some(("cpu", "cpu.cfs_period_us", "60000")),
            Some(("cpu", "cpu.max", "max 60000")),
        ),
        limit(
            "a quota alone",
            json!({ "cpu": { "quota": 30_000 } }),
            Some(("cpu", "cpu.cfs_quota_us", "30000")),
            Some(("cpu", "cpu.max", "30000 100000")),
        ),
        limit(
            "cpus",
            json!({ "cpu": { "cpus": "0" } }),
            Some(("cpuset", "cpuset.cpus", "0")),
            Some(("cpuset", "cpuset.cpus", "0")),
        ),
        limit(
            "memory nodes",
            json!({ "cpu": { "mems": "0" } }),
            Some(("cpuset", "cpuset.mems", "0")),
            Some(("cpuset", "cpuset.mems", "0")),
        ),
    ]
}

fn other() -> Vec<Limit> {
    vec![
        limit(
            "pids",
            json!({ "pids": { "limit": 42 } }),
            Some(("pids", "pids.max", "42")),
            Some(("pids", "pids.max", "42")),
        ),
        limit(
            "unlimited pids",
            json!({ "pids": { "limit": -1 } }),
            Some(("pids", "pids.max", "max")),
            Some(("pids", "pids.max", "max")),
        ),
        limit(
            "huge pages",
            json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }] }),
            Some(("hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304")),
            Some(("hugetlb", "hugetlb.2MB.max", "4194304")),
        ),
    ]
}

/// Checks each limit that the host has the controller for, and counts the others as skipped.
#[track_caller]
fn check(limits: Vec<Limit>) {
    let cgroups = Cgroups::detect();
    let runtime = Runtime::new();
    for limit in limits {
        let Some((controller, file, expected)) = (if cgroups.is_v2() { limit.v2 } else { limit.v1 }) else {
            continue;
        };
        if let Some(reason) = missing(&[Need::Controller(controller)]) {
            skip(&format!("limit of {}", limit.name), &reason);
            continue;
        }
        let bundle = Bundle::new().sleeping().edit(|c| {
            let resources = c["linux"]["resources"].as_object_mut().unwrap();
            resources.extend(limit.resources.as_object().unwrap().clone());
        });
        let container = runtime.running(&bundle);
        assert_eq!(cgroups.read(controller, &bundle.cgroup(), file), expected, "{}", limit.name);
        drop(container);
    }
}

#[test]
fn limits_of_memory_are_set() {
    check(memory());
}

#[test]
fn limits_of_processors_are_set() {
    check(cpu());
}

#[test]
fn limits_of_pids_and_huge_pages_are_set() {
    check(other());
}

#[test]
fn limits_of_newer_runtimes_are_set() {
    require!(Need::Runc(1, 2));
    check(vec![
        limit(
            "cpu burst",
            json!({ "cpu": { "quota": 30_000, "period": 60_000, "burst": 10_000 } }),
            Some(("cpu", "cpu.cfs_burst_us", "10000")),
            Some(("cpu", "cpu.max.burst", "10000")),
        ),
        limit(
            "cpu idle",
            json!({ "cpu": { "idle": 1 } }),
            Some(("cpu", "cpu.idle", "1")),
            Some(("cpu", "cpu.idle", "1")),
        ),
    ]);
}

#[test]
fn cpu_shares_become_a_weight_on_v2() {
    require!(Need::CgroupV2, Need::Controller("cpu"));
    let runtime = Runtime::new();
    for (shares, weights) in [(2, ["1", "1"]), (1024, ["39", "100"]), (262_144, ["10000", "10000"])] {
        let bundle =
            Bundle::new().sleeping().edit(|c| c["linux"]["resources"]["cpu"] = json!({ "shares": shares }));
        let _container = runtime.running(&bundle);
        let weight = Cgroups::detect().read("cpu", &bundle.cgroup(), "cpu.weight");
        // The formula changed in 2025: 1024 was 39 and is 100, the kernel's own default.
        assert!(weights.contains(&weight.as_str()), "{shares}: {weight}");
    }
}

#[test]
fn block_throttles_are_set() {
    require!(Need::Controller(if Cgroups::detect().is_v2() { "io" } else { "blkio" }));
    let runtime = Runtime::new();
    let Some((major, minor)) = a_disk() else {
        skip_test!("the host has no disk");
    };
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let bundle = Bundle::new().sleeping().edit(|c| {
        c["linux"]["resources"]["blockIO"] = json!({
            "throttleReadBpsDevice": rate(1_048_576), "throttleWriteBpsDevice": rate(2_097_152),
            "throttleReadIOPSDevice": rate(300), "throttleWriteIOPSDevice": rate(400),
        });
    });
    let _container = runtime.running(&bundle);
    let cgroups = Cgroups::detect();
    let device = format!("{major}:{minor}");
    if cgroups.is_v2() {
        let text = cgroups.read("io", &bundle.cgroup(), "io.max");
        for part in [device.as_str(), "rbps=1048576", "wbps=2097152", "riops=300", "wiops=400"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        return;
    }
    for (file, value) in [
        ("blkio.throttle.read_bps_device", 1_048_576),
        ("blkio.throttle.write_bps_device", 2_097_152),
        ("blkio.throttle.read_iops_device", 300),
        ("blkio.throttle.write_iops_device", 400),
    ] {
        assert_eq!(cgroups.read("blkio", &bundle.cgroup(), file), format!("{device} {value}"), "{file}");
    }
}

/// The first whole disk of the host.
fn a_disk() -> Option<(u32, u32)> {
    for entry in std::fs::read_dir("/sys/block").ok()?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["loop", "zram", "ram", "dm-"].iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let text = std::fs::read_to_string(entry.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        return Some((major.parse().ok()?, minor.parse().ok()?));
    }
    None
}

#[test]
fn realtime_limits_are_set_where_the_parents_allow_them() {
    require!(Need::CgroupV1, Need::Controller("cpu"), Need::File("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    // A new cgroup has no realtime budget, and its parent must have one before it.
    let parent = Cgroups::detect().file("cpu", bundle.cgroup_parent(), "cpu.rt_runtime_us");
    std::fs::create_dir_all(parent.parent().unwrap()).unwrap();
    if std::fs::write(&parent, "20000").is_err() {
        skip_test!("other cgroups of the host hold all realtime budget");
    }
    let bundle = bundle.edit(|c| {
        c["linux"]["resources"]["cpu"] = json!({ "realtimeRuntime": 9000, "realtimePeriod": 900_000 });
    });
    let container = runtime.running(&bundle);
    let cgroups = Cgroups::detect();
    assert_eq!(cgroups.read("cpu", &bundle.cgroup(), "cpu.rt_runtime_us"), "9000");
    assert_eq!(cgroups.read("cpu", &bundle.cgroup(), "cpu.rt_period_us"), "900000");
    drop(container);
}

#[test]
fn network_classes_are_set_on_v1() {
    require!(Need::CgroupV1, Need::Controller("net_cls"));
    let runtime = Runtime::new();
    let bundle = Bundle::new()
        .sleeping()
        .edit(|c| c["linux"]["resources"]["network"] = json!({ "classID": 1_048_577 }));
    let _container = runtime.running(&bundle);
    assert_eq!(Cgroups::detect().read("net_cls", &bundle.cgroup(), "net_cls.classid"), "1048577");
}

#[test]
fn the_unified_map_is_written_on_v2() {
    require!(Need::CgroupV2, Need::Controller("pids"), Need::Controller("memory"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping().edit(|c| {
        c["linux"]["resources"]["pids"] = json!({ "limit": 10 });
        c["linux"]["resources"]["unified"] = json!({ "memory.high": "20971520", "pids.max": "99" });
    });
    let _container = runtime.running(&bundle);
    let cgroups = Cgroups::detect();
    assert_eq!(cgroups.read("memory", &bundle.cgroup(), "memory.high"), "20971520");
    assert_eq!(cgroups.read("pids", &bundle.cgroup(), "pids.max"), "99", "it wins over the other fields");
}

#[test]
fn the_unified_map_is_refused_on_v1() {
    require!(Need::CgroupV1);
    let runtime = Runtime::new();
    let bundle =
        Bundle::new().edit(|c| c["linux"]["resources"]["unified"] = json!({ "memory.high": "20971520" }));
    runtime.container(&bundle).create().fails();
}

#[test]
fn unified_keys_that_are_no_files_are_refused() {
    require!(Need::CgroupV2);
    let runtime = Runtime::new();
    for key in ["../cgroup.procs", "memory/../x", "no.such.file", "", "cgroup.procs\n"] {
        let bundle = Bundle::new().edit(|c| c["linux"]["resources"]["unified"] = json!({ key: "1" }));
        let output = runtime.container(&bundle).create();
        assert!(!output.status.success(), "{key}");
    }
}

#[test]
fn impossible_limits_are_refused_and_leave_nothing() {
    let runtime = Runtime::new();
    let mut impossible = vec![
        ("cpu", json!({ "cpus": "4000" })),
        ("cpu", json!({ "cpus": "x" })),
        ("hugepageLimits", json!([{ "pageSize": "3MB", "limit": 1 }])),
    ];
    if missing(&[Need::Controller("memory")]).is_none() {
        impossible.push(("memory", json!({ "limit": 67_108_864, "swap": 1024 })));
        impossible.push(("memory", json!({ "limit": 1024, "reservation": 0, "swap": -2 })));
    }
    for (name, value) in impossible {
        let needs = match name {
            "cpu" => "cpuset",
            "memory" => "memory",
            _ => "hugetlb",
        };
        if missing(&[Need::Controller(needs)]).is_some() {
            continue;
        }
        let bundle = Bundle::new().edit(|c| c["linux"]["resources"][name] = value.clone());
        let output = runtime.container(&bundle).create();
        assert!(!output.status.success() || value["swap"] == -2, "{value}");
        let _ = runtime.command(["delete", "--force", "x"]).run();
    }
}

#[test]
fn the_memory_limit_kills_and_the_exit_code_says_so() {
    require!(Need::Controller("memory"));
    let runtime = Runtime::new();
    let bundle =
        Bundle::new().args(["dd", "if=/dev/zero", "of=/dev/shm/big", "bs=1M", "count=60"]).edit(|c| {
            c["linux"]["resources"]["memory"] = json!({ "limit": 16_777_216, "swap": 16_777_216 });
        });
    // tmpfs counts as the container's memory.
    runtime.run(&bundle).exits(137);
}

#[test]
fn the_pids_limit_stops_forks() {
    require!(Need::Controller("pids"));
    let runtime = Runtime::new();
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; wait";
    let bundle = Bundle::new().sh(script).edit(|c| c["linux"]["resources"]["pids"] = json!({ "limit": 5 }));
    let output = runtime.run(&bundle).fails();
    output.says_any(&["can't fork", "resource temporarily unavailable"]);
}

#[test]
fn the_container_runs_on_its_cpus() {
    require!(Need::Controller("cpuset"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["grep", "Cpus_allowed_list", "/proc/self/status"]);
    let bundle = bundle.edit(|c| c["linux"]["resources"]["cpu"] = json!({ "cpus": "0" }));
    assert!(runtime.run(&bundle).ok().text().ends_with("\t0"));
}

#[test]
fn limits_are_there_before_the_program_starts() {
    require!(Need::Controller("pids"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().edit(|c| c["linux"]["resources"]["pids"] = json!({ "limit": 42 }));
    let _container = runtime.created(&bundle);
    assert_eq!(Cgroups::detect().read("pids", &bundle.cgroup(), "pids.max"), "42");
}
