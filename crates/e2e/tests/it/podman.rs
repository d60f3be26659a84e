//! podman with conmon.

use gantry_e2e::{Podman, require_engine};
use gantry_testkit::until_true;

use crate::in_terminal;

const TRAP: &str = "trap 'exit 3' TERM; while :; do sleep 0.05; done";

fn inspect(podman: &Podman, name: &str, format: &str) -> String {
    podman.podman(["inspect", "--format", format, name]).run().ok().text().to_owned()
}

fn detached(podman: &Podman, name: &str, options: &[&str], args: &[&str]) {
    let call = podman.podman(["run", "--detach", "--network", "none", "--name", name]);
    call.args(options).arg("busybox").args(args).run().ok();
}

fn remove(podman: &Podman, name: &str) {
    podman.podman(["rm", "--force", "--time", "0", name]).run().ok();
}

#[test]
fn run_prints_and_returns_the_exit_code() {
    require_engine!("podman");
    let podman = Podman::shared();
    let output = podman.run(&[], &["sh", "-c", "echo out; exit 7"]).run().exits(7);
    assert_eq!(output.text(), "out");
    assert_eq!(podman.run(&["--interactive"], &["cat"]).stdin("through").run().ok().text(), "through");
}

#[test]
fn options_of_the_process_apply() {
    require_engine!("podman");
    let podman = Podman::shared();
    let options =
        ["--user", "33:34", "--env", "A=b", "--workdir", "/tmp", "--hostname", "foo", "--read-only"];
    let script = "id -u; id -g; echo $A $PWD; hostname; touch /x 2>&1; true";
    let output = podman.run(&options, &["sh", "-c", script]).run().ok();
    assert_eq!(output.lines()[..4], ["33", "34", "b /tmp", "foo"], "{output}");
    assert!(output.stdout.contains("Read-only"), "{output}");
}

#[test]
fn run_in_a_terminal() {
    require_engine!("podman");
    let podman = Podman::shared();
    let (shown, output) = in_terminal(podman.run(&["--tty"], &["sh", "-c", "tty; exit 4"]));
    assert!(shown.contains("/dev/pts/0") || shown.contains("/dev/console"), "{shown}");
    output.exits(4);
}

#[test]
fn limits_are_set() {
    require_engine!("podman");
    let podman = Podman::shared();
    let options = [
        "--memory",
        "32m",
        "--pids-limit",
        "10",
        "--cpus",
        "0.5",
        "--ulimit",
        "nofile=512:512",
        "--ulimit",
        "nproc=1000:1000",
    ];
    let script =
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us; ulimit -n";
    let output = podman.run(&options, &["sh", "-c", script]).run().ok();
    assert_eq!(output.lines(), ["33554432", "10", "50000", "512"]);
}

#[test]
fn running_out_of_memory_is_status_137() {
    require_engine!("podman");
    let podman = Podman::shared();
    let options = ["--memory", "16m", "--memory-swap", "16m"];
    podman.run(&options, &["sh", "-c", "x=a; while :; do x=$x$x; done"]).run().exits(137);
}

#[test]
fn a_user_namespace_is_mapped_and_can_be_entered() {
    require_engine!("podman");
    let podman = Podman::shared();
    let options = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"];
    let output = podman.run(&options, &["cat", "/proc/self/uid_map"]).run().ok();
    assert_eq!(output.text().split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    // podman 4.3 now and then cannot remove such a container's shared memory, whatever the runtime: none, then.
    let [uid, uid_map, gid, gid_map] = options;
    detached(podman, "userns2", &["--ipc", "none", uid, uid_map, gid, gid_map], &["sleep", "1000"]);
    assert_eq!(podman.podman(["exec", "userns2", "id", "-u"]).run().ok().text(), "0");
    remove(podman, "userns2");
}

#[test]
fn missing_and_unusable_programs_are_127_and_126() {
    require_engine!("podman");
    let podman = Podman::shared();
    podman.run(&[], &["/no/such"]).run().exits(127);
    podman.run(&[], &["no-such"]).run().exits(127);
    podman.run(&[], &["/etc/passwd"]).run().exits(126);
}

#[test]
fn security_options_apply() {
    require_engine!("podman");
    let podman = Podman::shared();
    let script = "grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status";
    let options = ["--cap-drop", "all", "--security-opt", "no-new-privileges"];
    let output = podman.run(&options, &["sh", "-c", script]).run().ok();
    assert_eq!(output.lines(), ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]);
    let options = ["--sysctl", "net.ipv4.ip_default_ttl=7", "--device", "/dev/zero:/dev/zz"];
    let output = podman
        .run(&options, &["sh", "-c", "cat /proc/sys/net/ipv4/ip_default_ttl; ls -l /dev/zz"])
        .run()
        .ok();
    assert!(output.lines()[0] == "7" && output.stdout.contains("crw"), "{output}");
}

