//! Every field of `linux.resources`, written and read back from the kernel.

use gantry_cgroup::{Controller, LimitError, Phase};
use gantry_types::oci::Resources;

use crate::harness::{Outcome, Scratch, Test, hierarchy, is_v2, resources, test};
use crate::skip;

/// A field, the resources that set it, and the files that then hold it.
struct Case {
    name: &'static str,
    json: &'static str,
    v1: &'static [(Controller, &'static str, &'static str)],
    v2: &'static [(&'static str, &'static str)],
}

use Controller::{Blkio, Cpu, Cpuset, Hugetlb, Memory, NetCls, NetPrio, Pids, Rdma};

const CASES: &[Case] = &[
    Case {
        name: "pids.limit",
        json: r#"{"pids":{"limit":42}}"#,
        v1: &[(Pids, "pids.max", "42")],
        v2: &[("pids.max", "42")],
    },
    Case {
        name: "pids.limit=0",
        json: r#"{"pids":{"limit":0}}"#,
        v1: &[(Pids, "pids.max", "1")],
        v2: &[("pids.max", "1")],
    },
    Case {
        name: "pids.limit=-1",
        json: r#"{"pids":{"limit":-1}}"#,
        v1: &[(Pids, "pids.max", "max")],
        v2: &[("pids.max", "max")],
    },
    Case {
        name: "memory.limit",
        json: r#"{"memory":{"limit":67108864}}"#,
        v1: &[(Memory, "memory.limit_in_bytes", "67108864")],
        v2: &[("memory.max", "67108864")],
    },
    Case {
        name: "memory.limit=-1",
        json: r#"{"memory":{"limit":-1}}"#,
        v1: &[(Memory, "memory.limit_in_bytes", "9223372036854771712")],
        v2: &[("memory.max", "max"), ("memory.swap.max", "max")],
    },
    Case {
        name: "memory.swap",
        json: r#"{"memory":{"limit":67108864,"swap":100663296}}"#,
        v1: &[(Memory, "memory.memsw.limit_in_bytes", "100663296")],
        v2: &[("memory.max", "67108864"), ("memory.swap.max", "33554432")],
    },
    Case {
        name: "memory.swap=limit",
        json: r#"{"memory":{"limit":67108864,"swap":67108864}}"#,
        v1: &[(Memory, "memory.memsw.limit_in_bytes", "67108864")],
        v2: &[("memory.swap.max", "0")],
    },
    Case {
        name: "memory.reservation",
        json: r#"{"memory":{"reservation":33554432}}"#,
        v1: &[(Memory, "memory.soft_limit_in_bytes", "33554432")],
        v2: &[("memory.low", "33554432")],
    },
    Case {
        name: "memory.kernelTCP",
        json: r#"{"memory":{"kernelTCP":8388608}}"#,
        v1: &[(Memory, "memory.kmem.tcp.limit_in_bytes", "8388608")],
        v2: &[],
    },
    Case {
        name: "memory.swappiness",
        json: r#"{"memory":{"swappiness":17}}"#,
        v1: &[(Memory, "memory.swappiness", "17")],
        v2: &[],
    },
    Case {
        name: "memory.disableOOMKiller",
        json: r#"{"memory":{"disableOOMKiller":true}}"#,
        v1: &[(Memory, "memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0")],
        v2: &[],
    },
    Case {
        name: "cpu.shares",
        json: r#"{"cpu":{"shares":512}}"#,
        v1: &[(Cpu, "cpu.shares", "512")],
        v2: &[("cpu.weight", "59")],
    },
    Case {
        name: "cpu.quota,period",
        json: r#"{"cpu":{"quota":25000,"period":50000}}"#,
        v1: &[(Cpu, "cpu.cfs_quota_us", "25000"), (Cpu, "cpu.cfs_period_us", "50000")],
        v2: &[("cpu.max", "25000 50000")],
    },
    Case {
        name: "cpu.quota",
        json: r#"{"cpu":{"quota":25000}}"#,
        v1: &[(Cpu, "cpu.cfs_quota_us", "25000")],
        v2: &[("cpu.max", "25000 100000")],
    },
    Case {
        name: "cpu.quota=-1",
        json: r#"{"cpu":{"quota":-1,"period":200000}}"#,
        v1: &[(Cpu, "cpu.cfs_quota_us", "-1"), (Cpu, "cpu.cfs_period_us", "200000")],
        v2: &[("cpu.max", "max 200000")],
    },
    Case {
        name: "cpu.burst",
        json: r#"{"cpu":{"quota":50000,"burst":20000}}"#,
        v1: &[(Cpu, "cpu.cfs_burst_us", "20000")],
        v2: &[("cpu.max.burst", "20000")],
    },
    Case {
        name: "cpu.idle",
        json: r#"{"cpu":{"idle":1}}"#,
        v1: &[(Cpu, "cpu.idle", "1")],
        v2: &[("cpu.idle", "1")],
    },
    Case {
        name: "cpu.cpus,mems",
        json: r#"{"cpu":{"cpus":"0","mems":"0"}}"#,
        v1: &[(Cpuset, "cpuset.cpus", "0"), (Cpuset, "cpuset.mems", "0")],
        v2: &[("cpuset.cpus", "0"), ("cpuset.mems", "0")],
    },
    Case {
        name: "blockIO.weight",
        json: r#"{"blockIO":{"weight":500}}"#,
        v1: &[(Blkio, "blkio.bfq.weight", "500")],
        v2: &[],
    },
    Case {
        name: "blockIO.leafWeight",
        json: r#"{"blockIO":{"leafWeight":300}}"#,
        v1: &[(Blkio, "blkio.leaf_weight", "300")],
        v2: &[],
    },
    Case {
        name: "hugepageLimits",
        json: r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
        v1: &[(Hugetlb, "hugetlb.2MB.limit_in_bytes", "4194304")],
        v2: &[("hugetlb.2MB.max", "4194304"), ("hugetlb.2MB.rsvd.max", "4194304")],
    },
    Case {
        name: "network.classID",
        json: r#"{"network":{"classID":1048577}}"#,
        v1: &[(NetCls, "net_cls.classid", "1048577")],
        v2: &[],
    },
    Case {
        name: "network.priorities",
        json: r#"{"network":{"priorities":[{"name":"lo","priority":5}]}}"#,
        v1: &[(NetPrio, "net_prio.ifpriomap", "lo 5")],
        v2: &[],
    },
    Case {
        name: "rdma",
        json: r#"{"rdma":{"mlx5_0":{"hcaHandles":3,"hcaObjects":10000}}}"#,
        v1: &[(Rdma, "rdma.max", "mlx5_0 hca_handle=3 hca_object=10000")],
        v2: &[("rdma.max", "mlx5_0 hca_handle=3 hca_object=10000")],
    },
    Case {
        name: "unified",
        json: r#"{"unified":{"memory.high":"50331648","pids.max":"7","cpu.weight":"33","memory.oom.group":"1"}}"#,
        v1: &[],
        v2: &[
            ("memory.high", "50331648"),
            ("pids.max", "7"),
            ("cpu.weight", "33"),
            ("memory.oom.group", "1"),
        ],
    },
];

