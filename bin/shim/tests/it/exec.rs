//! Further processes of a container.

use gantry_proto_shim::options::ProcessDetails;
use gantry_proto_shim::process::Status;
use gantry_testkit::{Bundle, Need, require, until_true};
use gantry_ttrpc::Code;

use crate::harness::{Daemon, Expect, Io, Output, is_ours, ours, process_spec};

#[test]
fn an_exec_runs_and_its_exit_code_is_told() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    for code in [0, 1, 9] {
        assert_eq!(task.sh(&format!("e{code}"), &format!("exit {code}")), code);
    }
}

#[test]
fn the_state_follows_the_exec() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    task.exec("e", &process_spec(&["sleep", "1000"]), Io::default()).good();
    let created = task.state_of("e").good();
    assert_eq!((created.status, created.pid), (Status::Created as i32, 0));
    assert!(!is_ours() || created.exec_id == "e", "containerd 1.6 does not say it");
    let pid = task.start_process("e").good().pid;
    let running = task.state_of("e").good();
    assert_eq!((running.status, running.pid), (Status::Running as i32, pid));
    task.delete_process("e").fails(Code::FailedPrecondition);
    task.kill_process("e", 9).good();
    assert_eq!(task.wait_process("e").good().exit_status, 137);
    let stopped = task.state_of("e").good();
    assert_eq!((stopped.status, stopped.exit_status), (Status::Stopped as i32, 137));
    let deleted = task.delete_process("e").good();
    assert_eq!((deleted.exit_status, deleted.pid), (137, pid));
    assert_eq!(task.status(), Status::Running);
}

#[test]
fn an_exec_that_was_never_started_is_deleted() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    task.exec("e", &process_spec(&["true"]), Io::default()).good();
    task.delete_process("e").good();
    task.state_of("e").fails(Code::NotFound);
    assert_eq!(task.sh("e", "exit 4"), 4);
}

#[test]
fn processes_are_listed_with_their_execs() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().sleeping());
    let first = task.create();
    task.start();
    task.exec("one", &process_spec(&["sleep", "1000"]), Io::default()).good();
    let pid = task.start_process("one").good().pid;
    let processes = task.pids().good().processes;
    assert_eq!(processes.len(), 2);
    let details = |pid: u32| {
        let process = processes.iter().find(|process| process.pid == pid).expect("it is listed");
        process.info.as_ref().map(|info| info.unpack::<ProcessDetails>().unwrap().exec_id)
    };
    assert_eq!(details(first), None);
    assert_eq!(details(pid).as_deref(), Some("one"));
    task.kill_process("one", 9).good();
    task.wait_process("one").good();
    until_true("one process", || task.pids().good().processes.len() == 1);
    task.delete_process("one").good();
}

#[test]
fn a_signal_reaches_the_exec_alone() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    task.exec("e", &process_spec(&["sleep", "1000"]), Io::default()).good();
    task.start_process("e").good();
    task.kill_process("e", 15).good();
    assert_eq!(task.wait_process("e").good().exit_status, 143);
    assert_eq!(task.status(), Status::Running);
    task.kill_process("e", 9).fails(Code::NotFound);
    task.delete_process("e").good();
}

#[test]
fn kill_of_an_exec_that_was_not_started_is_refused() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    task.exec("e", &process_spec(&["true"]), Io::default()).good();
    task.kill_process("e", 9).unwrap_err();
    task.delete_process("e").good();
}

#[test]
fn the_end_of_the_container_ends_its_execs() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    task.exec("e", &process_spec(&["sleep", "1000"]), Io::default()).good();
    task.start_process("e").good();
    let (exec, first) = (task.wait_aside("e"), task.wait_aside(""));
    task.kill(9);
    assert_eq!(exec.join().unwrap().good().exit_status, 137);
    assert_eq!(first.join().unwrap().good().exit_status, 137);
    task.delete_process("e").good();
    task.delete();
    let seen = daemon.events().until(&task.id, |event| event.kind == "delete");
    let ends: Vec<_> = seen.into_iter().filter(|event| event.kind == "exit").collect();
    let order: Vec<&str> = ends.iter().map(|event| event.process.as_str()).collect();
    assert_eq!(order, ["e", task.id.as_str()]);
}

#[test]
fn an_exec_in_a_stopped_container_is_refused() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    task.exec("e", &process_spec(&["true"]), Io::default()).good();
    task.kill(9);
    task.wait();
    task.start_process("e").unwrap_err();
    task.delete_process("e").good();
    task.delete();
}

