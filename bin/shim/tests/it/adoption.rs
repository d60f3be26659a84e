//! A shim that is killed, and the one that takes its place.

use std::fs;
use std::sync::Arc;

use gantry_proto_shim::events::TaskExit;
use gantry_proto_shim::own::{ReportRequest, ReportResponse, SERVICE, method};
use gantry_proto_shim::process::Status;
use gantry_testkit::{Bundle, Need, require, until, until_true};
use gantry_ttrpc::Code;

use crate::harness::{Daemon, Expect, Input, Io, Output, Shim, Task, ours, process_spec};

/// Kills the shim of a task and starts another for the same bundle.
fn replace(daemon: &Daemon, task: &mut Task<'_>) -> Arc<Shim> {
    let old = Arc::clone(&task.shim);
    old.ask(&task.id).good();
    old.kill();
    until_true("the shim to be gone", || old.is_gone());
    let answer = daemon.start(&task.id, &task.bundle, Vec::new());
    task.shim = daemon.connect(&answer, &task.id);
    assert_ne!(task.shim.ask(&task.id).good().shim_pid, old.pid());
    old
}

/// The status of a process whose parent another shim was: Linux 6.15 tells it to whoever is not the parent.
#[track_caller]
pub(crate) fn assert_adopted(status: u32, expect: u32) {
    assert!(status == expect || status == 255, "{status} instead of {expect}");
}

#[test]
fn a_new_shim_serves_what_the_old_one_left() {
    ours!("the reference loses its containers");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    task.exec("e", &process_spec(&["/bin/sleep", "1000"]), Io::default()).good();
    task.start_process("e").good();
    let before = (task.state().pid, task.state_of("e").good().pid);
    replace(&daemon, &mut task);
    assert_eq!((task.state().pid, task.state_of("e").good().pid), before);
    assert_eq!(task.status(), Status::Running);
    assert_eq!(task.sh("x", "exit 6"), 6);
    task.pause().good();
    assert_eq!(task.status(), Status::Paused);
    task.resume().good();
    assert_eq!(task.pids().good().processes.len(), 2);
    task.stats().good();
    task.kill_process("e", 9).good();
    assert_adopted(task.wait_process("e").good().exit_status, 137);
    task.kill(15);
    task.kill(9);
    let status = task.wait();
    assert_adopted(status, 137);
    assert_eq!(task.delete().exit_status, status);
}

#[test]
fn the_true_status_of_an_adopted_process_is_told() {
    ours!("the reference loses its containers");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut input = Input::new(daemon.path("in"));
    let out = Output::new(daemon.path("out"));
    let mut task = daemon.task(Bundle::new().sh("read line; exit 42"));
    task.create_with(Io::stdout(out.path()).with_input(input.path())).good();
    task.start();
    replace(&daemon, &mut task);
    input.write("go\n");
    let status = task.wait();
    assert_adopted(status, 42);
    let events = daemon.events().until(&task.id, |event| event.kind == "exit");
    let exits: Vec<TaskExit> = events.iter().filter_map(|event| event.event()).collect();
    assert_eq!((exits.len(), exits[0].exit_status), (1, status));
    task.delete();
}

