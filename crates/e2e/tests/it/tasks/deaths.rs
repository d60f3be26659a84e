//! The daemon and its shims are killed, and tasks go on or end, and it is told once.

use std::fs;
use std::path::Path;
use std::time::Duration;

use gantry_e2e::{Gantryd, on_reference, require_engine};
use gantry_proto_containerd::events::TaskExit;
use gantry_testkit::{Invocation, until, until_true};

use super::case::kill;
use super::events::Listener;
use super::remains::assert_all_gone;
use super::{Case, DEBIAN, NAMESPACE, loaded, ours};

/// Waits for the file `/end`, and ends with `status`.
fn waiting(status: u8) -> String {
    format!("while ! test -e /end; do sleep 0.05; done; exit {status}")
}

/// The path of a container's `/end`, as long as it runs.
fn end_of(case: &Case<'_>) -> String {
    format!("/proc/{}/root/end", case.pid())
}

/// Lets a container end by itself, and waits until it has.
fn let_end(end: &str) {
    fs::write(end, "").unwrap();
    until_true("the container to end", || !Path::new(end).exists());
}

/// The status of every exit of a container's first process that the journal tells of.
fn exits(daemon: &Gantryd, id: &str) -> Vec<u32> {
    let journal = daemon.namespace(NAMESPACE).caller().journal(0);
    let exits = journal.iter().filter(|seen| seen.topic == "/tasks/exit");
    let exits = exits.map(|seen| seen.event.unpack::<TaskExit>().unwrap().unwrap());
    exits.filter(|exit| exit.container_id == id && exit.id == id).map(|exit| exit.exit_status).collect()
}

/// What is told of a process that another shim has adopted: its status from Linux 6.15 on.
#[track_caller]
fn assert_adopted(status: u32, expect: u32) {
    assert!(status == expect || status == 255, "{status} instead of {expect}");
}

/// A daemon that goes in one way and comes again finds its tasks.
fn comes_again(daemon: &Gantryd, names: [&str; 2], away: impl Fn(&Gantryd)) {
    let [lives, ends] = names.map(|id| Case::new(daemon, id));
    lives.detached(&["sh", "-c", &waiting(8)]);
    lives.exec("before", &["--detach"], &["sleep", "1000"]).run().ok();
    ends.detached(&["sh", "-c", &waiting(5)]);
    let (pid, shim, end) = (lives.pid(), lives.shim(), end_of(&ends));
    away(daemon);
    let_end(&end);
    daemon.start();
    assert_eq!(lives.status(), "RUNNING");
    assert_eq!((lives.pid(), lives.shim()), (pid, shim));
    lives.runs_execs("e");
    lives.task(&["kill", "--exec-id", "before", "--signal", "SIGKILL"]).run().ok();
    ends.wait_for("STOPPED");
    if !on_reference() {
        let told = until("the exit", || Some(exits(daemon, &ends.id)).filter(|told| !told.is_empty()));
        assert_eq!(told, [5]);
    }
    ends.remove(5);
    // Who waits hears the end.
    let client = lives.task(&["attach"]).spawn();
    let_end(&end_of(&lives));
    client.wait().exits(8);
    // It removes the task, too.
    lives.remove_record();
    if !on_reference() {
        assert_eq!((exits(daemon, &ends.id), exits(daemon, &lives.id)), (vec![5], vec![8]));
        assert_all_gone(daemon);
    }
}

#[test]
fn a_killed_daemon_finds_its_tasks_again() {
    require_engine!("ctr");
    let daemon = loaded("gt-task-kill");
    comes_again(&daemon, ["d-lives", "d-ends"], Gantryd::kill);
}

#[test]
fn a_stopped_daemon_finds_its_tasks_again() {
    require_engine!("ctr");
    let daemon = loaded("gt-task-stop");
    comes_again(&daemon, ["d-slives", "d-sends"], |daemon| assert!(daemon.stop(), "{}", daemon.log()));
}

#[test]
fn a_killed_daemon_finds_shims_of_others_again() {
    require_engine!("containerd-shim-runc-v2");
    let daemon = loaded("gt-task-other");
    let case = Case::of(&daemon, "d-other", DEBIAN);
    case.detached(&["sh", "-c", &waiting(5)]);
    let (pid, shim) = (case.pid(), case.shim());
    for _ in 0..2 {
        daemon.kill();
        daemon.start();
    }
    assert_eq!((case.status(), case.pid(), case.shim()), ("RUNNING".into(), pid, shim));
    case.runs_execs("e");
    let_end(&end_of(&case));
    case.wait_for("STOPPED");
    case.remove(5);
    if !on_reference() {
        assert_eq!(exits(&daemon, &case.id), [5]);
    }
}

#[test]
fn a_killed_shim_is_replaced_and_its_task_goes_on() {
    require_engine!("ctr");
    ours!();
    let daemon = loaded("gt-task-shim");
    let case = Case::new(&daemon, "d-shim");
    case.detached(&["sh", "-c", &waiting(6)]);
    let (pid, shim) = (case.pid(), case.shim());
    let waits = case.task(&["attach"]).spawn();
    kill(shim);
    until_true("another shim", || super::remains::shims(&case.id).iter().any(|other| *other != shim));
    assert_eq!((case.status(), case.pid()), ("RUNNING".into(), pid));
    case.runs_execs("e");
    let_end(&end_of(&case));
    assert_adopted(waits.wait().code().cast_unsigned(), 6);
    let told = exits(&daemon, &case.id);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_adopted(told[0], 6);
    case.remove_record();
    assert_all_gone(&daemon);
}

