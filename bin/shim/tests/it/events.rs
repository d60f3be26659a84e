//! What is published, and in which order.

use gantry_proto_shim::events::{TaskCreate, TaskDelete, TaskExecStarted, TaskExit, TaskStart};
use gantry_testkit::{Bundle, Need, require};

use crate::harness::{Daemon, Expect, Io, Output, process_spec};

#[test]
fn a_life_is_told_in_its_order() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let out = Output::new(daemon.path("out"));
    let mut task = daemon.task(Bundle::new().sh("exit 5"));
    let pid = task.create_with(Io::stdout(out.path())).good().pid;
    task.start();
    task.wait();
    task.delete();
    let seen = daemon.events().until(&task.id, |event| event.kind == "delete");
    let kinds: Vec<&str> = seen.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["create", "start", "exit", "delete"]);
    let create: TaskCreate = seen[0].event().unwrap();
    assert_eq!((create.pid, create.bundle), (pid, task.bundle.path().display().to_string()));
    assert_eq!(create.io.unwrap().stdout, out.path().display().to_string());
    assert_eq!(seen[1].event::<TaskStart>().unwrap().pid, pid);
    let exit: TaskExit = seen[2].event().unwrap();
    assert_eq!((exit.pid, exit.exit_status, exit.id.as_str()), (pid, 5, task.id.as_str()));
    assert!(exit.exited_at.is_some());
    let delete: TaskDelete = seen[3].event().unwrap();
    assert_eq!((delete.pid, delete.exit_status, delete.exited_at), (pid, 5, exit.exited_at));
    for event in &seen {
        assert_eq!(event.envelope.namespace, daemon.namespace());
        assert!(event.envelope.timestamp.is_some_and(|time| time.seconds > 1_700_000_000));
        assert!(event.envelope.topic.starts_with("/tasks/"));
    }
}

#[test]
fn an_exec_is_told_in_its_order() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    task.exec("e", &process_spec(&["sh", "-c", "exit 6"]), Io::default()).good();
    let pid = task.start_process("e").good().pid;
    task.wait_process("e").good();
    task.delete_process("e").good();
    let seen = daemon.events().until(&task.id, |event| event.kind == "exit" && event.process == "e");
    let own: Vec<_> = seen.iter().filter(|event| event.process == "e").collect();
    let kinds: Vec<&str> = own.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds[..3], ["exec-added", "exec-started", "exit"]);
    assert_eq!(own[1].event::<TaskExecStarted>().unwrap().pid, pid);
    let exit: TaskExit = own[2].event().unwrap();
    assert_eq!((exit.pid, exit.exit_status), (pid, 6));
}

#[test]
fn exits_that_come_at_once_never_precede_their_starts() {
    require!(Need::Root);
    let daemon = Daemon::new();
    for _ in 0..10 {
        let mut task = daemon.running(Bundle::new());
        task.wait();
        task.delete();
        let seen = daemon.events().until(&task.id, |event| event.kind == "delete");
        let kinds: Vec<&str> = seen.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["create", "start", "exit", "delete"]);
    }
}

#[test]
fn pausing_is_told() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    task.pause().good();
    task.resume().good();
    let seen = daemon.events().until(&task.id, |event| event.kind == "resumed");
    let kinds: Vec<&str> = seen.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["create", "start", "paused", "resumed"]);
}

#[test]
fn no_event_of_a_create_that_failed() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new());
    task.bundle.write_raw(b"{");
    task.create_with(Io::default()).unwrap_err();
    // What comes after it shows that nothing of it was on its way.
    let mut other = daemon.running(Bundle::new());
    other.wait();
    other.delete();
    daemon.events().until(&other.id, |event| event.kind == "delete");
    assert!(task.events().is_empty(), "{:?}", task.events());
}
