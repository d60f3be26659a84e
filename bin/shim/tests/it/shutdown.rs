//! How a shim ends.

use gantry_testkit::{Bundle, Need, require, until_true};

use crate::harness::{Daemon, Expect};

#[test]
fn a_shim_without_containers_ends() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new());
    task.wait();
    task.delete();
    let socket = task.shim.answer().socket();
    task.shim.end();
    until_true("the shim to end", || task.shim.is_gone());
    until_true("the socket to go", || !socket.exists());
}

#[test]
fn a_shim_with_a_container_stays() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    task.shim.shutdown(false).good();
    assert_eq!(task.shim.ask(&task.id).good().task_pid, task.state().pid);
}

#[test]
fn a_shim_with_a_stopped_container_stays() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sh("exit 4"));
    task.wait();
    task.shim.shutdown(false).good();
    assert_eq!(task.delete().exit_status, 4);
}

#[test]
fn a_shim_outlives_its_clients() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    let answer = task.shim.answer().clone();
    for _ in 0..3 {
        let other = crate::harness::Shim::connect(answer.clone(), &task.id);
        assert_eq!(other.ask(&task.id).good().task_pid, task.state().pid);
    }
    task.kill(9);
    assert_eq!(task.wait(), 137);
    task.delete();
}
