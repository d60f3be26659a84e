//! Operations whose callers give up: what hangs ends with them, and nothing of it is left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry_proto_shim::Message;
use gantry_proto_shim::own::{self, ReportRequest, ReportResponse};
use gantry_proto_shim::process::Status;
use gantry_proto_shim::task::{CreateTaskResponse, StartRequest, StartResponse, method};
use gantry_testkit::{Bundle, Cgroups, Need, require, until_true};
use gantry_ttrpc::client::Options;
use gantry_ttrpc::{CallError, Code};

use crate::harness::{Daemon, Expect, Io, Shim, Task, ours, process_spec};

/// What the caller has given the shim.
const TIMEOUT: Duration = Duration::from_millis(300);

fn call<A: Message, B: Message + Default>(shim: &Shim, method: &str, request: &A) -> Result<B, CallError> {
    shim.client().call_with(shim.service(), method, request, &Options::default().timeout(TIMEOUT))
}

/// It gets that answer, or has left before it came.
#[track_caller]
fn is_late<T: std::fmt::Debug>(answer: Result<T, CallError>) {
    match answer {
        Err(CallError::Timeout { .. }) => {}
        answer => answer.fails(Code::DeadlineExceeded),
    }
}

/// Whether a process has this word in its command line.
fn runs(word: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(word))
}

#[test]
fn a_create_that_hangs_in_a_hook_is_undone() {
    ours!("the reference leaves the hook");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().sleeping());
    let (mark, inside) = (task.bundle.path().join("never"), task.bundle.path().join("inside"));
    let hook = format!("touch {}; until test -e {}; do sleep 0.02; done", inside.display(), mark.display());
    task.bundle.change(|c| {
        c["hooks"] =
            serde_json::json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", hook] }] });
    });
    let request = task.create_request(Io::default());
    let (create, update) = std::thread::scope(|scope| {
        let create = scope.spawn(|| call::<_, CreateTaskResponse>(&task.shim, method::CREATE, &request));
        until_true("the hook to run", || inside.exists());
        // It waits for what will not be.
        let update = task.update(&serde_json::json!({}));
        (create.join().unwrap(), update)
    });
    is_late(create);
    update.fails(Code::NotFound);
    let report =
        || task.shim.call_service::<_, ReportResponse>(own::SERVICE, own::method::REPORT, &ReportRequest {});
    until_true("the container to be gone", || report().good().containers.is_empty());
    until_true("the hook to be gone", || !runs(&mark.display().to_string()));
    // Nothing of the first attempt is in its way.
    task.bundle.change(|c| c["hooks"] = serde_json::json!({}));
    task.create();
    task.start();
    assert_eq!(task.sh("e", "exit 3"), 3);
}

#[test]
fn a_delete_ends_a_create_that_hangs_in_a_hook() {
    ours!("the reference leaves it");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().sleeping());
    let (mark, inside) = (task.bundle.path().join("never"), task.bundle.path().join("inside"));
    let hook = format!("touch {}; until test -e {}; do sleep 0.02; done", inside.display(), mark.display());
    task.bundle.change(|c| {
        c["hooks"] =
            serde_json::json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", hook] }] });
    });
    let request = task.create_request(Io::default());
    let (create, delete) = std::thread::scope(|scope| {
        let create = scope.spawn(|| task.shim.call::<_, CreateTaskResponse>(method::CREATE, &request));
        until_true("the hook to run", || inside.exists());
        let delete = task.delete_process("");
        (create.join().unwrap(), delete)
    });
    create.fails(Code::Cancelled);
    delete.fails(Code::NotFound);
    until_true("the hook to be gone", || !runs(&mark.display().to_string()));
    task.bundle.change(|c| c["hooks"] = serde_json::json!({}));
    task.create();
    task.start();
    assert_eq!(task.sh("e", "exit 3"), 3);
}

/// A container that Debian's runc knows how to make.
fn by_runc(daemon: &Daemon) -> Task<'_> {
    daemon.task(Bundle::new().sleeping().edit(|c| c["ociVersion"] = serde_json::json!("1.0.2")))
}

/// Has a runc run the container that does `first` and then hangs when it is told to do `verb`; its path.
fn hang_in(task: &mut Task<'_>, verb: &str, first: &str) -> PathBuf {
    let wrapper = task.bundle.path().join("hangs");
    let script =
        format!("#!/bin/sh\ncase \" $* \" in *' {verb} '*) {first}; sleep 1000 ;; esac\nexec runc \"$@\"\n");
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    task.options.binary_name = wrapper.display().to_string();
    wrapper
}

#[test]
fn an_exec_that_hangs_in_its_runtime_has_failed() {
    ours!("the reference leaves it");
    require!(Need::Root, Need::Program("runc"));
    let daemon = Daemon::new();
    let mut task = by_runc(&daemon);
    let wrapper = hang_in(&mut task, "exec", "true");
    task.create();
    task.start();
    task.exec("e", &process_spec(&["/bin/true"]), Io::default()).good();
    let request = StartRequest { id: task.id.clone(), exec_id: "e".into() };
    is_late(call::<_, StartResponse>(&task.shim, method::START, &request));
    assert_eq!(task.wait_process("e").good().exit_status, 255);
    until_true("the runtime to be gone", || !runs(&wrapper.display().to_string()));
    task.delete_process("e").good();
    assert_eq!(task.status(), Status::Running);
}

#[test]
fn a_runtime_that_is_killed_before_it_has_written_anything_leaves_no_cgroup() {
    ours!("the reference leaves it");
    require!(Need::Root, Need::Program("runc"));
    let daemon = Daemon::new();
    let mut task = by_runc(&daemon);
    let path = Path::new(task.bundle.cgroup_parent().trim_start_matches('/')).join("c");
    let made: Vec<_> = Cgroups::detect().dirs("/").iter().map(|root| root.join(&path)).collect();
    let inside = task.bundle.path().join("inside").display().to_string();
    let dirs = made.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(" ");
    hang_in(&mut task, "create", &format!("mkdir -p {dirs} && : > {inside}"));
    let request = task.create_request(Io::default());
    is_late(call::<_, CreateTaskResponse>(&task.shim, method::CREATE, &request));
    assert!(Path::new(&inside).exists(), "it made no cgroup");
    until_true("the cgroups to be gone", || made.iter().all(|dir| !dir.exists()));
}

#[test]
fn a_deletion_that_was_ended_half_way_is_gone_on_with() {
    ours!("the state is the runtime's own");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    task.kill(9);
    assert_eq!(task.wait(), 137);
    let state: Vec<_> =
        daemon.leftovers().into_iter().filter(|dir| dir.join("state.json").exists()).collect();
    assert_eq!(state.len(), 1);
    fs::write(state[0].join("rest"), "").unwrap();
    fs::remove_file(state[0].join("state.json")).unwrap();
    assert_eq!(task.delete().exit_status, 137);
    assert!(!state[0].exists());
}
