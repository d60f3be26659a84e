//! More processes in a container.

use gantry_e2e::require_engine;
use gantry_testkit::until_true;

use super::{Case, shared};
use crate::in_terminal;

#[test]
fn execs_have_streams_status_and_user() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-exec");
    case.detached(&["sleep", "1000"]);
    assert_eq!(case.hears("e1", &[], "echo in; exit 9", 9), ["in"]);
    assert_eq!(case.hears("e2", &["--user", "33", "--cwd", "/tmp"], "id -u; pwd", 0), ["33", "/tmp"]);
    let output = case.exec("errors", &[], &["sh", "-c", "seq 1 20000 >&2; echo err >&2"]).run().ok();
    assert!(output.stderr.ends_with("\n20000\nerr\n"), "{output}");
    let bytes = "0123456789abcde\n".repeat(1 << 12);
    let output = case.exec("e3", &[], &["wc", "-c"]).stdin(&bytes).run().ok();
    assert_eq!(output.text(), bytes.len().to_string());
    case.exec("e4", &[], &["sh", "-c", "kill -9 $$"]).run().exits(137);
    case.exec("e5", &[], &["/no/such"]).run().fails().says_any(&["no such file", "not found"]);
    // A name is free again once its process is removed.
    assert_eq!(case.hears("e1", &[], "echo again", 0), ["again"]);
    case.remove(137);
}

#[test]
fn exec_in_a_terminal() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-exectty");
    case.detached(&["sleep", "1000"]);
    let (shown, output) = in_terminal(case.exec("e", &["--tty"], &["sh", "-c", "tty; exit 6"]));
    assert!(shown.contains("/dev/pts/"), "{shown}");
    output.exits(6);
    case.remove(137);
}

/// As a person does it: the client in a terminal of `script`'s.
#[test]
fn exec_in_a_terminal_of_another_program() {
    require_engine!("script");
    let case = Case::new(shared(), "t-script");
    case.detached(&["sleep", "1000"]);
    let line = case.exec("e", &["--tty"], &["sh"]).to_string();
    let script = gantry_testkit::Invocation::new("script").args(["--quiet", "--return", "--command"]);
    let typed = "stty -echo; echo sum $((20 + 22)); exit 5\n";
    let output = script.arg(line).arg("/dev/null").stdin(typed).run().exits(5);
    assert!(output.stdout.contains("sum 42"), "{output}");
    case.remove(137);
}

#[test]
fn detached_execs_go_on_and_end_with_the_container() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-execd");
    case.detached(&["sleep", "1000"]);
    case.exec("e", &["--detach"], &["sh", "-c", "touch /there; sleep 1000"]).run().ok();
    let there = format!("/proc/{}/root/there", case.pid());
    until_true("the exec", || std::fs::exists(&there).unwrap());
    let listed = case.task(&["ps"]).run().ok();
    assert!(listed.lines().len() >= 3, "{listed}");
    case.task(&["kill", "--exec-id", "e", "--signal", "SIGKILL"]).run().ok();
    assert_eq!(case.status(), "RUNNING");
    case.remove(137);
}