pub(crate) fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> =
        CASES.iter().map(|case| test(format!("limits::{}", case.name), || run(case))).collect();
    tests
        .extend(CASES.iter().map(|case| test(format!("limits::systemd::{}", case.name), || run_scope(case))));
    tests.extend([
        test("limits::blockIO.weight_on_v2", weight_on_v2),
        test("limits::blockIO.throttle", throttle),
        test("limits::blockIO.weightDevice", weight_device),
        test("limits::cpu.realtime", realtime),
        test("limits::memory_and_swap_move_in_both_directions", memory_and_swap_move_in_both_directions),
        test("limits::check_before_update_refuses_what_would_kill", check_before_update),
        test("limits::bandwidth_can_be_updated_in_any_direction", bandwidth),
        test("limits::refusals_name_the_field", refusals_name_the_field),
        test("limits::missing_controllers_are_named", missing_controllers_are_named),
    ]);
    tests
}

fn apply(scratch: &Scratch, resources: &Resources) -> Result<(), LimitError> {
    scratch.cgroup.apply(resources, Phase::BeforeClone)?;
    scratch.cgroup.apply(resources, Phase::DuringSetup)?;
    scratch.cgroup.apply(resources, Phase::BeforeStart)
}

fn run(case: &Case) -> Outcome {
    let resources = resources(case.json);
    let scratch = Scratch::new(&resources);
    if let Some(reason) = missing(case, &scratch) {
        skip!("{reason}");
    }
    match apply(&scratch, &resources) {
        Err(error) if case.name == "rdma" => skip!("no RDMA device: {error}"),
        result => result.unwrap(),
    }
    check(case, &scratch);
    Outcome::Passed
}

