//! Another binary in the place of the shim's, in the same process.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gantry_proto_shim::own::{
    ReportRequest, ReportResponse, SERVICE, UpgradeRequest, UpgradeResponse, method,
};
use gantry_proto_shim::process::Status;
use gantry_testkit::{Bundle, Invocation, Need, require};
use gantry_ttrpc::{CallError, Code};

use crate::harness::{Daemon, Expect, Input, Io, Output, Task, ours, process_spec, shim_binary};

/// A copy of the binary, as another version would be one. Another process copies it: a fork of this one must not hold it
/// open for writing when it is executed.
fn next_version(daemon: &Daemon) -> PathBuf {
    let path = daemon.path("next");
    Invocation::new("cp").arg(shim_binary()).arg(&path).run().ok();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn upgrade(task: &Task<'_>, path: &Path) -> Result<UpgradeResponse, CallError> {
    let request = UpgradeRequest { path: path.display().to_string() };
    task.shim.call_service(SERVICE, method::UPGRADE, &request)
}

#[test]
fn containers_and_their_clients_do_not_notice() {
    ours!("the reference has to end for it");
    require!(Need::Root);
    let daemon = Daemon::new();
    let (mut input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let mut task = daemon.task(Bundle::new().sh("while read line; do echo got $line; done; exit 9"));
    task.create_with(Io::stdout(out.path()).with_input(input.path())).good();
    task.start();
    task.exec("e", &process_spec(&["/bin/sleep", "1000"]), Io::default()).good();
    task.start_process("e").good();
    input.write("one\n");
    out.read_until("got one");
    let (before, pid) = (task.state().pid, task.shim.ask(&task.id).good().shim_pid);
    // Calls that wait are answered by the next binary, on the same connection.
    let (waiting, waiting_exec) = (task.wait_aside(""), task.wait_aside("e"));
    let next = next_version(&daemon);
    for _ in 0..3 {
        assert_eq!(upgrade(&task, &next).good().pid, pid);
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert_eq!(exe, Path::new("/"), "sealed again");
    }
    assert_eq!((task.state().pid, task.status()), (before, Status::Running));
    assert_eq!(task.sh("x", "exit 4"), 4);
    input.write("two\n");
    out.read_until("got two");
    task.kill_process("e", 9).good();
    assert_eq!(waiting_exec.join().unwrap().unwrap().exit_status, 137);
    task.close_stdin("").good();
    input.close();
    assert_eq!(waiting.join().unwrap().unwrap().exit_status, 9, "a child's true status");
    task.delete();
}

#[test]
fn terminals_and_logs_go_on() {
    ours!("the reference has to end for it");
    require!(Need::Root);
    let daemon = Daemon::new();
    let (mut input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let bundle = Bundle::new()
        .sh("while read line; do echo got $line; stty size; done")
        .edit(|c| c["process"]["terminal"] = true.into());
    let mut task = daemon.task(bundle);
    let io = Io { terminal: true, stderr: String::new(), ..Io::stdout(out.path()).with_input(input.path()) };
    task.create_with(io).good();
    task.start();
    input.write("one\n");
    out.read_until("got one");
    let report = |task: &Task<'_>| -> ReportResponse {
        task.shim.call_service(SERVICE, method::REPORT, &ReportRequest {}).good()
    };
    let streams = report(&task).streams_pid;
    upgrade(&task, &next_version(&daemon)).good();
    assert_eq!(report(&task).streams_pid, streams);
    task.resize("", 90, 30).good();
    input.write("two\n");
    out.read_until("30 90");
    task.kill(9);
    assert_eq!(task.wait(), 137);
    task.delete();
}

#[test]
fn what_ends_meanwhile_is_told() {
    ours!("the reference has to end for it");
    require!(Need::Root);
    let daemon = Daemon::new();
    let next = next_version(&daemon);
    for round in 0..10 {
        let mut task = daemon.running(Bundle::new().sh(&format!("sleep 0.0{round}; exit 3")));
        upgrade(&task, &next).good();
        assert_eq!(task.wait(), 3);
        task.delete();
    }
}

#[test]
fn what_is_no_binary_changes_nothing() {
    ours!("the reference has to end for it");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    upgrade(&task, Path::new("relative")).fails(Code::InvalidArgument);
    upgrade(&task, Path::new("/nowhere/at/all")).fails(Code::NotFound);
    upgrade(&task, Path::new("/dev/null")).fails(Code::InvalidArgument);
    let text = daemon.path("text");
    fs::write(&text, "no program").unwrap();
    upgrade(&task, &text).map(drop).unwrap_err();
    fs::set_permissions(&text, fs::Permissions::from_mode(0o777)).unwrap();
    upgrade(&task, &text).fails(Code::InvalidArgument);
    assert_eq!(task.status(), Status::Running);
    assert_eq!(task.sh("x", "exit 4"), 4);
    task.kill(9);
    task.wait();
    task.delete();
}
