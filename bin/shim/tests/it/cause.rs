//! Why a process ended: in Wait, State, Delete and the event.

use std::sync::Arc;

use gantry_proto_shim::events::TaskExit;
use gantry_proto_shim::own::Cause;
use gantry_testkit::{Bundle, Need, require, until_true};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::harness::{Daemon, Expect, Io, Task, is_gone, ours, process_spec};

/// The cause of the first process's end, which all that tell it must agree on; then the container is deleted.
#[track_caller]
fn cause(task: &mut Task<'_>) -> Cause {
    let cause = task.wait_process("").good().cause.expect("Wait tells it");
    assert_eq!(task.state().cause.as_ref(), Some(&cause), "State");
    let id = task.id.clone();
    let events = task.daemon.events().until(&id, |event| event.kind == "exit" && event.process == id);
    let told = events.iter().filter_map(|event| event.event::<TaskExit>()).find(|exit| exit.id == id);
    assert_eq!(told.unwrap().cause.as_ref(), Some(&cause), "the event");
    assert_eq!(task.delete().cause.as_ref(), Some(&cause), "Delete");
    cause
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_program_that_ends_by_itself_has_its_status_for_a_cause() {
    ours!("nobody else tells a cause");
    require!(Need::Root);
    let daemon = Daemon::new();
    for status in [0, 7] {
        let mut task = daemon.running(Bundle::new().sh(&format!("exit {status}")));
        let cause = cause(&mut task);
        assert_eq!((cause.signal, cause.by_request, cause.out_of_memory), (0, false, false));
        assert_eq!((cause.text, cause.cgroup), (format!("exited with status {status}"), String::new()));
    }
}

#[test]
fn a_kill_by_request_is_told_from_one_by_somebody_else() {
    ours!("nobody else tells a cause");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    task.kill(9);
    let asked = cause(&mut task);
    assert_eq!((asked.signal, asked.by_request, asked.out_of_memory), (9, true, false));
    assert_eq!(asked.text, "killed by SIGKILL on request");
    let mut task = daemon.running(Bundle::new().sleeping());
    task.kill_all(9).good();
    assert!(cause(&mut task).by_request);
    let mut task = daemon.running(Bundle::new().sleeping());
    // Another signal, which the process ignores, is not what it ends by.
    task.kill(28);
    kill(task.state().pid);
    let found = cause(&mut task);
    assert_eq!((found.signal, found.by_request, found.out_of_memory), (9, false, false));
    assert_eq!(found.text, "killed by SIGKILL");
}

#[test]
fn a_container_that_was_never_started_is_deleted_by_request() {
    ours!("nobody else tells a cause");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().sleeping());
    task.create();
    assert_eq!(task.delete().cause.unwrap().text, "killed by SIGKILL on request");
}

/// Ends by what the kernel does with it.
const HOG: &str = "x=a; while :; do x=$x$x; done";
const LIMIT_BYTES: u64 = 16_777_216;

fn limited(bundle: Bundle) -> Bundle {
    bundle.edit(|c| c["linux"]["resources"]["memory"] = json!({ "limit": LIMIT_BYTES, "swap": LIMIT_BYTES }))
}

#[track_caller]
fn out_of_memory(cause: &Cause, cgroup: &str) {
    assert!(cause.out_of_memory && !cause.by_request, "{cause:?}");
    assert_eq!((cause.cgroup.as_str(), cause.memory_limit_bytes), (cgroup, LIMIT_BYTES), "{cause:?}");
    assert!(cause.memory_peak_bytes > LIMIT_BYTES / 2 && cause.memory_peak_bytes <= LIMIT_BYTES, "{cause:?}");
    assert!(cause.text.contains("out of memory in /"), "{cause:?}");
}

#[test]
fn running_out_of_memory_is_a_cause() {
    ours!("nobody else tells a cause");
    require!(Need::Root, Need::Controller("memory"));
    let daemon = Daemon::new();
    let mut task = daemon.running(limited(Bundle::new()).sh(HOG));
    let cgroup = task.bundle.cgroup();
    let found = cause(&mut task);
    assert_eq!(found.signal, 9);
    out_of_memory(&found, &cgroup);
    // The one that runs out may be another than the first.
    let mut task = daemon.running(limited(Bundle::new()).sh(&format!("sh -c '{HOG}'; exit 5")));
    let cgroup = task.bundle.cgroup();
    let found = cause(&mut task);
    assert_eq!(found.signal, 0);
    out_of_memory(&found, &cgroup);
    assert!(found.text.starts_with("exited with status 5 after"), "{found:?}");
}

