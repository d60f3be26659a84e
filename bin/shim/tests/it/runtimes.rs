//! Other runtimes, by the option `binary_name`.

use gantry_proto_shim::process::Status;
use gantry_testkit::{Bundle, Need, require, until_true};

use crate::harness::{Daemon, Expect, Io, Output, process_spec};

fn serves(binary: &str) {
    let daemon = Daemon::new();
    let mut out = Output::new(daemon.path("out"));
    let mut task = daemon.task(Bundle::new().sh("echo there; exec sleep 1000"));
    task.options.binary_name = binary.to_owned();
    let pid = task.create_with(Io::stdout(out.path())).good().pid;
    assert_eq!(task.status(), Status::Created);
    assert_eq!(task.start(), pid);
    out.read_until("there\n");
    assert_eq!(task.sh("e1", "exit 6"), 6);
    task.exec("e2", &process_spec(&["sleep", "1000"]), Io::default()).good();
    task.start_process("e2").good();
    until_true("two processes", || task.pids().good().processes.len() == 2);
    task.kill_process("e2", 9).good();
    assert_eq!(task.wait_process("e2").good().exit_status, 137);
    task.delete_process("e2").good();
    task.pause().good();
    assert_eq!(task.status(), Status::Paused);
    task.resume().good();
    assert!(task.stats().good().stats.is_some());
    task.update(&serde_json::json!({ "pids": { "limit": 88 } })).good();
    task.kill(9);
    assert_eq!(task.wait(), 137);
    assert_eq!(task.delete().exit_status, 137);
    let seen = daemon.events().until(&task.id, |event| event.kind == "delete");
    assert!(seen.iter().any(|event| event.kind == "exit" && event.process == task.id));
}

#[test]
fn runc_is_run() {
    require!(Need::Root, Need::Program("runc"));
    serves("runc");
}

#[test]
fn crun_is_run() {
    require!(Need::Root, Need::Program("crun"));
    // crun 1.8 takes a host for one of cgroup v2 that has a unified tree beside the others, and refuses its limits.
    if std::path::Path::new("/sys/fs/cgroup/unified/cgroup.controllers").exists() {
        gantry_testkit::skip_test!("crun refuses hybrid hosts");
    }
    serves("crun");
}

#[test]
fn a_runtime_that_is_not_there_is_reported() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new());
    task.options.binary_name = "/no/such/runtime".into();
    let error = task.create_with(Io::default()).unwrap_err();
    let text = error.status().unwrap().message.clone();
    assert!(text.contains("/no/such/runtime"), "{text}");
}

#[test]
fn an_error_of_the_runtime_is_passed_on() {
    require!(Need::Root, Need::Program("runc"));
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().args(["/no/such"]));
    task.options.binary_name = "runc".into();
    let error = task.create_with(Io::default()).err().or_else(|| task.start_process("").err()).unwrap();
    let text = error.status().unwrap().message.clone();
    assert!(text.contains("no such file or directory"), "{text}");
}
