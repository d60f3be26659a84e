//! Debian's dockerd on the daemon's socket, in place of a containerd of its own.

use std::sync::OnceLock;

use gantry_e2e::{Docker, Gantryd, image_archive, require_engine};
use gantry_testkit::{skip_test, until_true};

use crate::in_terminal;

const TRAP: &str = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done";

fn shared() -> &'static (Gantryd, Docker) {
    static SHARED: OnceLock<(Gantryd, Docker)> = OnceLock::new();
    SHARED.get_or_init(|| pair("gt-task-dk"))
}

/// A daemon, and a dockerd on it.
fn pair(name: &str) -> (Gantryd, Docker) {
    let daemon = Gantryd::new(name);
    let docker = Docker::on(&format!("{name}d"), daemon.socket());
    (daemon, docker)
}

fn detached(docker: &Docker, name: &str, options: &[&str], args: &[&str]) {
    let call = docker.docker(["run", "--detach", "--network", "none", "--name", name]);
    call.args(options).arg("busybox").args(args).run().ok();
}

/// Removes a container, and waits until its bundle is gone.
fn remove(daemon: &Gantryd, docker: &Docker, name: &str) {
    let id = docker.inspect(name, "{{.Id}}");
    docker.docker(["rm", "--force", name]).run().ok();
    let bundle = super::remains::bundles(daemon).join("moby").join(&id);
    until_true("the bundle to be gone", || !bundle.exists());
    until_true("the shim to be gone", || super::remains::shims(&id).is_empty());
}