#[test]
fn an_exec_that_runs_out_of_memory_does_not_taint_its_container() {
    ours!("nobody else tells a cause");
    require!(Need::Root, Need::Controller("memory"));
    let daemon = Daemon::new();
    let mut task = daemon.running(limited(Bundle::new()).sleeping());
    let cgroup = task.bundle.cgroup();
    task.exec("e", &process_spec(&["/bin/sh", "-c", HOG]), Io::default()).good();
    task.start_process("e").good();
    out_of_memory(&task.wait_process("e").good().cause.unwrap(), &cgroup);
    task.delete_process("e").good();
    kill(task.state().pid);
    let found = cause(&mut task);
    assert!(!found.out_of_memory, "{found:?}");
    assert_eq!((found.text.as_str(), found.memory_limit_bytes), ("killed by SIGKILL", LIMIT_BYTES));
}

#[test]
fn what_cannot_be_executed_says_why() {
    ours!("nobody else tells a cause");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    task.exec("e", &process_spec(&["/no/such/program"]), Io::default()).good();
    let error = task.start_process("e").unwrap_err();
    let message = error.status().unwrap().message.clone();
    for found in [task.wait_process("e").good().cause, task.state_of("e").good().cause] {
        let found = found.unwrap();
        assert_eq!(found.error, message);
        assert!(found.text.starts_with("could not be started: "), "{found:?}");
    }
    task.delete_process("e").good();
    task.kill(9);
    task.wait();
    task.delete();
    // A first process is executed by Start.
    let broken = Bundle::new().sh("true");
    let script = broken.rootfs().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut task = daemon.task(broken.edit(|c| c["process"]["args"] = json!(["/script"])));
    task.create();
    let error = task.start_process("").unwrap_err();
    let found = cause(&mut task);
    assert_eq!(found.error, error.status().unwrap().message);
}

#[test]
fn the_cause_outlives_the_shim_and_its_loss_is_one() {
    ours!("nobody else tells a cause");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut ended = daemon.handed(Bundle::new().sh("exit 7"));
    ended.create();
    ended.start();
    let before = ended.wait_process("").good().cause;
    let bundle = Bundle::new().sleeping();
    let id = crate::harness::name_of(&bundle);
    let mut lost = Task::new(&daemon, Arc::clone(&ended.shim), bundle, id);
    lost.create();
    lost.start();
    let pid = lost.state().pid;
    let old = Arc::clone(&ended.shim);
    old.kill();
    until_true("the shim to be gone", || old.is_gone());
    kill(pid);
    until_true("the container to end", || is_gone(pid));
    daemon.spawn(&ended.id, &ended.bundle, &daemon.listen(&ended.id));
    ended.shim = daemon.connect(&daemon.answer_of(&ended.id), &ended.id);
    lost.shim = Arc::clone(&ended.shim);
    assert_eq!(ended.state().cause, before);
    assert_eq!(ended.delete().cause, before);
    let found = cause(&mut lost);
    assert_eq!((found.signal, found.text.as_str()), (0, "its shim died: supervisor lost"));
}

#[test]
fn delete_without_the_shim_tells_what_was_known() {
    ours!("nobody else tells a cause");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sh("exit 7"));
    let before = task.wait_process("").good().cause;
    task.shim.ask(&task.id).good();
    task.shim.kill();
    until_true("the shim to be gone", || task.shim.is_gone());
    assert_eq!(daemon.delete(&task.id, task.bundle.path()).cause, before);
    task.forget();
}

#[test]
fn records_without_a_cause_are_read() {
    ours!("nobody else tells a cause");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.handed(Bundle::new().sh("exit 7"));
    task.create();
    task.start();
    assert_eq!(task.wait(), 7);
    let old = Arc::clone(&task.shim);
    old.kill();
    until_true("the shim to be gone", || old.is_gone());
    let path = daemon.state_root().join(&task.id).join("containers").join(format!("{}.json", task.id));
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    record.as_object_mut().unwrap().remove("oom_kills").unwrap();
    let init = record["init"].as_object_mut().unwrap();
    init.remove("cause").unwrap();
    for field in ["signal", "lost"] {
        init["exit"].as_object_mut().unwrap().remove(field).unwrap();
    }
    std::fs::write(&path, record.to_string()).unwrap();
    daemon.spawn(&task.id, &task.bundle, &daemon.listen(&task.id));
    task.shim = daemon.connect(&daemon.answer_of(&task.id), &task.id);
    let state = task.state();
    assert_eq!((state.exit_status, state.cause), (7, None));
    assert_eq!(task.delete().exit_status, 7);
}
