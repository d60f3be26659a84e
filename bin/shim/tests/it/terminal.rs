//! Terminals.

use gantry_testkit::{Bundle, Need, require};

use crate::harness::{Daemon, Expect, Input, Io, Output, process_spec};

fn terminal(input: &Input, out: &Output) -> Io {
    Io { terminal: true, stderr: String::new(), ..Io::stdout(out.path()).with_input(input.path()) }
}

fn bundle(script: &str) -> Bundle {
    Bundle::new().sh(script).edit(|c| c["process"]["terminal"] = serde_json::json!(true))
}

#[test]
fn what_is_typed_is_echoed_and_answered() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let (mut input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let mut task = daemon.task(bundle("tty; read line; echo got $line; exit 3"));
    task.create_with(terminal(&input, &out)).good();
    assert!(task.state().terminal);
    task.start();
    let shown = out.read_until("\n");
    assert!(shown.contains("/dev/pts/0") || shown.contains("/dev/console"), "{shown}");
    input.write("word\n");
    out.read_until("word\r\ngot word\r\n");
    assert_eq!(task.wait(), 3);
    task.delete();
}

#[test]
fn the_size_is_set() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let (mut input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let mut task = daemon.task(bundle("trap 'stty size' WINCH; echo ready; while :; do sleep 0.02; done"));
    task.create_with(terminal(&input, &out)).good();
    task.start();
    out.read_until("ready");
    task.resize("", 100, 40).good();
    out.read_until("40 100");
    input.close();
    task.kill(9);
    task.wait();
    task.delete();
}

#[test]
fn an_exec_has_a_terminal_of_its_own() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let (mut input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let mut process = process_spec(&["sh", "-c", "read line; stty size; echo got $line; exit 8"]);
    process["terminal"] = serde_json::json!(true);
    task.exec("e", &process, terminal(&input, &out)).good();
    task.start_process("e").good();
    task.resize("e", 90, 30).good();
    input.write("word\n");
    out.read_until("got word");
    assert!(out.text().contains("30 90"), "{}", out.text());
    assert_eq!(task.wait_process("e").good().exit_status, 8);
    task.delete_process("e").good();
}

#[test]
fn control_c_interrupts() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let (mut input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let mut task =
        daemon.task(bundle("trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.02; done"));
    task.create_with(terminal(&input, &out)).good();
    task.start();
    out.read_until("ready");
    input.write("\u{3}");
    out.read_until("caught");
    assert_eq!(task.wait(), 5);
    task.delete();
}

#[test]
fn all_that_was_shown_is_read_before_the_end() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let (input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let mut task = daemon.task(bundle("seq 1 20000; echo end"));
    task.create_with(terminal(&input, &out)).good();
    task.start();
    let shown = out.read_to_end();
    assert!(
        shown.starts_with("1\r\n2\r\n") && shown.ends_with("19999\r\n20000\r\nend\r\n"),
        "{} bytes",
        shown.len()
    );
    assert_eq!(task.wait(), 0);
    task.delete();
}

#[test]
fn a_terminal_is_watched_again_by_a_client_that_comes_back() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let (mut input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let mut task = daemon.task(bundle("while read line; do echo got $line; done"));
    task.create_with(terminal(&input, &out)).good();
    task.start();
    input.write("one\n");
    out.read_until("got one");
    out.close();
    out.reopen();
    input.write("two\n");
    out.read_until("got two");
    task.kill(9);
    task.wait();
    task.delete();
}