#[test]
fn a_killed_shim_of_others_takes_its_task_along() {
    require_engine!("containerd-shim-runc-v2");
    let daemon = loaded("gt-task-oshim");
    let case = Case::of(&daemon, "d-oshim", DEBIAN);
    let listener = Listener::start(&case);
    case.detached(&["sleep", "1000"]);
    let pid = case.pid();
    case.kill_shim();
    listener.until("/tasks/delete");
    until_true("the task to be gone", || case.status().is_empty());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    let exits: Vec<_> = listener.seen().into_iter().filter(|(topic, _)| topic == "/tasks/exit").collect();
    assert!(exits.len() == 1 && exits[0].1.contains("\"exit_status\":137"), "{exits:?}");
    case.run(&["--detach"], &["true"]).run().fails().says("already exists");
    case.remove_record();
}

#[test]
fn a_shim_that_dies_again_and_again_is_given_up() {
    require_engine!("ctr");
    ours!();
    let daemon = loaded("gt-task-again");
    let case = Case::new(&daemon, "d-again");
    let listener = Listener::start(&case);
    case.detached(&["sleep", "1000"]);
    let pid = case.pid();
    until_true("the container to end", || {
        // Not the one that cleans up.
        for shim in super::remains::shims_with(&[&case.id, "serve"]) {
            let shim = rustix::process::Pid::from_raw(shim.cast_signed()).unwrap();
            // It may have ended by itself meanwhile.
            let _ = rustix::process::kill_process(shim, rustix::process::Signal::KILL);
        }
        !Path::new(&format!("/proc/{pid}")).exists()
    });
    listener.until("/tasks/delete");
    until_true("the task to be gone", || case.status().is_empty());
    assert_eq!(exits(&daemon, &case.id).len(), 1);
    case.remove_record();
    assert_all_gone(&daemon);
}

#[test]
fn shim_and_daemon_are_killed_and_the_task_goes_on() {
    require_engine!("ctr");
    ours!();
    let daemon = loaded("gt-task-both");
    let [lives, ends] = ["d-blives", "d-bends"].map(|id| Case::new(&daemon, id));
    lives.detached(&["sleep", "1000"]);
    ends.detached(&["sh", "-c", &waiting(5)]);
    let (pid, end) = (lives.pid(), end_of(&ends));
    let shims = [lives.shim(), ends.shim()];
    daemon.kill();
    shims.into_iter().for_each(kill);
    let_end(&end);
    daemon.start();
    assert_eq!((lives.status(), lives.pid()), ("RUNNING".into(), pid));
    lives.runs_execs("e");
    ends.wait_for("STOPPED");
    let told = until("the exit", || Some(exits(&daemon, &ends.id)).filter(|told| !told.is_empty()));
    assert_eq!(told.len(), 1, "{told:?}");
    assert_adopted(told[0], 5);
    ends.remove(told[0].cast_signed());
    lives.kill("SIGKILL");
    lives.wait_for("STOPPED");
    let told = exits(&daemon, &lives.id);
    assert_adopted(told[0], 137);
    lives.remove(told[0].cast_signed());
    assert_all_gone(&daemon);
}

#[test]
fn a_shim_of_others_and_the_daemon_are_killed() {
    require_engine!("containerd-shim-runc-v2");
    let daemon = loaded("gt-task-oboth");
    let case = Case::of(&daemon, "d-oboth", DEBIAN);
    case.detached(&["sleep", "1000"]);
    let (pid, shim) = (case.pid(), case.shim());
    daemon.kill();
    kill(shim);
    daemon.start();
    until_true("the container to end", || !Path::new(&format!("/proc/{pid}")).exists());
    until_true("the task to be gone", || case.status().is_empty());
    if !on_reference() {
        let told = until("the exit", || Some(exits(&daemon, &case.id)).filter(|told| !told.is_empty()));
        assert_eq!(told, [137]);
    }
    case.remove_record();
}

/// However far a run has come when the daemon is killed: what is left of it can be removed, and then nothing is left.
#[test]
fn a_daemon_killed_at_any_moment_of_a_run_leaves_what_can_be_removed() {
    require_engine!("ctr");
    ours!();
    let daemon = loaded("gt-task-moment");
    let tenant = daemon.namespace(NAMESPACE);
    for moment in 0..16_u64 {
        let case = Case::new(&daemon, format!("d-moment{moment}"));
        let client = case.run(&["--detach"], &["sleep", "1000"]).spawn();
        std::thread::sleep(Duration::from_millis(10 * moment));
        daemon.kill();
        drop(client);
        // It looks into the image where it has mounted it.
        for mount in daemon.mounts().iter().filter(|mount| mount.contains("/containerd-mount")) {
            Invocation::new("umount").arg(mount).run().ok();
        }
        daemon.start();
        if tenant.ctr(["containers", "info", &case.id]).run().status.success() {
            if !case.status().is_empty() {
                case.task(&["rm", "--force"]).run().says_any(&["", "exit code"]);
            }
            until_true("the task to be gone", || case.status().is_empty());
            case.remove_record();
        }
        let _ = tenant.ctr(["snapshots", "rm", &case.id]).run();
        tenant.forget_clients();
    }
    assert_all_gone(&daemon);
}
