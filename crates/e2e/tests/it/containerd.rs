//! containerd with its runc shim, driven by ctr.

use gantry_e2e::{Containerd, require_engine};
use gantry_testkit::until_true;

use crate::in_terminal;

/// A command that ends with status 3 at SIGTERM.
const TRAP: &str = "trap 'exit 3' TERM; while :; do sleep 0.05; done";

#[test]
fn run_prints_and_returns_the_exit_code() {
    require_engine!("containerd");
    let containerd = Containerd::shared();
    let output =
        containerd.run(&["--rm"], &["run1", "sh", "-c", "echo out; echo err >&2; exit 7"]).run().exits(7);
    assert_eq!(output.text(), "out", "{output}");
}

#[test]
fn run_passes_environment_directory_and_mounts() {
    require_engine!("containerd");
    let containerd = Containerd::shared();
    let options =
        ["--rm", "--env", "A=b", "--cwd", "/tmp", "--mount", "type=bind,src=/etc,dst=/mnt,options=rbind:ro"];
    let script = "echo $A $PWD; ls /mnt/passwd; touch /mnt/x 2>&1";
    let output = containerd.run(&options, &["run2", "sh", "-c", script]).run();
    assert_eq!(output.lines()[..2], ["b /tmp", "/mnt/passwd"], "{output}");
    assert!(output.stdout.contains("Read-only"), "{output}");
}

#[test]
fn run_in_a_terminal() {
    require_engine!("containerd");
    let containerd = Containerd::shared();
    let (shown, output) =
        in_terminal(containerd.run(&["--rm", "--tty"], &["tty1", "sh", "-c", "tty; exit 4"]));
    assert!(shown.contains("/dev/pts/0") || shown.contains("/dev/console"), "{shown}");
    output.exits(4);
}

#[test]
fn limits_are_set() {
    require_engine!("containerd");
    let containerd = Containerd::shared();
    let options = [
        "--rm",
        "--memory-limit",
        "67108864",
        "--cpus",
        "0.5",
        "--cgroup",
        "/e2e/limits",
        "--mount",
        "type=bind,src=/sys/fs/cgroup,dst=/mnt,options=rbind:ro",
    ];
    let script = "cat /mnt/memory/e2e/limits/memory.limit_in_bytes /mnt/cpu/e2e/limits/cpu.cfs_quota_us";
    let output = containerd.run(&options, &["limits1", "sh", "-c", script]).run().ok();
    assert_eq!(output.lines(), ["67108864", "50000"]);
}

#[test]
fn running_out_of_memory_is_status_137() {
    require_engine!("containerd");
    let containerd = Containerd::shared();
    let script = "x=a; while :; do x=$x$x; done";
    containerd.run(&["--rm", "--memory-limit", "16777216"], &["oom1", "sh", "-c", script]).run().exits(137);
}

#[test]
fn a_user_namespace_is_mapped() {
    require_engine!("containerd");
    let containerd = Containerd::shared();
    let options = ["--rm", "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"];
    let output = containerd.run(&options, &["userns1", "cat", "/proc/self/uid_map"]).run().ok();
    assert_eq!(output.text().split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
}

#[test]
fn the_default_profile_applies() {
    require_engine!("containerd");
    let containerd = Containerd::shared();
    let script = "grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status";
    let output = containerd.run(&["--rm", "--seccomp"], &["profile1", "sh", "-c", script]).run().ok();
    assert_eq!(output.lines(), ["CapEff:\t00000000a80425fb", "NoNewPrivs:\t1", "Seccomp:\t2"]);
}

#[test]
fn a_missing_program_is_reported() {
    require_engine!("containerd");
    let containerd = Containerd::shared();
    let output = containerd.run(&["--rm"], &["missing1", "/no/such"]).run().fails();
    output.says("no such file or directory");
}

#[test]
fn exec_pause_kill_and_delete() {
    require_engine!("containerd");
    let containerd = Containerd::shared();
    containerd.run(&["--detach"], &["life1", "sh", "-c", TRAP]).run().ok();
    assert_eq!(containerd.status("life1"), "RUNNING");
    let exec = |id: &str, options: &[&str], args: &[&str]| {
        containerd.ctr(["task", "exec", "--exec-id", id]).args(options).arg("life1").args(args)
    };
    assert_eq!(exec("e1", &[], &["echo", "in"]).run().ok().text(), "in");
    exec("e2", &[], &["sh", "-c", "exit 9"]).run().exits(9);
    assert_eq!(exec("e3", &["--user", "33"], &["id", "-u"]).run().ok().text(), "33");
    let (shown, _) = in_terminal(exec("e4", &["--tty"], &["tty"]));
    assert!(shown.contains("/dev/pts"), "{shown}");
    assert!(containerd.ctr(["task", "ps", "life1"]).run().ok().lines().len() >= 2);
    assert!(containerd.ctr(["task", "metrics", "life1"]).run().ok().stdout.contains("memory"));
    containerd.ctr(["task", "pause", "life1"]).run().ok();
    assert_eq!(containerd.status("life1"), "PAUSED");
    containerd.ctr(["task", "resume", "life1"]).run().ok();
    assert_eq!(containerd.status("life1"), "RUNNING");
    containerd.ctr(["task", "kill", "--signal", "SIGTERM", "life1"]).run().ok();
    until_true("the task to stop", || containerd.status("life1") == "STOPPED");
    containerd.ctr(["task", "rm", "life1"]).run().says("exit code 3");
    containerd.ctr(["container", "rm", "life1"]).run().ok();
    until_true("the state to go", || !containerd.leftovers().contains(&"life1".to_owned()));
}

#[test]
fn kill_all_ends_every_process() {
    require_engine!("containerd");
    let containerd = Containerd::shared();
    containerd.run(&["--detach"], &["all1", "sh", "-c", "sleep 1000 & sleep 1000"]).run().ok();
    containerd.ctr(["task", "kill", "--all", "--signal", "SIGKILL", "all1"]).run().ok();
    until_true("the task to stop", || containerd.status("all1") == "STOPPED");
    containerd.ctr(["task", "rm", "all1"]).run().says("exit code 137");
    containerd.ctr(["container", "rm", "all1"]).run().ok();
}

#[test]
fn a_running_task_is_deleted_by_force() {
    require_engine!("containerd");
    let containerd = Containerd::shared();
    containerd.run(&["--detach"], &["force1", "sleep", "1000"]).run().ok();
    let _ = containerd.ctr(["task", "rm", "--force", "force1"]).run();
    containerd.ctr(["container", "rm", "force1"]).run().ok();
    until_true("the state to go", || !containerd.leftovers().contains(&"force1".to_owned()));
}

#[test]
fn ten_at_once() {
    require_engine!("containerd");
    let containerd = Containerd::shared();
    let running: Vec<_> =
        (0..10).map(|n| containerd.run(&["--rm"], &[&format!("many{n}"), "true"]).spawn()).collect();
    for process in running {
        process.wait().ok();
    }
}