/// The same with systemd, which must not undo it when it is reloaded.
fn run_scope(case: &Case) -> Outcome {
    if !crate::systemd::is_running() {
        skip!("systemd does not run");
    }
    let resources = resources(case.json);
    let scratch = Scratch::scope(&resources, |_| {}).unwrap();
    if let Some(reason) = missing(case, &scratch) {
        skip!("{reason}");
    }
    match apply(&scratch, &resources) {
        Err(error) if case.name == "rdma" => skip!("no RDMA device: {error}"),
        result => result.unwrap(),
    }
    check(case, &scratch);
    crate::systemd::systemctl(&["daemon-reload"]);
    // On cgroup v1 systemd forgets a period without a quota, and has a scale of its own for BFQ.
    if is_v2() || !["cpu.quota=-1", "blockIO.weight"].contains(&case.name) {
        check(case, &scratch);
    }
    Outcome::Passed
}

fn expected(case: &Case) -> Vec<(Controller, &'static str, &'static str)> {
    match is_v2() {
        true => case.v2.iter().map(|(file, value)| (Memory, *file, *value)).collect(),
        false => case.v1.to_vec(),
    }
}

fn missing(case: &Case, scratch: &Scratch) -> Option<String> {
    let expect = expected(case);
    if expect.is_empty() {
        return Some(format!("no such file in {:?}", hierarchy().mode()));
    }
    let absent = expect.iter().find(|(controller, file, _)| !scratch.has_file(*controller, file))?;
    Some(format!("the kernel has no {}", absent.1))
}

fn check(case: &Case, scratch: &Scratch) {
    for (controller, file, value) in expected(case) {
        let found = scratch.read(controller, file);
        assert!(
            found == value || found.lines().any(|line| line == value),
            "{file}: {found:?} is not {value:?}"
        );
    }
}

/// Some disk of the host.
fn disk() -> Option<String> {
    std::fs::read_dir("/sys/block").ok()?.flatten().find_map(|entry| {
        let number = std::fs::read_to_string(entry.path().join("dev")).ok()?;
        Some(number.trim().to_owned())
    })
}

fn throttle() -> Outcome {
    let Some(disk) = disk() else { skip!("no disk") };
    let (major, minor) = disk.split_once(':').unwrap();
    let device = |rate: u32| format!(r#"[{{"major":{major},"minor":{minor},"rate":{rate}}}]"#);
    let json = |read, write, reads, writes| {
        resources(&format!(
            r#"{{"blockIO":{{"throttleReadBpsDevice":{},"throttleWriteBpsDevice":{},
               "throttleReadIOPSDevice":{},"throttleWriteIOPSDevice":{}}}}}"#,
            device(read),
            device(write),
            device(reads),
            device(writes)
        ))
    };
    let scratch = Scratch::new(&Resources::default());
    let (probe_v1, probe_v2) = ("blkio.throttle.read_bps_device", "io.max");
    if !scratch.has_file(Blkio, if is_v2() { probe_v2 } else { probe_v1 }) {
        skip!("the kernel has no block I/O throttling");
    }
    apply(&scratch, &json(1048576, 2097152, 100, 200)).unwrap();
    if is_v2() {
        let expect = format!("{disk} rbps=1048576 wbps=2097152 riops=100 wiops=200");
        assert_eq!(scratch.read(Blkio, "io.max"), expect);
    } else {
        for (file, rate) in
            [("read_bps", "1048576"), ("write_bps", "2097152"), ("read_iops", "100"), ("write_iops", "200")]
        {
            let file = format!("blkio.throttle.{file}_device");
            assert_eq!(scratch.read(Blkio, &file), format!("{disk} {rate}"));
        }
    }
    // 0 lifts the limit.
    apply(&scratch, &json(0, 0, 0, 0)).unwrap();
    assert_eq!(scratch.read(Blkio, if is_v2() { probe_v2 } else { probe_v1 }), "");
    Outcome::Passed
}

