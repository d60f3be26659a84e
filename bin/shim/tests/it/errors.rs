//! What is refused, and by which code.

use gantry_proto_shim::any::Empty;
use gantry_proto_shim::task::{
    CheckpointTaskRequest, ConnectResponse, CreateTaskResponse, StateRequest, method,
};
use gantry_testkit::{Bundle, Need, require};
use gantry_ttrpc::Code;

use crate::harness::{Daemon, Expect, Io, is_ours, ours, process_spec};

#[test]
fn a_container_that_is_not_there_is_not_found() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.task(Bundle::new());
    task.state_of("").fails(Code::NotFound);
    task.start_process("").fails(Code::NotFound);
    task.kill_process("", 9).fails(Code::NotFound);
    task.delete_process("").fails(Code::NotFound);
    task.wait_process("").fails(Code::NotFound);
    task.pids().fails(Code::NotFound);
    task.pause().fails(Code::NotFound);
    task.resume().fails(Code::NotFound);
    task.stats().fails(Code::NotFound);
    task.resize("", 80, 24).fails(Code::NotFound);
    task.close_stdin("").fails(Code::NotFound);
    task.update(&serde_json::json!({})).fails(Code::NotFound);
    task.exec("e", &process_spec(&["true"]), Io::default()).fails(Code::NotFound);
    let request = CheckpointTaskRequest { id: task.id.clone(), ..CheckpointTaskRequest::default() };
    task.shim.call::<_, Empty>(method::CHECKPOINT, &request).fails(Code::NotFound);
}

#[test]
fn an_exec_that_is_not_there_is_not_found() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    task.state_of("e").fails(Code::NotFound);
    task.start_process("e").fails(Code::NotFound);
    task.kill_process("e", 9).fails(Code::NotFound);
    task.delete_process("e").fails(Code::NotFound);
    task.wait_process("e").fails(Code::NotFound);
    task.resize("e", 80, 24).fails(Code::NotFound);
    task.close_stdin("e").fails(Code::NotFound);
}

#[test]
fn a_second_container_of_a_name_is_refused() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().sleeping());
    let pid = task.create();
    let again = task.shim.call::<_, CreateTaskResponse>(method::CREATE, &task.create_request(Io::default()));
    if is_ours() {
        again.fails(Code::AlreadyExists);
    } else {
        // runc's own words come through as an unknown error.
        again.unwrap_err();
    }
    assert_eq!(task.state().pid, pid);
}

#[test]
fn a_second_exec_of_a_name_is_refused() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    task.exec("e", &process_spec(&["true"]), Io::default()).good();
    task.exec("e", &process_spec(&["true"]), Io::default()).fails(Code::AlreadyExists);
    task.delete_process("e").good();
}

#[test]
fn kill_of_a_stopped_container_is_not_found() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new());
    task.wait();
    task.kill_process("", 9).fails(Code::NotFound);
    task.delete();
}

#[test]
fn a_method_or_a_service_that_is_not_there_is_unimplemented() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.task(Bundle::new());
    let request = StateRequest { id: task.id.clone(), exec_id: String::new() };
    task.shim.call::<_, ConnectResponse>("Dance", &request).fails(Code::Unimplemented);
    let other = task.shim.call_service::<_, ConnectResponse>("some.other.Service", "State", &request);
    other.fails(Code::Unimplemented);
}

#[test]
fn a_program_that_is_missing_fails_and_leaves_nothing() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().args(["/no/such"]));
    // Known at Create or at Start, by the runtime.
    let failed = task.create_with(Io::default()).err().or_else(|| task.start_process("").err());
    let text = failed.expect("a program that is missing").status().unwrap().message.clone();
    assert!(text.contains("no such file or directory"), "{text}");
}

#[test]
fn a_configuration_that_is_broken_fails_and_leaves_nothing() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new());
    task.bundle.write_raw(b"{");
    task.create_with(Io::default()).unwrap_err();
    task.state_of("").fails(Code::NotFound);
}

#[test]
fn options_of_another_type_are_refused() {
    ours!("the reference takes what it can");
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.task(Bundle::new());
    let mut request = task.create_request(Io::default());
    request.options.as_mut().unwrap().value = vec![0xff; 8];
    task.shim.call::<_, CreateTaskResponse>(method::CREATE, &request).fails(Code::InvalidArgument);
}

#[test]
fn names_that_are_paths_are_refused() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.task(Bundle::new());
    for name in ["../x", "a/b", "", ".", ".."] {
        let mut request = task.create_request(Io::default());
        request.id = name.to_owned();
        task.shim.call::<_, CreateTaskResponse>(method::CREATE, &request).unwrap_err();
    }
}
