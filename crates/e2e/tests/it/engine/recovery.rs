//! What lives on when the daemon dies.

use gantry_e2e::{Docker, require_engine};
use gantry_testkit::until_true;

use super::{TRAP, detached, remove};

#[test]
fn containers_outlive_a_daemon_that_is_killed() {
    require_engine!("dockerd");
    let (daemon, docker) = Docker::engine("gt-engk");
    let Some(daemon) = daemon else { gantry_testkit::skip_test!("the reference is not killed") };
    detached(&docker, "k-runs", &[], &["sh", "-c", TRAP]);
    detached(&docker, "k-ends", &[], &["sh", "-c", "sleep 2; exit 9"]);
    detached(&docker, "k-again", &["--restart", "always"], &["sh", "-c", "sleep 2"]);
    docker.docker(["create", "--name", "k-waits", "busybox", "true"]).run().ok();
    docker.docker(["create", "--rm", "--name", "k-goes", "busybox", "true"]).run().ok();
    let pid = docker.inspect("k-runs", "{{.State.Pid}}");
    let address = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
    let before = docker.inspect("k-runs", address);
    let ends = docker.inspect("k-ends", "{{.State.Pid}}");
    daemon.kill();
    let process = std::path::Path::new("/proc").join(ends);
    until_true("it to end while nobody looks", || !process.exists());
    daemon.start();
    assert_eq!(docker.inspect("k-runs", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
    assert_eq!(docker.inspect("k-runs", address), before);
    // It was to go with its end, which nobody would have waited for.
    let gone = docker.docker(["inspect", "k-goes"]).run();
    assert!(gone.stderr.to_lowercase().contains("no such object"), "{}", gone.stderr);
    until_true("the end that nobody saw", || {
        docker.inspect("k-ends", "{{.State.Status}} {{.State.ExitCode}}") == "exited 9"
    });
    until_true("the policy to hold", || {
        docker.inspect("k-again", "{{.State.Status}} {{.RestartCount}}").starts_with("running ")
            && docker.inspect("k-again", "{{.RestartCount}}") != "0"
    });
    assert_eq!(docker.docker(["exec", "k-runs", "echo", "in"]).run().ok().text(), "in");
    assert_eq!(docker.docker(["logs", "k-runs"]).run().ok().text(), "ready");
    // Its address is taken: another one gets another.
    detached(&docker, "k-new", &[], &["sleep", "100"]);
    assert_ne!(docker.inspect("k-new", address), before);
    docker.docker(["stop", "k-runs"]).run().ok();
    assert_eq!(docker.inspect("k-runs", "{{.State.ExitCode}}"), "3");
    for name in ["k-runs", "k-ends", "k-again", "k-waits", "k-new"] {
        remove(&docker, name);
    }
    assert_eq!(docker.docker(["ps", "--all", "--quiet"]).run().ok().text(), "");
}
