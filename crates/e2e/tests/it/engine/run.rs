//! `docker run`, and what it returns.

use gantry_e2e::require_engine;

use super::shared;
use crate::in_terminal;

#[test]
fn run_prints_and_returns_the_status() {
    require_engine!("dockerd");
    let docker = shared();
    let output = docker.run(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"]).run().exits(7);
    assert_eq!((output.text(), output.stderr.trim()), ("out", "err"));
    assert_eq!(docker.run(&["--interactive"], &["cat"]).stdin("through").run().ok().text(), "through");
    let (shown, output) = in_terminal(docker.run(&["--tty"], &["sh", "-c", "tty; exit 4"]));
    assert!(shown.contains("/dev/pts/0") || shown.contains("/dev/console"), "{shown}");
    output.exits(4);
    docker.run(&[], &["/no/such"]).run().exits(127);
    docker.run(&[], &["/etc/passwd"]).run().exits(126);
    docker.run(&["--user", "nobody-here"], &["true"]).run().exits(125);
    docker.docker(["run", "--rm", "--pull", "never", "no-such-image", "true"]).run().exits(125);
}

#[test]
fn nothing_of_a_run_that_removes_itself_stays() {
    require_engine!("dockerd");
    let docker = shared();
    for _ in 0..5 {
        docker.run(&["--name", "e-once"], &["true"]).run().ok();
    }
    let left = docker.docker(["ps", "--all", "--quiet", "--filter", "name=e-once"]).run().ok();
    assert_eq!(left.text(), "");
}

#[test]
fn environment_user_and_directory_are_as_asked() {
    require_engine!("dockerd");
    let docker = shared();
    let options = ["--env", "A=b", "--workdir", "/tmp", "--user", "1000:1001", "--hostname", "here"];
    let output = docker.run(&options, &["sh", "-c", "echo $A; pwd; id -u; id -g; hostname"]).run().ok();
    assert_eq!(output.text(), "b\n/tmp\n1000\n1001\nhere");
    let output = docker.run(&["--entrypoint", "echo"], &["from", "entrypoint"]).run().ok();
    assert_eq!(output.text(), "from entrypoint");
}

#[test]
fn what_fences_a_container_in_is_as_asked() {
    require_engine!("dockerd");
    let docker = shared();
    let seen =
        |options: &[&str], line: &str| docker.run(options, &["sh", "-c", line]).run().ok().text().to_owned();
    assert_eq!(seen(&["--read-only"], "touch /x 2>/dev/null || echo no"), "no");
    assert_eq!(
        seen(&["--cap-drop", "ALL"], "grep CapEff /proc/self/status | tr -d '\\t '"),
        "CapEff:0000000000000000"
    );
    assert_eq!(
        seen(&["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status | tr -d '\\t '"),
        "NoNewPrivs:1"
    );
    assert_eq!(
        seen(
            &["--pids-limit", "50"],
            "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max"
        ),
        "50"
    );
    assert_eq!(seen(&["--ulimit", "nofile=100:200"], "ulimit -n"), "100");
    assert_eq!(
        seen(
            &["--sysctl", "net.ipv4.ip_unprivileged_port_start=77"],
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
        ),
        "77"
    );
    assert_eq!(seen(&["--tmpfs", "/t:size=1m"], "df /t | tail -1 | tr -s ' ' | cut -d' ' -f2"), "1024");
    assert_eq!(seen(&["--shm-size", "2m"], "df /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"), "2048");
    docker.run(&["--sysctl", "kernel.core_pattern=|/x"], &["true"]).run().exits(125);
}

#[test]
fn logs_are_there_while_it_runs_and_afterwards() {
    require_engine!("dockerd");
    let docker = shared();
    // Two streams have no order of their own.
    let line = "echo wrong >&2; sleep 0.3; for i in 1 2 3 4 5; do echo line $i; done";
    super::detached(docker, "e-logs", &[], &["sh", "-c", line]);
    docker.docker(["wait", "e-logs"]).run().ok();
    let logs = |options: &[&str]| docker.docker(["logs"]).args(options).arg("e-logs").run().ok();
    let output = logs(&[]);
    assert_eq!(output.text(), "line 1\nline 2\nline 3\nline 4\nline 5");
    assert_eq!(output.stderr.trim(), "wrong");
    assert_eq!(logs(&["--tail", "2"]).text(), "line 4\nline 5");
    assert!(logs(&["--timestamps"]).text().lines().all(|line| line.contains("Z line ")));
    assert_eq!(logs(&["--follow"]).text().lines().count(), 5);
    super::remove(docker, "e-logs");
}
