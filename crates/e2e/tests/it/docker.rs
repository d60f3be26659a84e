//! dockerd with its containerd and shim.

use std::time::Duration;

use gantry_e2e::{Docker, require_engine};
use gantry_testkit::{Need, missing, skip_test, until_true};

use crate::in_terminal;

const TRAP: &str = "trap 'exit 3' TERM; while :; do sleep 0.05; done";

fn detached(docker: &Docker, name: &str, options: &[&str], args: &[&str]) {
    let call = docker.docker(["run", "--detach", "--network", "none", "--name", name]);
    call.args(options).arg("busybox").args(args).run().ok();
}

fn remove(docker: &Docker, name: &str) {
    docker.docker(["rm", "--force", name]).run().ok();
}

#[test]
fn run_prints_and_returns_the_exit_code() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    let output = docker.run(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"]).run().exits(7);
    assert_eq!((output.text(), output.stderr.trim()), ("out", "err"));
    assert_eq!(docker.run(&["--interactive"], &["cat"]).stdin("through").run().ok().text(), "through");
}

#[test]
fn the_runtime_is_the_one_under_test() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    let output = docker.docker(["info", "--format", "{{.DefaultRuntime}}"]).run().ok();
    assert_eq!(output.text(), "ours");
}

#[test]
fn options_of_the_process_apply() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    let options =
        ["--user", "33:34", "--env", "A=b", "--workdir", "/tmp", "--hostname", "foo", "--read-only"];
    let script = "id -u; id -g; echo $A $PWD; hostname; touch /x 2>&1; true";
    let output = docker.run(&options, &["sh", "-c", script]).run().ok();
    assert_eq!(output.lines()[..4], ["33", "34", "b /tmp", "foo"], "{output}");
    assert!(output.stdout.contains("Read-only"), "{output}");
}

#[test]
fn run_in_a_terminal() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    let (shown, output) = in_terminal(docker.run(&["--tty"], &["sh", "-c", "tty; exit 4"]));
    assert!(shown.contains("/dev/pts/0") || shown.contains("/dev/console"), "{shown}");
    output.exits(4);
}

#[test]
fn the_bridge_network_is_set_up_by_the_hook() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    let output = docker.docker(["run", "--rm", "busybox", "ip", "addr"]).run().ok();
    assert!(output.stdout.contains("eth0") && output.stdout.contains("172."), "{output}");
}

#[test]
fn volumes_and_tmpfs_are_mounted() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    docker.run(&["--volume", "v3:/v"], &["sh", "-c", "echo kept >/v/f"]).run().ok();
    let options = ["--volume", "v3:/v:ro", "--tmpfs", "/t:size=1m", "--shm-size", "2m"];
    let script = "cat /v/f; grep -c ' /t tmpfs .*size=1024k' /proc/mounts; grep -c '/dev/shm.*size=2048k' /proc/mounts; touch /v/x 2>&1; true";
    let output = docker.run(&options, &["sh", "-c", script]).run().ok();
    assert_eq!(output.lines()[..3], ["kept", "1", "1"], "{output}");
    assert!(output.stdout.contains("Read-only"), "{output}");
}

#[test]
fn limits_are_set() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    let options = [
        "--memory",
        "32m",
        "--pids-limit",
        "10",
        "--cpus",
        "0.5",
        "--cpuset-cpus",
        "0",
        "--ulimit",
        "nofile=512:512",
        "--oom-score-adj",
        "500",
    ];
    let script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us cpuset/cpuset.cpus; \
        ulimit -n; cat /proc/self/oom_score_adj";
    let output = docker.run(&options, &["sh", "-c", script]).run().ok();
    assert_eq!(output.lines(), ["33554432", "10", "50000", "0", "512", "500"]);
}

#[test]
fn running_out_of_memory_is_noticed() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    let call = docker.docker([
        "run",
        "--name",
        "oom3",
        "--network",
        "none",
        "--memory",
        "16m",
        "--memory-swap",
        "16m",
    ]);
    call.args(["busybox", "sh", "-c", "x=a; while :; do x=$x$x; done"]).run().exits(137);
    assert_eq!(docker.inspect("oom3", "{{.State.OOMKilled}}"), "true");
    remove(docker, "oom3");
}

#[test]
fn missing_and_unusable_programs_are_127_and_126() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    docker.run(&[], &["/no/such"]).run().exits(127);
    docker.run(&[], &["no-such"]).run().exits(127);
    docker.run(&[], &["/etc/passwd"]).run().exits(126);
    docker.run(&[], &["/etc"]).run().exits(126);
}

#[test]
fn security_options_apply() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    let script = "grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status";
    let output = docker.run(&[], &["sh", "-c", script]).run().ok();
    assert_eq!(output.lines(), ["CapEff:\t00000000a80425fb", "NoNewPrivs:\t0", "Seccomp:\t2"]);
    let options = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
    let output = docker.run(&options, &["sh", "-c", script]).run().ok();
    assert_eq!(output.lines(), ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]);
    let script = "cat /proc/kcore | wc -c; echo 1 2>&1 >/proc/sys/kernel/panic; true";
    let output = docker.run(&[], &["sh", "-c", script]).run().ok();
    assert_eq!(output.lines()[0], "0");
    let options = ["--sysctl", "net.ipv4.ip_default_ttl=7", "--device", "/dev/zero:/dev/zz"];
    let output = docker
        .run(&options, &["sh", "-c", "cat /proc/sys/net/ipv4/ip_default_ttl; ls -l /dev/zz"])
        .run()
        .ok();
    assert!(output.lines()[0] == "7" && output.stdout.contains("crw"), "{output}");
}