#[test]
fn exec_stats_pause_stop_and_restart() {
    require_engine!("podman");
    let podman = Podman::shared();
    detached(podman, "life2", &[], &["sh", "-c", TRAP]);
    let exec =
        |options: &[&str], args: &[&str]| podman.podman(["exec"]).args(options).arg("life2").args(args);
    assert_eq!(exec(&[], &["echo", "in"]).run().ok().text(), "in");
    exec(&[], &["sh", "-c", "exit 9"]).run().exits(9);
    exec(&[], &["/no/such"]).run().exits(127);
    let output =
        exec(&["--user", "33", "--env", "A=b", "--workdir", "/tmp"], &["sh", "-c", "id -u; echo $A $PWD"]);
    assert_eq!(output.run().ok().lines(), ["33", "b /tmp"]);
    let (shown, _) = in_terminal(exec(&["--tty"], &["tty"]));
    assert!(shown.contains("/dev/pts"), "{shown}");
    exec(&["--detach"], &["touch", "/made"]).run().ok();
    until_true("the detached command", || exec(&[], &["ls", "/made"]).run().status.success());
    assert!(podman.podman(["top", "life2", "pid"]).run().ok().lines().len() >= 2);
    let stats = podman.podman(["stats", "--no-stream", "--format", "{{.MemUsage}}", "life2"]).run().ok();
    assert!(stats.stdout.contains("kB") || stats.stdout.contains("MB"), "{stats}");
    podman.podman(["pause", "life2"]).run().ok();
    assert_eq!(inspect(podman, "life2", "{{.State.Status}}"), "paused");
    podman.podman(["unpause", "life2"]).run().ok();
    assert_eq!(inspect(podman, "life2", "{{.State.Status}}"), "running");
    podman.podman(["stop", "--time", "10", "life2"]).run().ok();
    assert_eq!(inspect(podman, "life2", "{{.State.ExitCode}}"), "3");
    podman.podman(["start", "life2"]).run().ok();
    podman.podman(["kill", "life2"]).run().ok();
    until_true("the exit code", || inspect(podman, "life2", "{{.State.ExitCode}}") == "137");
    remove(podman, "life2");
}

#[test]
fn limits_can_be_updated() {
    require_engine!("podman");
    let podman = Podman::shared();
    detached(podman, "update2", &["--memory", "32m"], &["sleep", "1000"]);
    podman.podman(["update", "--memory", "64m", "update2"]).run().ok();
    let file = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
    assert_eq!(podman.podman(["exec", "update2", "cat", file]).run().ok().text(), "67108864");
    remove(podman, "update2");
}

#[test]
fn restart_policies_start_it_again() {
    require_engine!("podman");
    let podman = Podman::shared();
    detached(podman, "restart2", &["--restart", "on-failure:2"], &["sh", "-c", "exit 1"]);
    until_true("two restarts", || {
        inspect(podman, "restart2", "{{.RestartCount}} {{.State.Status}}") == "2 exited"
    });
    remove(podman, "restart2");
}

#[test]
fn containers_share_namespaces() {
    require_engine!("podman");
    let podman = Podman::shared();
    detached(podman, "share2", &[], &["sleep", "1000"]);
    let options = ["--network", "container:share2", "--pid", "container:share2", "--ipc", "container:share2"];
    let output = podman.podman(["run", "--rm"]).args(options).args(["busybox", "ps"]).run().ok();
    assert!(output.stdout.contains("sleep 1000"), "{output}");
    remove(podman, "share2");
}

#[test]
fn logs_are_kept() {
    require_engine!("podman");
    let podman = Podman::shared();
    detached(podman, "logs2", &[], &["sh", "-c", "echo one; echo two >&2"]);
    podman.podman(["wait", "logs2"]).run().ok();
    let output = podman.podman(["logs", "logs2"]).run().ok();
    assert!(output.stdout.contains("one") && output.stderr.contains("two"), "{output}");
    remove(podman, "logs2");
}
