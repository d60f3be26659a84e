//! What is counted and limited.

use gantry_e2e::require_engine;
use gantry_proto_containerd::Any;
use gantry_proto_containerd::any::json;
use gantry_proto_containerd::tasks::UpdateTaskRequest;
use gantry_proto_containerd::tasks::tasks_client::TasksClient;
use gantry_testkit::Cgroups;

use super::{Case, NAMESPACE, shared};

#[test]
fn metrics_are_told() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-metrics");
    case.detached(&["sleep", "1000"]);
    let metrics = case.task(&["metrics", "--format", "json"]).run().ok().json();
    assert!(metrics["memory"]["usage"]["usage"].as_u64().unwrap_or_default() > 0, "{metrics}");
    assert!(metrics["pids"]["current"].as_u64().unwrap_or_default() >= 1, "{metrics}");
    let table = case.task(&["metrics"]).run().ok();
    assert!(table.stdout.contains(&case.id) && table.stdout.contains("memory"), "{table}");
    case.remove(137);
}

#[test]
fn limits_are_set_and_updated() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-limits");
    case.run(&["--detach", "--memory-limit", "67108864", "--cpus", "0.5"], &["sleep", "1000"]).run().ok();
    let cgroups = Cgroups::detect();
    let path = format!("{NAMESPACE}/{}", case.id);
    let memory = || cgroups.read("memory", &path, "memory.limit_in_bytes");
    assert_eq!(memory().trim(), "67108864");
    assert_eq!(cgroups.read("cpu", &path, "cpu.cfs_quota_us").trim(), "50000");
    let resources = Any {
        type_url: json::LINUX_RESOURCES.into(),
        value: br#"{"memory":{"limit":50331648},"pids":{"limit":77}}"#.as_slice().into(),
    };
    let request = UpdateTaskRequest {
        container_id: case.id.clone(),
        resources: Some(resources),
        ..UpdateTaskRequest::default()
    };
    let caller = case.caller();
    caller.run(async |channel| TasksClient::new(channel).update(caller.request(request)).await).unwrap();
    assert_eq!(memory().trim(), "50331648");
    assert_eq!(cgroups.read("pids", &path, "pids.max").trim(), "77");
    case.remove(137);
}

#[test]
fn running_out_of_memory_is_status_137_and_an_event() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-oom");
    let events = super::events::Listener::start(&case);
    let script = "x=a; while :; do x=$x$x; done";
    case.run(&["--rm", "--memory-limit", "16777216"], &["sh", "-c", script]).run().exits(137);
    events.until("/tasks/oom");
}
