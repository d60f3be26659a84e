//! Limits, counters, freezing, and running out of memory.

use gantry_proto_shim::process::Status;
use gantry_proto_shim::{metrics_v1, metrics_v2};
use gantry_testkit::{Bundle, Cgroups, Need, require, until, until_true};
use serde_json::json;

use crate::harness::{Daemon, Expect, since_2};

#[test]
fn updated_limits_are_the_cgroups() {
    require!(Need::Root, Need::CgroupV1, Need::Controller("memory"));
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let limits = json!({
        "memory": { "limit": 67_108_864 },
        "cpu": { "shares": 512, "quota": 20_000, "period": 100_000 },
        "pids": { "limit": 99 },
    });
    task.update(&limits).good();
    let read = |controller: &str, name: &str| {
        std::fs::read_to_string(task.cgroup_file(controller, name)).unwrap().trim().to_owned()
    };
    assert_eq!(read("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(read("cpu", "cpu.shares"), "512");
    assert_eq!(read("cpu", "cpu.cfs_quota_us"), "20000");
    assert_eq!(read("pids", "pids.max"), "99");
}

/// Sets the limits that the host has controllers for.
fn limited(bundle: Bundle) -> Bundle {
    let limits = [
        ("memory", json!({ "limit": 134_217_728 })),
        ("pids", json!({ "limit": 77 })),
        ("cpu", json!({ "quota": 50_000, "period": 100_000 })),
    ];
    let cgroups = Cgroups::detect();
    let here = limits.into_iter().filter(|(controller, _)| cgroups.has(controller));
    here.fold(bundle, |bundle, (controller, limit)| {
        bundle.edit(|c| c["linux"]["resources"][controller] = limit)
    })
}

#[test]
fn counters_have_the_type_of_the_hosts_cgroups() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle =
        limited(Bundle::new()).sh("x=0; while [ $x -lt 20000 ]; do x=$((x+1)); done; exec sleep 1000");
    let task = daemon.running(bundle);
    if Cgroups::detect().is_v2() {
        let metrics: metrics_v2::Metrics = task.stats().good().stats.unwrap().unpack().unwrap();
        assert!(metrics.cpu.is_some() && metrics.io.is_some());
        if Cgroups::detect().has("memory") {
            assert_eq!(metrics.memory.unwrap().usage_limit, 134_217_728);
        }
        return;
    }
    // The kernel sums the statistics of memory up in its own time.
    let metrics = until("processor time and memory", || {
        let metrics: metrics_v1::Metrics = task.stats().good().stats.unwrap().unpack().unwrap();
        let used = metrics.cpu.as_ref()?.usage.as_ref()?.total;
        let memory = metrics.memory.as_ref()?;
        let counted = memory.usage.as_ref()?.usage > 0 && memory.total_pg_fault > 0;
        (used > 1_000_000 && counted).then_some(metrics)
    });
    let pids = metrics.pids.unwrap();
    assert_eq!((pids.current, pids.limit), (1, 77));
    let cpu = metrics.cpu.unwrap();
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert_eq!(cpu.usage.unwrap().per_cpu.len(), cpus);
    assert!(cpu.throttling.is_some());
    let memory = metrics.memory.unwrap();
    let usage = memory.usage.unwrap();
    assert_eq!((usage.limit, memory.hierarchical_memory_limit), (134_217_728, 134_217_728));
    assert!(usage.max >= usage.usage);
    assert!(memory.kernel_tcp.is_some() && memory.swap.is_some());
    assert!(metrics.blkio.is_some());
    assert_eq!(metrics.memory_oom_control.unwrap().oom_kill, 0);
}

#[test]
fn counters_of_a_frozen_container_are_those_that_our_conversion_gives() {
    since_2!("it tells less");
    require!(Need::Root, Need::Controller("memory"));
    let daemon = Daemon::new();
    let bundle = limited(Bundle::new().writable())
        .sh("dd if=/dev/zero of=/file bs=64k count=64 conv=fsync; touch /ready; while :; do :; done");
    let task = daemon.running(bundle);
    until_true("it to have worked", || task.bundle.rootfs().join("ready").exists());
    task.pause().good();
    let pid = task.state().pid.cast_signed();
    let told = || {
        let theirs = task.stats().good().stats.unwrap();
        let ours = gantry_shim::metrics::of_process(pid).unwrap();
        (decoded(&theirs), decoded(&ours))
    };
    // What the kernel sums up in its own time may differ for a moment.
    let end = std::time::Instant::now() + gantry_testkit::DEADLINE;
    let (mut theirs, mut ours) = told();
    while theirs != ours && std::time::Instant::now() < end {
        (theirs, ours) = told();
    }
    assert_eq!(theirs, ours);
    task.resume().good();
}

/// The fields of counters as text, huge pages in one order.
fn decoded(any: &gantry_proto_shim::any::Any) -> String {
    match any.unpack::<metrics_v1::Metrics>() {
        Ok(mut metrics) => {
            metrics.hugetlb.sort_by(|a, b| a.pagesize.cmp(&b.pagesize));
            format!("{metrics:#?}")
        }
        Err(_) => {
            let mut metrics: metrics_v2::Metrics = any.unpack().expect("counters of cgroup v2");
            metrics.hugetlb.sort_by(|a, b| a.pagesize.cmp(&b.pagesize));
            format!("{metrics:#?}")
        }
    }
}

#[test]
fn a_paused_container_stands_still_and_is_killed() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    task.pause().good();
    assert_eq!(task.status(), Status::Paused);
    let state = task.cgroup_file("freezer", "freezer.state");
    if let Ok(text) = std::fs::read_to_string(state) {
        assert_eq!(text.trim(), "FROZEN");
    }
    task.resume().good();
    task.kill(9);
    assert_eq!(task.wait(), 137);
    task.delete();
}

#[test]
fn an_exec_in_a_paused_container_is_refused() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    task.pause().good();
    let process = crate::harness::process_spec(&["true"]);
    let added = task.exec("e", &process, crate::harness::Io::default());
    if added.is_ok() {
        task.start_process("e").unwrap_err();
    }
    task.resume().good();
}

#[test]
fn running_out_of_memory_is_told() {
    require!(Need::Root, Need::CgroupV1, Need::Controller("memory"));
    let daemon = Daemon::new();
    let bundle = Bundle::new()
        .edit(|c| c["linux"]["resources"]["memory"] = json!({ "limit": 16_777_216, "swap": 16_777_216 }))
        .sh("x=a; while :; do x=$x$x; done");
    let mut task = daemon.running(bundle);
    assert_eq!(task.wait(), 137);
    daemon.events().until(&task.id, |event| event.kind == "oom");
    task.delete();
}

#[test]
fn an_exec_that_runs_out_of_memory_is_told_of_its_container() {
    require!(Need::Root, Need::CgroupV1, Need::Controller("memory"));
    let daemon = Daemon::new();
    let bundle = Bundle::new()
        .edit(|c| c["linux"]["resources"]["memory"] = json!({ "limit": 16_777_216, "swap": 16_777_216 }))
        .sleeping();
    let task = daemon.running(bundle);
    assert_eq!(task.sh("e", "x=a; while :; do x=$x$x; done"), 137);
    daemon.events().until(&task.id, |event| event.kind == "oom");
    until_true("the container to live", || task.status() == Status::Running);
}