#[test]
fn run_prints_and_returns_the_status() {
    require_engine!("dockerd");
    let (_, docker) = shared();
    let output = docker.run(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"]).run().exits(7);
    assert_eq!((output.text(), output.stderr.trim()), ("out", "err"));
    assert_eq!(docker.run(&["--interactive"], &["cat"]).stdin("through").run().ok().text(), "through");
    let (shown, output) = in_terminal(docker.run(&["--tty"], &["sh", "-c", "tty; exit 4"]));
    assert!(shown.contains("/dev/pts/0") || shown.contains("/dev/console"), "{shown}");
    output.exits(4);
    docker.run(&[], &["/no/such"]).run().exits(127);
    docker.run(&[], &["/etc/passwd"]).run().exits(126);
}

#[test]
fn the_life_of_a_container() {
    require_engine!("dockerd");
    let (daemon, docker) = shared();
    detached(docker, "k-life", &[], &["sh", "-c", TRAP]);
    let exec =
        |options: &[&str], args: &[&str]| docker.docker(["exec"]).args(options).arg("k-life").args(args);
    assert_eq!(exec(&[], &["echo", "in"]).run().ok().text(), "in");
    exec(&[], &["sh", "-c", "exit 9"]).run().exits(9);
    let (shown, _) = in_terminal(exec(&["--tty", "--interactive"], &["tty"]));
    assert!(shown.contains("/dev/pts") || shown.contains("/dev/console"), "{shown}");
    until_true("the log", || docker.docker(["logs", "k-life"]).run().ok().text() == "ready");
    assert!(docker.docker(["top", "k-life"]).run().ok().stdout.contains("trap"));
    let stats =
        docker.docker(["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "k-life"]).run().ok();
    assert!(stats.stdout.contains("iB /") && !stats.text().ends_with(" 0"), "{stats}");
    let status = || docker.inspect("k-life", "{{.State.Status}} {{.State.ExitCode}}");
    docker.docker(["pause", "k-life"]).run().ok();
    assert_eq!(status(), "paused 0");
    docker.docker(["unpause", "k-life"]).run().ok();
    assert_eq!(status(), "running 0");
    docker.docker(["update", "--memory", "64m", "--memory-swap", "64m", "k-life"]).run().ok();
    let limit = exec(&[], &["cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]).run().ok();
    assert_eq!(limit.text(), "67108864");
    let pid = docker.inspect("k-life", "{{.State.Pid}}");
    docker.docker(["restart", "--time", "10", "k-life"]).run().ok();
    assert_ne!(docker.inspect("k-life", "{{.State.Pid}}"), pid);
    docker.docker(["stop", "--time", "10", "k-life"]).run().ok();
    assert_eq!(status(), "exited 3");
    docker.docker(["start", "k-life"]).run().ok();
    docker.docker(["kill", "k-life"]).run().ok();
    until_true("it to end", || status() == "exited 137");
    remove(daemon, docker, "k-life");
}

#[test]
fn restart_policies_and_oom_are_noticed() {
    require_engine!("dockerd");
    let (daemon, docker) = shared();
    detached(docker, "k-restart", &["--restart", "on-failure:2"], &["sh", "-c", "exit 1"]);
    until_true("two restarts", || {
        docker.inspect("k-restart", "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}") == "2 exited 1"
    });
    remove(daemon, docker, "k-restart");
    detached(docker, "k-always", &["--restart", "always"], &["true"]);
    until_true("restarts", || docker.inspect("k-always", "{{.RestartCount}}").parse::<u32>().unwrap() >= 2);
    remove(daemon, docker, "k-always");
    let options = ["--name", "k-oom", "--network", "none", "--memory", "16m", "--memory-swap", "16m"];
    let call = docker.docker(["run"]).args(options);
    call.args(["busybox", "sh", "-c", "x=a; while :; do x=$x$x; done"]).run().exits(137);
    assert_eq!(docker.inspect("k-oom", "{{.State.OOMKilled}}"), "true");
    remove(daemon, docker, "k-oom");
}

#[test]
fn a_daemon_killed_under_dockerd_comes_again_and_the_container_is_there() {
    require_engine!("dockerd");
    let (daemon, docker) = pair("gt-task-dkk");
    detached(&docker, "k-under", &["--restart", "no"], &["sh", "-c", TRAP]);
    let pid = docker.inspect("k-under", "{{.State.Pid}}");
    for _ in 0..2 {
        daemon.kill();
        daemon.start();
        // It notices a lost connection in its own time.
        until_true("dockerd to be connected again", || {
            docker.docker(["exec", "k-under", "true"]).run().status.success()
        });
        let state = docker.inspect("k-under", "{{.State.Status}} {{.State.Pid}}");
        assert_eq!(state, format!("running {pid}"));
    }
    docker.docker(["stop", "--time", "10", "k-under"]).run().ok();
    assert_eq!(docker.inspect("k-under", "{{.State.ExitCode}}"), "3");
    docker.docker(["start", "k-under"]).run().ok();
    remove(&daemon, &docker, "k-under");
    docker.run(&[], &["true"]).run().ok();
}

/// A dockerd that keeps its images in containerd: the newer one that `scripts/engines.sh` names.
#[test]
fn images_of_dockerd_in_the_store_come_and_go_and_leave_those_of_others() {
    require_engine!("dockerd");
    let (daemon, docker) = shared();
    if !docker.docker(["info", "--format", "{{.DriverStatus}}"]).run().ok().text().contains("snapshotter") {
        skip_test!("this dockerd keeps its images itself: scripts/engines.sh");
    }
    let other = daemon.namespace("others");
    other.ctr(["images", "import"]).arg(image_archive()).run().ok();
    let before = (other.images(), other.snapshots());
    detached(docker, "k-image", &[], &["sh", "-c", "echo made > /made; sleep 1000"]);
    until_true("the file", || docker.docker(["exec", "k-image", "cat", "/made"]).run().text() == "made");
    docker.docker(["commit", "k-image", "made:1"]).run().ok();
    docker.docker(["tag", "made:1", "made:2"]).run().ok();
    let run = |image: &str| docker.docker(["run", "--rm", "--network", "none", image, "cat", "/made"]).run();
    assert_eq!(run("made:2").ok().text(), "made");
    let moby = daemon.namespace("moby");
    let has = |name: &str| moby.images().iter().any(|image| image.ends_with(name));
    assert!(has("/made:1") && has("/made:2"), "{:?}", moby.images());
    docker.docker(["rmi", "made:1"]).run().ok();
    assert_eq!(run("made:2").ok().text(), "made");
    // What a container uses stays.
    docker.docker(["image", "prune", "--all", "--force"]).run().ok();
    assert!(has("/busybox:latest") && !has("/made:2"), "{:?}", moby.images());
    assert_eq!(docker.docker(["exec", "k-image", "cat", "/made"]).run().ok().text(), "made");
    remove(daemon, docker, "k-image");
    assert_eq!((other.images(), other.snapshots()), before);
    other.ctr(["run", "--rm", gantry_e2e::IMAGE, "k-others", "true"]).run().ok();
    docker.run(&[], &["true"]).run().ok();
    other.clear();
}
