//! Restart policies, health, and why a container ended.

use gantry_e2e::{Docker, require_engine};
use gantry_testkit::until_true;

use super::{detached, remove, shared};

#[test]
fn restart_policies_and_oom_are_noticed() {
    require_engine!("dockerd");
    let docker = shared();
    detached(docker, "e-restart", &["--restart", "on-failure:2"], &["sh", "-c", "exit 1"]);
    until_true("two restarts", || {
        docker.inspect("e-restart", "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}") == "2 exited 1"
    });
    remove(docker, "e-restart");
    detached(docker, "e-always", &["--restart", "always"], &["true"]);
    until_true("restarts", || docker.inspect("e-always", "{{.RestartCount}}").parse::<u32>().unwrap() >= 2);
    docker.docker(["stop", "e-always"]).run().ok();
    until_true("it to stay", || docker.inspect("e-always", "{{.State.Status}}") == "exited");
    remove(docker, "e-always");
    let options = ["--name", "e-oom", "--network", "none", "--memory", "16m", "--memory-swap", "16m"];
    let call = docker.docker(["run"]).args(options);
    call.args(["busybox", "sh", "-c", "x=a; while :; do x=$x$x; done"]).run().exits(137);
    assert_eq!(docker.inspect("e-oom", "{{.State.OOMKilled}}"), "true");
    remove(docker, "e-oom");
}

#[test]
fn health_is_asked_for() {
    require_engine!("dockerd");
    let docker = shared();
    let options = ["--health-cmd", "test -e /ok", "--health-interval", "200ms", "--health-retries", "2"];
    detached(docker, "e-health", &options, &["sh", "-c", "sleep 1; touch /ok; sleep 100"]);
    let health = || docker.inspect("e-health", "{{.State.Health.Status}}");
    until_true("health", || health() == "healthy");
    docker.docker(["exec", "e-health", "rm", "/ok"]).run().ok();
    until_true("sickness", || health() == "unhealthy");
    let listed = docker.docker(["ps", "--filter", "health=unhealthy", "--format", "{{.Names}}"]).run().ok();
    assert_eq!(listed.text(), "e-health");
    remove(docker, "e-health");
}

#[test]
fn an_unhealthy_container_is_restarted_if_it_says_so() {
    require_engine!("dockerd");
    let (Some(_daemon), docker) = Docker::engine("gt-engu") else {
        gantry_testkit::skip_test!("only swarms of the reference do that")
    };
    // A tmpfs is new at each start.
    let options = ["--tmpfs", "/s", "--health-cmd", "test ! -e /s/bad", "--health-interval", "200ms"];
    let label = "gantry.health-on-failure";
    let restart = ["--health-retries", "1", "--label", &format!("{label}=restart")];
    detached(&docker, "u-again", &[&options[..], &restart].concat(), &["sleep", "1000"]);
    let stop = ["--health-retries", "1", "--restart", "always", "--label", &format!("{label}=stop")];
    detached(&docker, "u-stop", &[&options[..], &stop].concat(), &["sleep", "1000"]);
    for name in ["u-again", "u-stop"] {
        docker.docker(["exec", name, "touch", "/s/bad"]).run().ok();
    }
    until_true("another life", || {
        let format = "{{.RestartCount}} {{.State.Status}} {{.State.Health.Status}}";
        docker.inspect("u-again", format) == "1 running healthy"
    });
    until_true("its end", || docker.inspect("u-stop", "{{.RestartCount}} {{.State.Status}}") == "0 exited");
    let odd = ["create", "--name", "u-odd", "--label", &format!("{label}=dance"), "busybox", "true"];
    let said = docker.docker(odd).run().fails();
    assert!(said.stderr.contains("it has to be none, kill, restart or stop"), "{}", said.stderr);
    for name in ["u-again", "u-stop"] {
        remove(&docker, name);
    }
}