#[test]
fn output_goes_on_without_a_shim_and_after_it() {
    ours!("the reference's containers end with their output");
    require!(Need::Root);
    let daemon = Daemon::new();
    let (mut input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let mut task = daemon.task(Bundle::new().sh("while read line; do echo got $line; done; exit 3"));
    task.create_with(Io::stdout(out.path()).with_input(input.path())).good();
    task.start();
    input.write("one\n");
    out.read_until("got one");
    // Nobody reads and nobody serves: the container must not end by SIGPIPE.
    out.close();
    task.shim.ask(&task.id).good();
    let pid = task.state().pid;
    let old = Arc::clone(&task.shim);
    old.kill();
    until_true("the shim to be gone", || old.is_gone());
    input.write("two\n");
    // Its own descriptor is all that holds the FIFO now.
    let own = fs::File::open(format!("/proc/{pid}/fd/1")).unwrap();
    let mut fds = [rustix::event::PollFd::new(&own, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).unwrap();
    drop(own);
    assert!(!crate::harness::is_gone(pid));
    let answer = daemon.start(&task.id, &task.bundle, Vec::new());
    task.shim = daemon.connect(&answer, &task.id);
    out.reopen();
    out.read_until("got two");
    input.write("three\n");
    out.read_until("got three");
    task.close_stdin("").good();
    input.close();
    assert_adopted(task.wait(), 3);
    task.delete();
}

#[test]
fn a_terminal_outlives_its_shim() {
    ours!("the reference's terminals hang up");
    require!(Need::Root);
    let daemon = Daemon::new();
    let (mut input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let bundle = Bundle::new()
        .sh("trap 'echo hangup' HUP; while read line; do echo got $line; stty size; done")
        .edit(|c| c["process"]["terminal"] = true.into());
    let mut task = daemon.task(bundle);
    let io = Io { terminal: true, stderr: String::new(), ..Io::stdout(out.path()).with_input(input.path()) };
    task.create_with(io).good();
    task.start();
    input.write("one\n");
    out.read_until("got one");
    replace(&daemon, &mut task);
    input.write("two\n");
    out.read_until("got two");
    task.resize("", 101, 37).good();
    input.write("three\n");
    out.read_until("37 101");
    assert!(!out.text().contains("hangup"));
    task.kill(9);
    task.wait();
    task.delete();
}

#[test]
fn a_log_misses_nothing_when_its_shim_is_killed() {
    ours!("the reference has no logs of its own");
    require!(Need::Root);
    let daemon = Daemon::new();
    let log = daemon.path("log");
    let io = |log: &std::path::Path| {
        let uri = format!("json-file://{}", log.display());
        Io { stdout: uri.clone(), stderr: uri, ..Io::default() }
    };
    let script = "n=0; while [ $n -lt 400 ]; do echo line $n; n=$((n+1)); usleep 2000; done";
    let mut task = daemon.task(Bundle::new().sh(script));
    task.create_with(io(&log)).good();
    task.start();
    until_true("the first lines", || fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > 20));
    replace(&daemon, &mut task);
    assert_adopted(task.wait(), 0);
    let lines = until("every line", || {
        let text = fs::read_to_string(&log).ok()?;
        (text.lines().count() >= 400).then_some(text)
    });
    for (number, line) in lines.lines().enumerate() {
        assert!(line.starts_with(&format!("{{\"log\":\"line {number}\\n\"")), "{number}: {line}");
    }
    task.delete();
}

#[test]
fn what_ended_without_a_shim_is_told_once() {
    ours!("the reference loses its containers");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    let pid = task.state().pid;
    let old = Arc::clone(&task.shim);
    old.ask(&task.id).good();
    old.kill();
    until_true("the shim to be gone", || old.is_gone());
    let raw = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(raw, rustix::process::Signal::KILL).unwrap();
    until_true("the container to end", || crate::harness::is_gone(pid));
    let answer = daemon.start(&task.id, &task.bundle, Vec::new());
    task.shim = daemon.connect(&answer, &task.id);
    assert_eq!(task.status(), Status::Stopped);
    assert_eq!(task.wait(), 255, "nobody saw how it ended");
    let events = daemon.events().until(&task.id, |event| event.kind == "exit");
    assert_eq!(events.iter().filter(|event| event.kind == "exit").count(), 1);
    task.kill_process("", 9).fails(Code::NotFound);
    task.delete();
}

#[test]
fn delete_ends_the_streams_of_a_killed_shim() {
    ours!("the reference's streams end with it");
    require!(Need::Root);
    let daemon = Daemon::new();
    let (input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let terminal = Bundle::new().sleeping().edit(|c| c["process"]["terminal"] = true.into());
    let mut task = daemon.task(terminal);
    let io = Io { terminal: true, stderr: String::new(), ..Io::stdout(out.path()).with_input(input.path()) };
    task.create_with(io).good();
    task.start();
    let report: ReportResponse = task.shim.call_service(SERVICE, method::REPORT, &ReportRequest {}).good();
    task.shim.ask(&task.id).good();
    task.shim.kill();
    until_true("the shim to be gone", || task.shim.is_gone());
    daemon.delete(&task.id, task.bundle.path());
    task.forget();
    until_true("the streams process to end", || crate::harness::is_gone(report.streams_pid));
    out.read_to_end();
}

#[test]
fn a_container_that_was_half_made_is_removed() {
    ours!("the reference leaves it");
    require!(Need::Root);
    let daemon = Daemon::new();
    let gate = daemon.path("gate");
    let hook = format!("until test -e {}; do sleep 0.02; done", gate.display());
    let bundle = Bundle::new().sleeping().edit(|c| {
        c["hooks"] =
            serde_json::json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", hook] }] });
    });
    let mut task = daemon.task(bundle);
    let request = task.create_request(Io::default());
    let client = task.shim.client();
    let created = std::thread::spawn(move || {
        let service = gantry_proto_shim::task::SERVICE_V2;
        client.call::<_, gantry_proto_shim::task::CreateTaskResponse>(service, "Create", &request)
    });
    let state = daemon.runtime_root().join(daemon.namespace()).join(&task.id);
    until_true("the hook to run", || state.exists());
    task.shim.ask(&task.id).good();
    task.shim.kill();
    until_true("the shim to be gone", || task.shim.is_gone());
    created.join().unwrap().unwrap_err();
    fs::write(&gate, "").unwrap();
    let answer = daemon.start(&task.id, &task.bundle, Vec::new());
    task.shim = daemon.connect(&answer, &task.id);
    task.shim.ask(&task.id).good();
    until_true("what was made to be removed", || !state.exists());
    task.state_of("").fails(Code::NotFound);
    // The name is free.
    task.create();
    task.start();
    task.kill(9);
    task.wait();
    task.delete();
}