#[test]
fn an_exec_that_cannot_start_fails_and_is_deleted() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    task.exec("e", &process_spec(&["/no/such"]), Io::default()).good();
    let text = task.start_process("e").unwrap_err().status().unwrap().message.clone();
    assert!(text.contains("no such file or directory"), "{text}");
    // containerd's TestIssue10589.
    assert_eq!(task.state_of("e").good().status, Status::Created as i32);
    task.delete_process("e").good();
    assert_eq!(task.sh("e", "true"), 0);
}

#[test]
fn output_of_an_exec_goes_to_its_own_streams() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let (mut out, mut err) = (Output::new(daemon.path("out")), Output::new(daemon.path("err")));
    let io = Io {
        stdout: out.path().display().to_string(),
        stderr: err.path().display().to_string(),
        ..Io::default()
    };
    task.exec("e", &process_spec(&["sh", "-c", "echo one; echo two >&2"]), io).good();
    task.start_process("e").good();
    assert_eq!(out.read_to_end(), "one\n");
    assert_eq!(err.read_to_end(), "two\n");
    assert_eq!(task.wait_process("e").good().exit_status, 0);
    task.delete_process("e").good();
}

#[test]
fn many_execs_at_once_keep_their_statuses() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let task = &task;
    std::thread::scope(|scope| {
        for code in 0..16 {
            scope.spawn(move || assert_eq!(task.sh(&format!("m{code}"), &format!("exit {code}")), code));
        }
    });
}

#[test]
fn who_waits_for_a_process_that_never_runs_is_told() {
    ours!("the reference lets them wait for ever");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    let add = |name: &str| task.exec(name, &process_spec(&["/bin/true"]), Io::default()).good();
    add("e");
    let waiting = task.wait_aside("e");
    // Whether the call comes before the deletion or after it.
    task.delete_process("e").good();
    assert_eq!(waiting.join().unwrap().unwrap_err().status().unwrap().code(), Code::NotFound);
    task.kill(9);
    task.wait();
    task.delete();
}

#[test]
fn the_end_of_a_container_that_was_never_started_is_told() {
    ours!("the reference says nothing of it");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().sleeping());
    task.create();
    let waiting = task.wait_aside("");
    task.delete();
    if let Ok(ended) = waiting.join().unwrap() {
        assert_eq!(ended.exit_status, 137);
    }
    let events = daemon.events().until(&task.id, |event| event.kind == "delete");
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["create", "exit", "delete"]);
}

#[test]
fn pausing_waits_for_processes_that_are_being_started() {
    ours!("the reference freezes them half made");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    for round in 0..20 {
        let name = format!("e{round}");
        task.exec(&name, &process_spec(&["/bin/true"]), Io::default()).good();
        let (client, id) = (task.shim.client(), task.id.clone());
        let request = gantry_proto_shim::task::StartRequest { id, exec_id: name.clone() };
        let start = std::thread::spawn(move || {
            let (service, method) =
                (gantry_proto_shim::task::SERVICE_V2, gantry_proto_shim::task::method::START);
            client.call::<_, gantry_proto_shim::task::StartResponse>(service, method, &request)
        });
        task.pause().good();
        // It was before the pause, or is refused in it; never is it stuck.
        let started = start.join().unwrap();
        task.resume().good();
        match started {
            Ok(_) => assert_eq!(task.wait_process(&name).good().exit_status, 0),
            Err(error) => assert_eq!(error.status().unwrap().code(), Code::FailedPrecondition),
        }
        task.delete_process(&name).good();
    }
    task.kill(9);
    task.wait();
    task.delete();
}

#[test]
fn a_process_that_comes_as_its_container_ends_does_not_outlive_it() {
    ours!("the reference leaves it running");
    require!(Need::Root);
    let daemon = Daemon::new();
    for round in 0..15 {
        let mut task = daemon.running(Bundle::new().sleeping().without_namespace("pid"));
        task.exec("e", &process_spec(&["/bin/sleep", "1000"]), Io::default()).good();
        let (client, id) = (task.shim.client(), task.id.clone());
        let request = gantry_proto_shim::task::StartRequest { id, exec_id: "e".into() };
        let start = std::thread::spawn(move || {
            let (service, method) =
                (gantry_proto_shim::task::SERVICE_V2, gantry_proto_shim::task::method::START);
            client.call::<_, gantry_proto_shim::task::StartResponse>(service, method, &request)
        });
        // At another moment of the start each time.
        std::thread::sleep(std::time::Duration::from_micros(round * 200));
        let pid = rustix::process::Pid::from_raw(task.state().pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert_eq!(task.wait(), 137);
        let _ = start.join().unwrap();
        task.delete();
    }
}