fn weight_on_v2() -> Outcome {
    let scratch = Scratch::new(&Resources::default());
    let file = ["io.bfq.weight", "io.weight"].into_iter().find(|file| scratch.has_file(Blkio, file));
    let Some(file) = file else { skip!("the kernel has no I/O weights of v2") };
    apply(&scratch, &resources(r#"{"blockIO":{"weight":500}}"#)).unwrap();
    let expect = if file == "io.weight" { "default 4950" } else { "default 500" };
    assert_eq!(scratch.read(Blkio, file), expect);
    Outcome::Passed
}

fn weight_device() -> Outcome {
    let Some(disk) = disk() else { skip!("no disk") };
    let scratch = Scratch::new(&Resources::default());
    let candidates: &[&str] = match is_v2() {
        true => &["io.bfq.weight", "io.weight"],
        false => &["blkio.weight_device", "blkio.bfq.weight_device"],
    };
    let Some(file) = candidates.iter().find(|file| scratch.has_file(Blkio, file)) else {
        skip!("the kernel has no weights by device");
    };
    let (major, minor) = disk.split_once(':').unwrap();
    let json =
        format!(r#"{{"blockIO":{{"weightDevice":[{{"major":{major},"minor":{minor},"weight":400}}]}}}}"#);
    if let Err(error) = apply(&scratch, &resources(&json)) {
        let text = format!("{error:?}");
        assert!(error.to_string().starts_with("linux.resources.blockIO.weightDevice[0].weight: "), "{error}");
        skip!("disk {disk} takes no weight: {text}");
    }
    let is_there = |file: &str| {
        scratch.has_file(Blkio, file)
            && scratch.read(Blkio, file).lines().any(|line| line.starts_with(&format!("{disk} ")))
    };
    assert!(is_there(file) || is_there("io.weight"));
    Outcome::Passed
}

fn realtime() -> Outcome {
    let scratch = Scratch::new(&Resources::default());
    if !scratch.has_file(Cpu, "cpu.rt_runtime_us") {
        skip!("no real-time budgets here");
    }
    // A budget is a part of the parent's, and others have taken theirs.
    let parent = scratch.cgroup.path(Cpu).unwrap().parent().unwrap();
    if let Err(error) = std::fs::write(parent.join("cpu.rt_runtime_us"), "20000") {
        skip!("no real-time budget is left: {error}");
    }
    apply(&scratch, &resources(r#"{"cpu":{"realtimeRuntime":5000,"realtimePeriod":500000}}"#)).unwrap();
    assert_eq!(scratch.read(Cpu, "cpu.rt_runtime_us"), "5000");
    assert_eq!(scratch.read(Cpu, "cpu.rt_period_us"), "500000");
    // The new period is shorter than the old runtime.
    apply(&scratch, &resources(r#"{"cpu":{"realtimeRuntime":50,"realtimePeriod":4000}}"#)).unwrap();
    assert_eq!(scratch.read(Cpu, "cpu.rt_runtime_us"), "50");
    assert_eq!(scratch.read(Cpu, "cpu.rt_period_us"), "4000");
    std::fs::write(scratch.cgroup.path(Cpu).unwrap().join("cpu.rt_runtime_us"), "0").unwrap();
    std::fs::write(parent.join("cpu.rt_runtime_us"), "0").unwrap();
    Outcome::Passed
}

fn memory_and_swap_move_in_both_directions() -> Outcome {
    let scratch = Scratch::new(&Resources::default());
    if !scratch.has_file(Memory, "memory.memsw.limit_in_bytes") {
        skip!("memory and swap are not limited together here");
    }
    for (limit, swap) in [(64, 128), (256, 512), (32, 64), (600, 600), (16, -1), (8, 16), (-1, -1), (8, 8)] {
        let bytes = |mib: i64| if mib < 0 { mib } else { mib << 20 };
        let json = format!(r#"{{"memory":{{"limit":{},"swap":{}}}}}"#, bytes(limit), bytes(swap));
        scratch.cgroup.apply(&resources(&json), Phase::Update).unwrap();
        let expect = |mib: i64| if mib < 0 { "9223372036854771712".into() } else { bytes(mib).to_string() };
        assert_eq!(scratch.read(Memory, "memory.limit_in_bytes"), expect(limit));
        assert_eq!(scratch.read(Memory, "memory.memsw.limit_in_bytes"), expect(swap));
    }
    Outcome::Passed
}

fn check_before_update() -> Outcome {
    let mut scratch = Scratch::new(&Resources::default());
    if !scratch.has_file(Memory, if is_v2() { "memory.current" } else { "memory.usage_in_bytes" }) {
        skip!("no memory controller");
    }
    let pid = scratch.spawn("alloc 32");
    scratch.cgroup.attach(pid, gantry_cgroup::Joined::Nothing).unwrap();
    scratch.go(pid);
    let usage = if is_v2() { "memory.current" } else { "memory.usage_in_bytes" };
    crate::harness::eventually("the memory is used", || {
        scratch.read(Memory, usage).parse::<u64>().unwrap() > 32 << 20
    });
    let json = resources(r#"{"memory":{"limit":1048576,"checkBeforeUpdate":true}}"#);
    let error = scratch.cgroup.apply(&json, Phase::Update).unwrap_err();
    assert!(matches!(&error, LimitError::BelowUsage { limit: 1048576, .. }), "{error}");
    let json = resources(r#"{"memory":{"limit":1073741824,"checkBeforeUpdate":true}}"#);
    scratch.cgroup.apply(&json, Phase::Update).unwrap();
    Outcome::Passed
}

fn bandwidth() -> Outcome {
    let scratch = Scratch::new(&Resources::default());
    if !scratch.has_file(Cpu, if is_v2() { "cpu.max" } else { "cpu.cfs_quota_us" }) {
        skip!("no CPU bandwidth");
    }
    for (quota, period, burst) in
        [(100_000, 100_000, 50_000), (5_000, 10_000, 1_000), (900_000, 1_000_000, 900_000)]
    {
        let json = format!(r#"{{"cpu":{{"quota":{quota},"period":{period},"burst":{burst}}}}}"#);
        scratch.cgroup.apply(&resources(&json), Phase::Update).unwrap();
        let (file, expect) = match is_v2() {
            true => ("cpu.max.burst", burst),
            false => ("cpu.cfs_burst_us", burst),
        };
        assert_eq!(scratch.read(Cpu, file), expect.to_string());
    }
    Outcome::Passed
}

fn refusals_name_the_field() -> Outcome {
    let scratch = Scratch::new(&Resources::default());
    let refused = |json: &str, start: &str| {
        let error = apply(&scratch, &resources(json)).expect_err(json);
        assert!(error.to_string().starts_with(start), "{error} does not start with {start}");
    };
    refused(
        r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}"#,
        "linux.resources.hugepageLimits[0].pageSize",
    );
    if is_v2() {
        refused(
            r#"{"cpu":{"cpus":"99-100"}}"#,
            "linux.resources.cpu.cpus: writing \"99-100\" to cpuset.cpus",
        );
        refused(r#"{"memory":{"swap":5}}"#, "linux.resources.memory.swap: 5: unable to set swap limit");
        refused(r#"{"memory":{"limit":10,"swap":5}}"#, "linux.resources.memory.swap: 5: memory+swap limit");
        refused(r#"{"cpu":{"quota":5}}"#, "linux.resources.cpu.quota: writing \"5 100000\" to cpu.max");
        refused(r#"{"blockIO":{"weight":5}}"#, "linux.resources.blockIO.weight: 5: not between 10 and 1000");
        refused(
            r#"{"unified":{"memory.nope":"5"}}"#,
            "linux.resources.unified[\"memory.nope\"]: writing \"5\"",
        );
        refused(
            r#"{"unified":{"hell.nope":"5"}}"#,
            "linux.resources.unified[\"hell.nope\"]: cannot set hell limit",
        );
        refused(r#"{"unified":{"../x":"5"}}"#, "linux.resources.unified: \"../x\": must be a file name");
    } else {
        refused(r#"{"unified":{"memory.max":"5"}}"#, "linux.resources.unified: invalid configuration");
        refused(r#"{"cpu":{"shares":1}}"#, "linux.resources.cpu.shares: the minimum allowed cpu-shares is 2");
        refused(
            r#"{"cpu":{"shares":1000000}}"#,
            "linux.resources.cpu.shares: the maximum allowed cpu-shares is 262144",
        );
        refused(
            r#"{"memory":{"swappiness":101}}"#,
            "linux.resources.memory.swappiness: 101: valid range is 0-100",
        );
        refused(r#"{"cpu":{"quota":5}}"#, "linux.resources.cpu.quota: writing \"5\" to cpu.cfs_quota_us");
        refused(r#"{"cpu":{"cpus":"99"}}"#, "linux.resources.cpu.cpus: writing \"99\" to cpuset.cpus");
    }
    Outcome::Passed
}

fn missing_controllers_are_named() -> Outcome {
    let scratch = Scratch::new(&Resources::default());
    let missing = [
        ("hugetlb", Hugetlb, r#"{"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#),
        ("net_cls", NetCls, r#"{"network":{"classID":1}}"#),
        ("net_prio", NetPrio, r#"{"network":{"priorities":[{"name":"lo","priority":5}]}}"#),
        ("rdma", Rdma, r#"{"rdma":{"x":{"hcaHandles":1}}}"#),
    ];
    let mut checked = 0;
    for (name, controller, json) in missing {
        if is_v2() || hierarchy().has(controller) {
            continue;
        }
        let error = apply(&scratch, &resources(json)).unwrap_err();
        assert!(
            matches!(&error, LimitError::NoController { controller, .. } if controller == name),
            "{error}"
        );
        checked += 1;
    }
    if checked == 0 {
        skip!("every controller is there");
    }
    Outcome::Passed
}