#[test]
fn exec_top_stats_pause_stop_and_restart() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    detached(docker, "life3", &[], &["sh", "-c", TRAP]);
    let exec =
        |options: &[&str], args: &[&str]| docker.docker(["exec"]).args(options).arg("life3").args(args);
    assert_eq!(exec(&[], &["echo", "in"]).run().ok().text(), "in");
    exec(&[], &["sh", "-c", "exit 9"]).run().exits(9);
    let code = exec(&[], &["/no/such"]).run().code();
    assert!(code == 126 || code == 127, "{code}");
    let output =
        exec(&["--user", "33", "--env", "A=b", "--workdir", "/tmp"], &["sh", "-c", "id -u; echo $A $PWD"]);
    assert_eq!(output.run().ok().lines(), ["33", "b /tmp"]);
    let (shown, _) = in_terminal(exec(&["--tty"], &["tty"]));
    assert!(shown.contains("/dev/pts") || shown.contains("/dev/console"), "{shown}");
    assert!(docker.docker(["top", "life3"]).run().ok().stdout.contains("trap"));
    let stats = docker.docker(["stats", "--no-stream", "--format", "{{.MemUsage}}", "life3"]).run().ok();
    assert!(stats.stdout.contains("iB"), "{stats}");
    docker.docker(["pause", "life3"]).run().ok();
    assert_eq!(docker.inspect("life3", "{{.State.Status}}"), "paused");
    docker.docker(["unpause", "life3"]).run().ok();
    assert_eq!(docker.inspect("life3", "{{.State.Status}}"), "running");
    docker.docker(["stop", "--time", "10", "life3"]).run().ok();
    assert_eq!(docker.inspect("life3", "{{.State.ExitCode}}"), "3");
    docker.docker(["start", "life3"]).run().ok();
    docker.docker(["restart", "--time", "10", "life3"]).run().ok();
    docker.docker(["kill", "life3"]).run().ok();
    assert_eq!(docker.inspect("life3", "{{.State.ExitCode}}"), "137");
    remove(docker, "life3");
}

#[test]
fn signals_reach_the_process() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    detached(
        docker,
        "signal3",
        &[],
        &["sh", "-c", "trap 'echo got; exit 0' USR1; echo ready; while :; do sleep 0.05; done"],
    );
    let logs = || docker.docker(["logs", "signal3"]).run().ok().stdout;
    until_true("the trap", || logs().contains("ready"));
    docker.docker(["kill", "--signal", "USR1", "signal3"]).run().ok();
    assert_eq!(docker.docker(["wait", "signal3"]).run().ok().text(), "0");
    assert!(logs().contains("got"));
    remove(docker, "signal3");
}

#[test]
fn limits_can_be_updated() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    detached(docker, "update3", &["--memory", "32m"], &["sleep", "1000"]);
    docker
        .docker(["update", "--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5", "update3"])
        .run()
        .ok();
    let files = ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"];
    let output = docker.docker(["exec", "update3", "cat"]).args(files).run().ok();
    assert_eq!(output.lines(), ["67108864", "50000"]);
    remove(docker, "update3");
}

#[test]
fn restart_policies_start_it_again() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    detached(docker, "restart3", &["--restart", "on-failure:2"], &["sh", "-c", "exit 1"]);
    until_true("two restarts", || {
        docker.inspect("restart3", "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}") == "2 exited 1"
    });
    remove(docker, "restart3");
    detached(docker, "always3", &["--restart", "always"], &["true"]);
    until_true("restarts", || docker.inspect("always3", "{{.RestartCount}}").parse::<u32>().unwrap() >= 2);
    remove(docker, "always3");
}

#[test]
fn containers_share_namespaces() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    detached(docker, "share3", &[], &["sleep", "1000"]);
    let options = ["--network", "container:share3", "--pid", "container:share3"];
    let output = docker.docker(["run", "--rm"]).args(options).args(["busybox", "ps"]).run().ok();
    assert!(output.stdout.contains("sleep 1000"), "{output}");
    remove(docker, "share3");
}

#[test]
fn health_checks_run() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    detached(docker, "health3", &["--health-cmd", "true", "--health-interval", "100ms"], &["sleep", "1000"]);
    until_true("health", || docker.inspect("health3", "{{.State.Health.Status}}") == "healthy");
    remove(docker, "health3");
}

#[test]
fn eight_at_once() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    let running: Vec<_> =
        (0..8).map(|_| docker.run(&[], &["true"]).limit(Duration::from_secs(120)).spawn()).collect();
    for process in running {
        process.wait().ok();
    }
}

#[test]
fn a_daemon_with_remapped_users_runs_containers() {
    require_engine!("dockerd");
    if let Some(reason) = missing(&[Need::User]) {
        skip_test!(&reason);
    }
    let docker = Docker::remapped();
    let output = docker.run(&[], &["cat", "/proc/self/uid_map"]).run().ok();
    let words: Vec<String> = output.text().split_whitespace().map(str::to_owned).collect();
    assert!(words[0] == "0" && words[1] != "0", "{output}");
    detached(docker, "remap3", &[], &["sleep", "1000"]);
    assert_eq!(docker.docker(["exec", "remap3", "id", "-u"]).run().ok().text(), "0");
    remove(docker, "remap3");
}
