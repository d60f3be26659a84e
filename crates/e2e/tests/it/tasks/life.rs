//! From `run` to `rm`.

use std::fs;

use gantry_e2e::require_engine;
use gantry_testkit::until_true;

use super::remains::assert_all_gone;
use super::{Case, TRAP, loaded, shared};
use crate::in_terminal;

#[test]
fn run_prints_and_returns_the_status() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-run");
    let script = "echo out $A; echo err >&2; pwd; exit 7";
    let output = case.run(&["--rm", "--env", "A=b", "--cwd", "/tmp"], &["sh", "-c", script]).run().exits(7);
    assert_eq!(output.lines(), ["out b", "/tmp"], "{output}");
    assert!(output.stderr.contains("err"), "{output}");
    case.run(&["--rm"], &["true"]).run().ok();
    case.run(&["--rm"], &["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).run().exits(137);
}

#[test]
fn much_goes_through_both_ways() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-much");
    let output = case.run(&["--rm"], &["seq", "1", "200000"]).run().ok();
    assert_eq!((output.lines().len(), output.lines().last().copied()), (200_000, Some("200000")));
    let bytes = "0123456789abcde\n".repeat(1 << 16);
    let output = case.run(&["--rm"], &["sh", "-c", "wc -c"]).stdin(&bytes).run().ok();
    assert_eq!(output.text(), bytes.len().to_string());
}

#[test]
fn run_in_a_terminal() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-tty");
    let (shown, output) =
        in_terminal(case.run(&["--rm", "--tty"], &["sh", "-c", "tty; echo err >&2; exit 4"]));
    assert!(shown.contains("/dev/pts/0") || shown.contains("/dev/console"), "{shown}");
    assert!(shown.contains("err"), "{shown}");
    output.exits(4);
}

#[test]
fn a_detached_task_is_listed_and_removed() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-detached");
    case.detached(&["sh", "-c", TRAP]);
    assert_eq!(case.status(), "RUNNING");
    let words = fs::read_to_string(format!("/proc/{}/cmdline", case.pid())).unwrap();
    assert!(words.starts_with("sh\0-c\0trap"), "{words}");
    case.kill("SIGTERM");
    case.wait_for("STOPPED");
    case.remove(3);
    assert_eq!(case.status(), "");
}

#[test]
fn a_container_that_was_created_is_started_twice() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-again");
    let create = case.tenant().ctr(["containers", "create", gantry_e2e::IMAGE, &case.id]);
    create.args(["echo", "again"]).run().ok();
    for _ in 0..2 {
        assert_eq!(case.task(&["start"]).run().ok().text(), "again");
    }
    case.remove_record();
}

#[test]
fn pause_resume_ps_and_kill() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-pause");
    let count = "n=0; while :; do n=$((n+1)); echo $n >/n; sleep 0.02; done";
    case.detached(&["sh", "-c", count]);
    let file = format!("/proc/{}/root/n", case.pid());
    let read = || fs::read_to_string(&file).unwrap_or_default();
    until_true("it to count", || !read().is_empty());
    case.task(&["pause"]).run().ok();
    assert_eq!(case.status(), "PAUSED");
    let (before, id) = (read(), case.id.as_str());
    case.tenant().ctr(["task", "exec", "--exec-id", "no", id, "true"]).run().fails();
    assert_eq!(read(), before, "a paused task counts on");
    case.task(&["resume"]).run().ok();
    assert_eq!(case.status(), "RUNNING");
    until_true("it to count on", || read() != before);
    let listed = case.task(&["ps"]).run().ok();
    let pids: Vec<String> =
        listed.lines().iter().skip(1).map(|row| row.split_whitespace().next().unwrap().to_owned()).collect();
    assert!(pids.contains(&case.pid().to_string()), "{listed}");
    case.remove(137);
}

#[test]
fn kill_reaches_one_process_or_all() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-kill");
    let script = "trap 'echo one >>/got' USR1; sh -c 'trap \"echo other >>/got\" USR1; touch /ready; while :; do sleep 0.05; done' & \
        while :; do sleep 0.05; done";
    case.detached(&["sh", "-c", script]);
    let root = format!("/proc/{}/root", case.pid());
    until_true("both traps", || fs::exists(format!("{root}/ready")).unwrap());
    let got = || {
        let text = fs::read_to_string(format!("{root}/got")).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    case.kill("SIGUSR1");
    until_true("one to hear it", || got() == ["one"]);
    // The sleeps of both die of it, and the shells go on.
    case.task(&["kill", "--all", "--signal", "SIGUSR1"]).run().ok();
    until_true("all to hear it", || got() == ["one", "one", "other"]);
    case.remove(137);
}

#[test]
fn what_ran_with_rm_leaves_nothing() {
    require_engine!("ctr");
    let daemon = loaded("gt-task-rm");
    let case = Case::new(&daemon, "t-rm");
    for status in [0, 1, 0] {
        case.run(&["--rm"], &["sh", "-c", &format!("exit {status}")]).run().exits(status);
    }
    case.run(&["--rm"], &["/no/such"]).run().fails().says("no such file or directory");
    drop(case);
    assert_all_gone(&daemon);
}

#[test]
fn a_missing_program_leaves_nothing() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-missing");
    case.run(&["--detach"], &["/no/such"]).run().fails().says("no such file or directory");
    case.remove_record();
    // Its name is free again.
    case.run(&["--rm"], &["echo", "second"]).run().ok();
}

#[test]
fn a_user_namespace_reaches_its_root_file_system() {
    require_engine!("ctr");
    let case = Case::new(shared(), "t-userns");
    // containerd's TestUserNamespaces.
    let maps = ["--rm", "--uidmap", "0:1000:65535", "--gidmap", "0:2000:65535"];
    let script = "id -u; stat -c %u:%g /bin; awk '{print $2}' /proc/self/uid_map";
    let output = case.run(&maps, &["sh", "-c", script]).run().ok();
    assert_eq!(output.lines(), ["0", "0:0", "1000"], "{output}");
}

#[test]
fn the_state_may_have_a_long_path() {
    require_engine!("ctr");
    // containerd's TestRestartMonitor: sockets of shims would have longer names than the kernel takes.
    let daemon = loaded(&format!("gt-task-{}", "long".repeat(12)));
    let case = Case::new(&daemon, "t-long");
    case.detached(&["sh", "-c", TRAP]);
    case.runs_execs("e");
    daemon.kill();
    daemon.start();
    case.runs_execs("f");
    case.kill("TERM");
    case.wait_for("STOPPED");
    case.remove(3);
    drop(case);
    assert_all_gone(&daemon);
}
