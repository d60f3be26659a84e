//! Clients that come and go, and terminals that change.

use gantry_e2e::require_engine;
use gantry_testkit::{Terminal, until_true};
use rustix::process::Signal;

use super::{Case, loaded, shared};

const TICK: &str = "trap '' TERM INT PIPE; n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.05; done";

/// Attaches, sees the task say something, and is gone.
fn look(case: &Case<'_>) {
    let client = case.task(&["attach"]).spawn();
    until_true("the output", || client.stdout().contains("tick"));
    client.signal(Signal::KILL);
    let _ = client.wait();
    assert_eq!(case.status(), "RUNNING");
}

#[test]
fn a_client_attaches_and_goes_and_the_task_lives() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-attach");
    let client = case.run(&[], &["sh", "-c", TICK]).spawn();
    until_true("the output", || client.stdout().contains("tick"));
    client.signal(Signal::KILL);
    let _ = client.wait();
    look(&case);
    look(&case);
    case.remove(137);
}

#[test]
fn a_client_attaches_after_the_daemon_was_restarted() {
    require_engine!("ctr");
    let daemon = loaded("gt-task-attach");
    let case = Case::new(&daemon, "t-attach2");
    case.detached(&["sh", "-c", TICK]);
    look(&case);
    daemon.kill();
    daemon.start();
    look(&case);
    case.remove(137);
}

#[test]
fn who_attaches_hears_the_end() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-attachend");
    case.detached(&["sh", "-c", "while ! test -e /end; do echo tick; sleep 0.05; done; exit 8"]);
    let client = case.task(&["attach"]).spawn();
    until_true("the output", || client.stdout().contains("tick"));
    std::fs::write(format!("/proc/{}/root/end", case.pid()), "").unwrap();
    client.wait().exits(8);
    // It removes the task, too.
    assert_eq!(case.status(), "");
    case.remove_record();
}

#[test]
fn the_size_of_a_terminal_follows_the_clients() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-size");
    let script = "while sleep 0.05; do stty size; done";
    let call = case.run(&["--rm", "--tty"], &["sh", "-c", script]);
    let (mut terminal, other) = Terminal::pair();
    terminal.resize(31, 71);
    let call = call.redirected(">&0 2>&0").wrapped(["setsid", "--ctty", "--wait"]).stdin_fd(other);
    let running = call.spawn();
    terminal.read_until("31 71");
    terminal.resize(33, 77);
    terminal.read_until("33 77");
    case.kill("SIGKILL");
    terminal.read_to_end();
    running.wait().exits(137);
}
