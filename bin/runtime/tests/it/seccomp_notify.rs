//! Seccomp's user notification: the agent's socket.

use gantry_testkit::{Bundle, Need, Receiver, Runtime, require};
use serde_json::{Value, json};

fn profile(socket: &Receiver) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "listenerPath": socket.path(),
        "listenerMetadata": "for the agent",
        "syscalls": [{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_NOTIFY" }],
    })
}

#[test]
fn the_agent_gets_the_descriptor_and_the_state() {
    require!(Need::Runc(1, 1));
    let runtime = Runtime::new();
    let receiver = Receiver::listen(runtime.scratch().join("agent"));
    let bundle = Bundle::new().with_syscall().args(["syscall", "146", "1"]).edit(|c| {
        c["linux"]["seccomp"] = profile(&receiver);
        c["annotations"] = json!({ "key": "value" });
    });
    let container = runtime.container(&bundle);
    let running = runtime.run_named(&bundle, container.id(), &[]).spawn();
    let received = receiver.receive();
    let state: Value = serde_json::from_slice(&received.message).unwrap();
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["metadata"], "for the agent");
    assert_eq!(state["state"]["id"], container.id());
    assert_eq!(state["state"]["annotations"]["key"], "value");
    assert_eq!(state["state"]["bundle"], bundle.path().to_str().unwrap());
    let pid = state["pid"].as_i64().unwrap();
    assert!(pid > 1 && pid == state["state"]["pid"].as_i64().unwrap(), "{state}");
    assert_eq!(received.fds.len(), 1);
    // An agent that goes away leaves the call without an implementation.
    drop(received);
    assert_eq!(running.wait().ok().text(), "-1 ENOSYS(38)");
}

#[test]
fn exec_is_announced_to_the_agent_too() {
    require!(Need::Runc(1, 1));
    let runtime = Runtime::new();
    let receiver = Receiver::listen(runtime.scratch().join("agent"));
    let bundle = Bundle::new().with_syscall().sleeping();
    let bundle = bundle.edit(|c| c["linux"]["seccomp"] = profile(&receiver));
    let container = runtime.container(&bundle);
    let creating = container.create_command(&[]).spawn();
    let first = receiver.receive();
    creating.wait().ok();
    container.start().ok();
    let running = container.exec_command(&[], ["syscall", "146", "1"]).spawn();
    let received = receiver.receive();
    let state: Value = serde_json::from_slice(&received.message).unwrap();
    assert_eq!(state["state"]["status"], "running");
    assert_ne!(state["pid"], state["state"]["pid"]);
    drop(received);
    assert_eq!(running.wait().ok().text(), "-1 ENOSYS(38)");
    drop(first);
}

#[test]
fn notification_without_an_agent_is_refused() {
    require!(Need::Runc(1, 1));
    let runtime = Runtime::new();
    let rules = json!([{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_NOTIFY" }]);
    let mut profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules });
    let bundle = Bundle::new().edit(|c| c["linux"]["seccomp"] = profile.clone());
    runtime.container(&bundle).create().fails();
    profile["listenerPath"] = json!("/no/such/agent");
    let bundle = Bundle::new().edit(|c| c["linux"]["seccomp"] = profile.clone());
    runtime.container(&bundle).create().fails();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn an_agent_without_a_rule_for_it_is_refused_or_never_called() {
    require!(Need::Runc(1, 1));
    let runtime = Runtime::new();
    let receiver = Receiver::listen(runtime.scratch().join("agent"));
    let mut profile = profile(&receiver);
    profile["syscalls"] = json!([]);
    let bundle = Bundle::new().edit(|c| c["linux"]["seccomp"] = profile);
    runtime.run(&bundle);
    assert!(receiver.stays_silent(std::time::Duration::from_millis(50)));
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn metadata_without_an_agent_is_refused() {
    require!(Need::Runc(1, 1));
    let runtime = Runtime::new();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "listenerMetadata": "x",
        "syscalls": [{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_NOTIFY" }],
    });
    let bundle = Bundle::new().edit(|c| c["linux"]["seccomp"] = profile);
    runtime.container(&bundle).create().fails();
}

#[test]
fn the_system_calls_of_the_notification_itself_cannot_be_notified() {
    require!(Need::Runc(1, 1));
    let runtime = Runtime::new();
    let receiver = Receiver::listen(runtime.scratch().join("agent"));
    // The runtime writes the message after the filter is set: it would wait for an agent that it has not told yet.
    let mut profile = profile(&receiver);
    profile["syscalls"] = json!([{ "names": ["write"], "action": "SCMP_ACT_NOTIFY" }]);
    let bundle = Bundle::new().edit(|c| c["linux"]["seccomp"] = profile);
    runtime.container(&bundle).create().fails();
    assert!(runtime.leftovers().is_empty());
}
