//! events: statistics and out-of-memory notices.

use gantry_testkit::{Bundle, Cgroups, Need, Peer, Runtime, require, until_true};
use serde_json::{Value, json};

#[test]
fn stats_have_the_shape_of_runc() {
    require!(Need::Not(Peer::Crun, "has no events"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let output = container.command("events", &["--stats"]).run().ok();
    assert_eq!(output.lines().len(), 1, "one line: {output}");
    let event = output.json();
    assert_eq!(event["type"], "stats");
    assert_eq!(event["id"], container.id());
    let data = event["data"].as_object().unwrap();
    for field in ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"] {
        assert!(data.contains_key(field), "{field}: {event}");
    }
    assert!(data["cpu"]["usage"]["kernel"].is_u64() && data["cpu"]["usage"]["user"].is_u64(), "{event}");
    assert!(data["cpu"]["throttling"].is_object(), "{event}");
    for field in ["usage", "swap", "kernel", "kernelTCP"] {
        assert!(data["memory"][field]["limit"].is_u64(), "{field}: {event}");
    }
    assert!(data["cpuset"]["sched_load_balance"].is_u64(), "{event}");
}

#[test]
fn stats_are_those_of_the_cgroup() {
    require!(Need::Not(Peer::Crun, "has no events"), Need::Controller("pids"), Need::Controller("memory"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("sleep 1000 & sleep 1000 & wait").edit(|c| {
        c["linux"]["resources"]["pids"] = json!({ "limit": 42 });
        c["linux"]["resources"]["memory"] = json!({ "limit": 67_108_864 });
    });
    let container = runtime.running(&bundle);
    until_true("three processes", || container.processes().len() == 3);
    let data = container.command("events", &["--stats"]).run().ok().json()["data"].clone();
    assert_eq!((&data["pids"]["current"], &data["pids"]["limit"]), (&json!(3), &json!(42)));
    assert_eq!(data["memory"]["usage"]["limit"], 67_108_864);
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 0);
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    if !Cgroups::detect().is_v2() {
        assert!(!data["cpu"]["usage"]["percpu"].as_array().unwrap().is_empty());
    }
    assert!(data["memory"]["raw"].as_object().unwrap().len() > 10);
}

#[test]
fn events_come_at_the_interval_until_the_container_ends() {
    require!(Need::Not(Peer::Crun, "has no events"), Need::Controller("memory"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let running = container.command("events", &["--interval", "50ms"]).spawn();
    until_true("three lines of statistics", || running.stdout().lines().count() >= 3);
    container.delete_force().ok();
    let output = running.wait();
    for line in output.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["type"], "stats");
    }
}

#[test]
fn an_out_of_memory_kill_is_an_event() {
    require!(Need::Not(Peer::Crun, "has no events"), Need::Controller("memory"));
    let runtime = Runtime::new();
    let script = "while [ ! -e /go ]; do sleep 0.02; done; sh -c 'dd if=/dev/zero of=/dev/shm/big bs=1M count=60'; sleep 1000";
    let bundle = Bundle::new().writable().sh(script).edit(|c| {
        c["linux"]["resources"]["memory"] = json!({ "limit": 16_777_216, "swap": 16_777_216 });
    });
    let container = runtime.running(&bundle);
    let running = container.command("events", &["--interval", "10ms"]).spawn();
    until_true("the first statistics", || running.stdout().contains("stats"));
    bundle.write("go", "");
    until_true("the event", || running.stdout().contains("\"oom\""));
    container.delete_force().ok();
    running.wait();
}

#[test]
fn events_of_a_stopped_container_are_refused() {
    require!(Need::Not(Peer::Crun, "has no events"));
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let container = runtime.running(&bundle);
    container.wait_for("stopped");
    container.command("events", &["--stats"]).run().fails().says("not running");
    container.command("events", &["--interval", "0s"]).run().fails();
}
