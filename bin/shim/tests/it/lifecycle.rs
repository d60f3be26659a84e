//! From Create to Delete.

use gantry_proto_shim::process::Status;
use gantry_testkit::{Bundle, Need, require, until_true};
use gantry_ttrpc::Code;

use crate::harness::{Daemon, Expect, is_ours, ours};

/// Prints nothing, and ends with status 3 at SIGTERM.
const TRAP: &str = "trap 'exit 3' TERM; while :; do sleep 0.02; done";

#[test]
fn a_container_runs_and_its_exit_code_is_told() {
    require!(Need::Root);
    let daemon = Daemon::new();
    for code in [0, 1, 42, 255] {
        let mut task = daemon.task(Bundle::new().sh(&format!("exit {code}")));
        let pid = task.create();
        assert!(pid > 1);
        assert_eq!(task.start(), pid);
        assert_eq!(task.wait(), code);
        let deleted = task.delete();
        assert_eq!((deleted.exit_status, deleted.pid), (code, pid));
        assert!(deleted.exited_at.is_some_and(|time| time.seconds > 1_700_000_000));
    }
}

#[test]
fn a_signal_is_128_and_its_number() {
    require!(Need::Root);
    let daemon = Daemon::new();
    for signal in [9, 15] {
        let mut task = daemon.running(Bundle::new().sleeping().without_namespace("pid"));
        task.kill(signal);
        assert_eq!(task.wait(), 128 + signal);
        assert_eq!(task.delete().exit_status, 128 + signal);
    }
}

#[test]
fn a_handled_signal_leaves_the_programs_own_status() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sh(TRAP));
    until_true("the trap to be set", || {
        // It may have ended at the one before.
        let _ = task.kill_process("", 15);
        task.status() == Status::Stopped
    });
    assert_eq!(task.wait(), 3);
    task.delete();
}

#[test]
fn the_state_follows_the_container() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().sleeping());
    let pid = task.create();
    let created = task.state();
    assert_eq!(created.status, Status::Created as i32);
    assert_eq!((created.pid, created.id.as_str()), (pid, task.id.as_str()));
    assert_eq!(created.bundle, task.bundle.path().display().to_string());
    task.start();
    assert_eq!(task.status(), Status::Running);
    task.pause().good();
    assert_eq!(task.status(), Status::Paused);
    task.resume().good();
    assert_eq!(task.status(), Status::Running);
    task.kill(9);
    task.wait();
    let stopped = task.state();
    assert_eq!((stopped.status, stopped.exit_status), (Status::Stopped as i32, 137));
    assert!(stopped.exited_at.is_some_and(|time| time.seconds > 1_700_000_000));
    task.delete();
    task.state_of("").fails(Code::NotFound);
}

#[test]
fn wait_is_answered_before_and_after_the_end() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().sleeping());
    task.create();
    let early = task.wait_aside("");
    task.start();
    let late = task.wait_aside("");
    assert!(!early.is_finished() && !late.is_finished());
    task.kill(9);
    let (early, late) = (early.join().unwrap().good(), late.join().unwrap().good());
    assert_eq!((early.exit_status, late.exit_status), (137, 137));
    let after = task.wait_process("").good();
    assert_eq!(after, early);
    task.delete();
}

#[test]
fn a_running_container_is_not_deleted() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    task.delete_process("").fails(Code::FailedPrecondition);
    assert_eq!(task.status(), Status::Running);
}

#[test]
fn a_created_container_is_killed_and_deleted() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().sleeping());
    task.create();
    task.kill(9);
    assert_eq!(task.wait(), 137);
    assert_eq!(task.delete().exit_status, 137);
}

#[test]
fn a_container_is_started_once() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    let error = task.start_process("").unwrap_err();
    if is_ours() {
        assert_eq!(error.status().unwrap().code, Code::FailedPrecondition as i32);
    }
    assert_eq!(task.status(), Status::Running);
    task.kill(9);
    task.wait();
    task.start_process("").unwrap_err();
    task.delete();
}

#[test]
fn a_name_is_free_again_after_delete() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new());
    task.wait();
    task.delete();
    task.create();
    task.start();
    assert_eq!(task.wait(), 0);
    task.delete();
}

#[test]
fn kill_of_all_reaches_every_process() {
    require!(Need::Root);
    let daemon = Daemon::new();
    // The shell waits for nobody: only a signal ends it, and its children have sessions of their own.
    let script = "setsid sleep 1000 & setsid sleep 1000 & exec sleep 1000";
    let mut task = daemon.running(Bundle::new().sh(script));
    until_true("three processes", || task.pids().good().processes.len() == 3);
    task.kill_all(9).good();
    assert_eq!(task.wait(), 137);
    task.delete();
}

#[test]
fn processes_that_outlive_the_first_are_ended_without_a_pid_namespace() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new().without_namespace("pid").sh("setsid sleep 1000 & exit 5");
    let mut task = daemon.running(bundle);
    assert_eq!(task.wait(), 5);
    // The bundle's drop counts what is left in the cgroup.
    task.delete();
}

#[test]
fn a_signal_that_is_ignored_leaves_the_container_running() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let script = "trap '' TERM; touch /tmp/ready; while :; do sleep 0.02; done";
    let mut task = daemon.running(Bundle::new().writable().sh(script));
    let ready = task.bundle.rootfs().join("tmp/ready");
    until_true("the trap to be set", || ready.exists());
    task.kill(15);
    // Answered by a process that has had the signal.
    assert_eq!(task.sh("look", "kill -0 1"), 0);
    assert_eq!(task.status(), Status::Running);
    task.kill(9);
    assert_eq!(task.wait(), 137);
    task.delete();
}

#[test]
fn the_shim_says_who_it_is() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().sleeping());
    let pid = task.create();
    let answer = task.shim.ask(&task.id).good();
    assert_eq!(answer.task_pid, pid);
    let words = std::fs::read_to_string(format!("/proc/{}/cmdline", answer.shim_pid)).unwrap();
    assert!(words.contains("containerd-shim"), "{words}");
    assert_ne!(answer.shim_pid, std::process::id());
}

#[test]
fn the_process_is_the_shims_child() {
    ours!("the reference adopts it when runc ends");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().sleeping());
    let pid = task.create();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent: u32 = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!(parent, task.shim.pid());
}
