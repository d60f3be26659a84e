//! The life of a container, from create to remove.

use gantry_e2e::require_engine;
use gantry_testkit::until_true;
use serde_json::json;

use super::{TRAP, detached, remove, shared};
use crate::in_terminal;

#[test]
fn the_life_of_a_container() {
    require_engine!("dockerd");
    let docker = shared();
    detached(docker, "e-life", &[], &["sh", "-c", TRAP]);
    let exec =
        |options: &[&str], args: &[&str]| docker.docker(["exec"]).args(options).arg("e-life").args(args);
    assert_eq!(exec(&[], &["echo", "in"]).run().ok().text(), "in");
    exec(&[], &["sh", "-c", "exit 9"]).run().exits(9);
    exec(&[], &["/no/such"]).run().exits(127);
    assert_eq!(exec(&["--interactive"], &["cat"]).stdin("given").run().ok().text(), "given");
    assert_eq!(
        exec(&["--user", "5:6", "--env", "X=y"], &["sh", "-c", "id -u; echo $X"]).run().ok().text(),
        "5\ny"
    );
    let (shown, _) = in_terminal(exec(&["--tty", "--interactive"], &["tty"]));
    assert!(shown.contains("/dev/pts") || shown.contains("/dev/console"), "{shown}");
    until_true("the log", || docker.docker(["logs", "e-life"]).run().ok().text() == "ready");
    assert!(docker.docker(["top", "e-life"]).run().ok().stdout.contains("trap"));
    let stats =
        docker.docker(["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "e-life"]).run().ok();
    assert!(stats.stdout.contains("iB /") && !stats.text().ends_with(" 0"), "{stats}");
    let status = || docker.inspect("e-life", "{{.State.Status}} {{.State.ExitCode}}");
    docker.docker(["pause", "e-life"]).run().ok();
    assert_eq!(status(), "paused 0");
    docker.docker(["unpause", "e-life"]).run().ok();
    assert_eq!(status(), "running 0");
    docker.docker(["update", "--memory", "64m", "--memory-swap", "64m", "e-life"]).run().ok();
    let file = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    assert_eq!(exec(&[], &["sh", "-c", file]).run().ok().text(), "67108864");
    let pid = docker.inspect("e-life", "{{.State.Pid}}");
    docker.docker(["restart", "--time", "10", "e-life"]).run().ok();
    assert_ne!(docker.inspect("e-life", "{{.State.Pid}}"), pid);
    docker.docker(["stop", "--time", "10", "e-life"]).run().ok();
    assert_eq!(status(), "exited 3");
    docker.docker(["start", "e-life"]).run().ok();
    docker.docker(["kill", "e-life"]).run().ok();
    until_true("it to end", || status() == "exited 137");
    docker.docker(["rename", "e-life", "e-other"]).run().ok();
    assert_eq!(docker.inspect("e-other", "{{.Name}}"), "/e-other");
    docker.docker(["inspect", "--type", "container", "e-life"]).run().exits(1);
    remove(docker, "e-other");
}

#[test]
fn names_belong_to_one_container() {
    require_engine!("dockerd");
    let docker = shared();
    let create = || docker.docker(["create", "--name", "e-name", "busybox", "true"]).run();
    let id = create().ok().text().to_owned();
    create().exits(1);
    assert_eq!(docker.inspect(&id[..12], "{{.Id}}"), id);
    let listed =
        docker.docker(["ps", "--all", "--filter", "name=e-name", "--format", "{{.Names}} {{.Status}}"]);
    assert_eq!(listed.run().ok().text(), "e-name Created");
    remove(docker, "e-name");
    create().ok();
    remove(docker, "e-name");
}

#[test]
fn a_stopped_container_keeps_its_files() {
    require_engine!("dockerd");
    let docker = shared();
    docker
        .docker([
            "create",
            "--name",
            "e-files",
            "busybox",
            "sh",
            "-c",
            "cat /kept 2>/dev/null; echo again > /kept",
        ])
        .run()
        .ok();
    let start = || docker.docker(["start", "--attach", "e-files"]).run().ok();
    assert_eq!(start().text(), "");
    assert_eq!(start().text(), "again");
    assert!(docker.docker(["diff", "e-files"]).run().ok().text().lines().any(|line| line == "A /kept"));
    remove(docker, "e-files");
}

#[test]
fn waiting_returns_the_status() {
    require_engine!("dockerd");
    let docker = shared();
    detached(docker, "e-wait", &[], &["sh", "-c", "sleep 0.5; exit 5"]);
    assert_eq!(docker.docker(["wait", "e-wait"]).run().ok().text(), "5");
    assert_eq!(docker.docker(["wait", "e-wait"]).run().ok().text(), "5");
    remove(docker, "e-wait");
}

#[test]
fn a_second_client_attaches_to_what_runs() {
    require_engine!("dockerd");
    let docker = shared();
    detached(docker, "e-attach", &["--interactive"], &["sh", "-c", "read line; echo got $line; exit 6"]);
    // A client whose input ends leaves: so it stays open.
    let keeps_open = ["sh", "-c", "(echo word; sleep 2) | \"$@\"", "sh"];
    let output = docker.docker(["attach", "e-attach"]).wrapped(keeps_open).run().exits(6);
    assert_eq!(output.text(), "got word");
    remove(docker, "e-attach");
}

#[test]
fn the_output_of_an_exec_is_framed_as_its_start_says() {
    require_engine!("dockerd");
    let docker = shared();
    detached(docker, "e-framed", &[], &["sleep", "100"]);
    let raw = docker.raw();
    let output = |created: bool, started: bool| {
        let create = json!({ "Cmd": ["echo", "x"], "AttachStdout": true, "Tty": created });
        let exec = raw.request("POST", "/v1.41/containers/e-framed/exec", Some(&create));
        let path = format!("/v1.41/exec/{}/start", exec.json()["Id"].as_str().expect("an id"));
        raw.request("POST", &path, Some(&json!({ "Tty": started }))).body
    };
    assert_eq!(output(true, true), b"x\r\n");
    assert_eq!(output(true, false), b"\x01\0\0\0\0\0\0\x03x\r\n");
    assert_eq!(output(false, true), b"x\n");
    assert_eq!(output(false, false), b"\x01\0\0\0\0\0\0\x02x\n");
    remove(docker, "e-framed");
}

#[test]
fn what_waits_for_its_next_start_is_not_removed_in_passing() {
    require_engine!("dockerd");
    let docker = shared();
    detached(docker, "e-waits", &["--restart", "always"], &["false"]);
    until_true("a pause", || {
        docker.inspect("e-waits", "{{.State.Status}} {{.RestartCount}}") == "restarting 5"
    });
    let refused = docker.docker(["rm", "e-waits"]).run().fails();
    assert!(refused.stderr.contains("container is restarting"), "{}", refused.stderr);
    remove(docker, "e-waits");
}

#[test]
fn a_container_is_committed_while_it_ends() {
    require_engine!("dockerd");
    let docker = shared();
    for _ in 0..10 {
        detached(docker, "e-ends", &["--network", "none"], &["touch", "/made"]);
        docker.docker(["commit", "e-ends", "e-ended"]).run().ok();
        remove(docker, "e-ends");
    }
    docker.docker(["rmi", "--force", "e-ended"]).run().ok();
}
