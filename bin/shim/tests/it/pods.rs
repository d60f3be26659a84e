//! Several containers of one shim.

use gantry_testkit::{Bundle, Need, require};
use gantry_ttrpc::Code;

use crate::harness::{Daemon, Expect};

fn grouped(annotation: &str, group: &str) -> Bundle {
    Bundle::new().sleeping().edit(|c| c["annotations"] = serde_json::json!({ annotation: group }))
}

fn one_shim_serves(annotation: &str) {
    let daemon = Daemon::new();
    let mut first = daemon.running(grouped(annotation, "pod"));
    let mut second = daemon.running(grouped(annotation, "pod"));
    let other = daemon.running(grouped(annotation, "other"));
    assert_eq!(first.shim.answer(), second.shim.answer());
    assert_ne!(first.shim.answer(), other.shim.answer());
    assert_eq!(first.shim.ask(&first.id).good().shim_pid, second.shim.ask(&second.id).good().shim_pid);
    assert_ne!(first.state().pid, second.state().pid);
    first.kill(9);
    first.wait();
    first.delete();
    first.state_of("").fails(Code::NotFound);
    assert_eq!(second.sh("e", "exit 3"), 3);
    second.kill(9);
    second.wait();
    second.delete();
}

#[test]
fn containers_of_a_group_have_one_shim() {
    require!(Need::Root);
    one_shim_serves("io.containerd.runc.v2.group");
}

#[test]
fn containers_of_a_sandbox_have_one_shim() {
    require!(Need::Root);
    one_shim_serves("io.kubernetes.cri.sandbox-id");
}

#[test]
fn the_group_goes_before_the_sandbox() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let both = |group: &str, sandbox: &str| {
        Bundle::new().edit(|c| {
            c["annotations"] = serde_json::json!({
                "io.containerd.runc.v2.group": group, "io.kubernetes.cri.sandbox-id": sandbox
            });
        })
    };
    let (one, two) = (daemon.task(both("g", "s1")), daemon.task(both("g", "s2")));
    assert_eq!(one.shim.answer(), two.shim.answer());
}

#[test]
fn containers_without_a_group_have_a_shim_each() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let (one, two) = (daemon.task(Bundle::new()), daemon.task(Bundle::new()));
    assert_ne!(one.shim.answer(), two.shim.answer());
}

#[test]
fn a_pod_of_many_containers_ends_whole() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut tasks: Vec<_> =
        (0..8).map(|_| daemon.running(grouped("io.kubernetes.cri.sandbox-id", "many"))).collect();
    let waits: Vec<_> = tasks.iter().map(|task| task.wait_aside("")).collect();
    for task in &tasks {
        task.kill(9);
    }
    for wait in waits {
        assert_eq!(wait.join().unwrap().good().exit_status, 137);
    }
    for task in &mut tasks {
        assert_eq!(task.delete().exit_status, 137);
    }
}
