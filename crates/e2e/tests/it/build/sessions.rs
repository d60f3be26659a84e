//! What people do with builds, one after the other.

use std::fs;
use std::time::{Duration, Instant};

use gantry_e2e::{Docker, require_engine};
use gantry_testkit::until_within;

use super::base::{build, build_text, context, daemon, own, shared};

/// Lines that say that a step was not done again.
fn hits(output: &gantry_testkit::Output) -> usize {
    output.lines().iter().filter(|line| line.contains("Using cache")).count()
}

fn image(docker: &Docker, name: &str) -> String {
    docker.docker(["image", "inspect", "--format", "{{.Id}}", name]).run().ok().text().to_owned()
}

#[test]
fn steps_are_done_again_only_when_something_has_changed() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = context(&[
        ("Dockerfile", "FROM base:1\nARG V\nCOPY dir /dir\nRUN echo $V > /v\nENV A=b\nWORKDIR /w"),
        ("dir/file", "one"),
    ]);
    let built = |options: &[&str]| build(docker, options, dir.path()).run().ok();
    assert_eq!(hits(&built(&["-t", "cached"])), 0);
    let first = image(docker, "cached");
    assert_eq!(hits(&built(&["-t", "cached"])), 5);
    assert_eq!(image(docker, "cached"), first);
    // A time is nothing.
    let file = fs::File::options().write(true).open(dir.path().join("dir/file")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    assert_eq!(hits(&built(&[])), 5);
    // An argument counts from where it is used.
    assert_eq!(hits(&built(&["--build-arg", "V=2"])), 2);
    fs::write(dir.path().join("dir/file"), "two").unwrap();
    assert_eq!(hits(&built(&[])), 1);
    assert_eq!(hits(&built(&["--no-cache"])), 0);
    fs::write(dir.path().join("dir/file"), "one").unwrap();
    fs::rename(dir.path().join("dir/file"), dir.path().join("dir/other")).unwrap();
    assert_eq!(hits(&built(&[])), 1);
}

#[test]
fn the_cache_survives_a_restart_and_forgets_what_was_removed() {
    require_engine!("dockerd");
    if gantry_e2e::on_reference() {
        gantry_testkit::skip_test!("it is about this daemon");
    }
    let (daemon, docker) = &own("gt-bld2");
    let daemon = daemon.as_ref().unwrap();
    let text = "FROM base:1\nRUN echo survives > /x\nENV A=survives";
    build_text(docker, &["-t", "survivor"], text).ok();
    daemon.stop();
    daemon.start();
    until_within(Duration::from_secs(30), "the door to open", || {
        docker.docker(["version"]).run().status.success().then_some(())
    });
    assert_eq!(hits(&build_text(docker, &[], text).ok()), 2);
    docker.docker(["rmi", "survivor"]).run().ok();
    assert_eq!(hits(&build_text(docker, &[], text).ok()), 0);
}

#[test]
fn a_build_that_is_cancelled_leaves_nothing() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = context(&[("Dockerfile", "FROM base:1\nRUN echo begun; sleep 1000\nRUN touch /never")]);
    let running = build(docker, &["-t", "never"], dir.path()).spawn();
    until_within(Duration::from_secs(30), "the command to run", || {
        running.stdout().contains("begun").then_some(())
    });
    running.signal(rustix::process::Signal::INT);
    running.wait().fails();
    let filter = ["ps", "--all", "--no-trunc", "--format", "{{.Command}}"];
    until_within(Duration::from_secs(30), "the container to be gone", || {
        let left = docker.docker(filter).run().ok();
        (!left.text().contains("sleep 1000")).then_some(())
    });
    docker.docker(["image", "inspect", "never"]).run().fails();
}

#[test]
fn a_quiet_build_tells_the_image_alone() {
    require_engine!("dockerd");
    let docker = shared();
    let output = build_text(docker, &["--quiet", "-t", "quiet"], "FROM base:1\nRUN echo loud").ok();
    assert_eq!(output.text(), image(docker, "quiet"));
    let failed = build_text(docker, &["--quiet"], "FROM base:1\nRUN echo why; exit 3").exits(3);
    assert!(format!("{}{}", failed.stdout, failed.stderr).contains("why"));
}

#[test]
fn containers_of_steps_go_or_stay_as_asked() {
    require_engine!("dockerd");
    let docker = shared();
    let left = |word: &str| {
        let all = ["ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Command}}"];
        let all = docker.docker(all).run().ok();
        let of = all.lines().into_iter().filter(|line| line.contains(word));
        of.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    build_text(docker, &[], "FROM base:1\nRUN echo goes").ok();
    assert!(left("echo goes").is_empty());
    build_text(docker, &["--rm=false"], "FROM base:1\nRUN echo stays").ok();
    build_text(docker, &[], "FROM base:1\nRUN echo failed; false").exits(1);
    for word in ["echo stays", "echo failed"] {
        let ids = left(word);
        assert_eq!(ids.len(), 1, "{word}");
        docker.docker(["start", "--attach", &ids[0]]).run();
        docker.docker(["rm", &ids[0]]).run().ok();
    }
    build_text(docker, &["--force-rm"], "FROM base:1\nRUN echo forced; false").exits(1);
    assert!(left("echo forced").is_empty());
}

#[test]
fn stages_can_be_wanted_by_name() {
    require_engine!("dockerd");
    let docker = shared();
    let text = "FROM base:1 AS one\nRUN echo 1 > /one\nFROM base:1 AS two\nRUN false\nFROM one\nRUN false";
    build_text(docker, &["--target", "ONE", "-t", "target"], text).ok();
    let seen = docker.docker(["run", "--rm", "--network", "none", "target", "cat", "/one"]).run().ok();
    assert_eq!(seen.text(), "1");
    build_text(docker, &["--target", "nope"], text).fails().says("nope");
}

#[test]
fn limits_and_hosts_are_those_of_the_request() {
    require_engine!("dockerd");
    let docker = shared();
    let options = ["--network", "none", "--ulimit", "nofile=100:200", "--shm-size", "2m", "--no-cache"];
    let text = "FROM base:1\nRUN ulimit -n && ls /sys/class/net";
    let output = build_text(docker, &options, text).ok();
    assert!(output.lines().contains(&"100") && !output.stdout.contains("eth0"), "{}", output.stdout);
    let text = "FROM base:1\nRUN cat /etc/hosts";
    let output = build_text(docker, &["--add-host", "somewhere:192.0.2.7", "--no-cache"], text).ok();
    assert!(output.stdout.contains("192.0.2.7"));
}

#[test]
fn layers_are_taken_from_the_images_that_are_named_alone() {
    require_engine!("dockerd");
    let docker = shared();
    let text = "FROM base:1\nRUN echo from > /x\nRUN echo from > /y";
    build_text(docker, &["--tag", "from:1"], text).ok();
    assert_eq!(hits(&build_text(docker, &["--cache-from", "from:1"], text).ok()), 2);
    assert_eq!(hits(&build_text(docker, &["--cache-from", "nothing:1"], text).ok()), 0);
    docker.docker(["rmi", "from:1"]).run().ok();
}

#[test]
fn the_cache_can_be_given_up() {
    require_engine!("dockerd");
    if gantry_e2e::on_reference() {
        gantry_testkit::skip_test!("dockerd has no such cache without BuildKit");
    }
    // Everybody's entries go.
    let (_daemon, docker) = &own("gt-bld3");
    let text = "FROM base:1\nRUN echo pruned > /x";
    build_text(docker, &[], text).ok();
    assert_eq!(hits(&build_text(docker, &[], text).ok()), 1);
    let df = docker.docker(["system", "df"]).run().ok();
    assert!(df.stdout.contains("Build Cache"));
    docker.docker(["builder", "prune", "--all", "--force"]).run().ok();
    assert_eq!(hits(&build_text(docker, &[], text).ok()), 0);
}

#[test]
fn what_this_builder_does_not_do_says_what_to_do() {
    require_engine!("dockerd");
    let (Some(_), docker) = daemon() else {
        gantry_testkit::skip_test!("the words are this daemon's");
    };
    build_text(docker, &[], "FROM base:1\nRUN --mount=type=cache,target=/x true").fails().says("BuildKit");
    let remote = docker.docker(["build", "https://r.example/x.git"]).env("DOCKER_BUILDKIT", "0");
    let begun = Instant::now();
    remote.run().fails();
    assert!(begun.elapsed() < Duration::from_secs(60));
}
