//! Images: names, archives, registries, and what is built and committed.

use std::fs;

use gantry_e2e::{Access, Registry, require_engine};

use super::{remove, shared};

const DOCKERFILE: &str = "FROM busybox AS first
RUN echo built > /made
FROM busybox
ARG WORD=none
ENV KEPT=$WORD
WORKDIR /work
COPY --from=first /made .
COPY file other/
RUN cat made other/file > both
LABEL a.b=c
USER 1000:1000
CMD [\"cat\", \"both\"]
";

#[test]
fn names_come_and_go() {
    require_engine!("dockerd");
    let docker = shared();
    docker.docker(["tag", "busybox", "e-tag:one"]).run().ok();
    let ids =
        |name: &str| docker.docker(["images", "--quiet", "--no-trunc", name]).run().ok().text().to_owned();
    assert_eq!(ids("e-tag:one"), ids("busybox"));
    docker.docker(["rmi", "e-tag:one"]).run().ok();
    assert_eq!(ids("e-tag:one"), "");
    docker.docker(["rmi", "no-such-image"]).run().exits(1);
    docker.docker(["create", "--name", "e-uses", "busybox"]).run().ok();
    docker.docker(["rmi", "busybox"]).run().exits(1);
    remove(docker, "e-uses");
}

#[test]
fn archives_go_out_and_come_in() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("image.tar").display().to_string();
    docker.docker(["tag", "busybox", "e-saved:1"]).run().ok();
    docker.docker(["save", "--output", &archive, "e-saved:1"]).run().ok();
    docker.docker(["rmi", "e-saved:1"]).run().ok();
    assert!(docker.docker(["load", "--input", &archive]).run().ok().text().contains("e-saved:1"));
    let call = docker.docker(["run", "--rm", "e-saved:1", "echo", "loaded"]);
    assert_eq!(call.run().ok().text(), "loaded");
    docker.docker(["rmi", "e-saved:1"]).run().ok();
}

#[test]
fn images_go_through_a_registry() {
    require_engine!("dockerd");
    require_engine!("docker-registry");
    let docker = shared();
    let registry = Registry::shared(Access::Plain);
    let name = format!("{}/e-pushed:1", registry.host());
    docker.docker(["tag", "busybox", &name]).run().ok();
    docker.docker(["push", &name]).run().ok();
    docker.docker(["rmi", &name]).run().ok();
    let output = docker.docker(["run", "--rm", &name, "echo", "pulled"]).run().ok();
    assert_eq!(output.text(), "pulled");
    assert!(docker.docker(["pull", &name]).run().ok().text().contains("Image is up to date"));
    docker.docker(["rmi", &name]).run().ok();
}

#[test]
fn a_container_becomes_an_image() {
    require_engine!("dockerd");
    let docker = shared();
    docker.docker(["run", "--name", "e-commit", "busybox", "sh", "-c", "echo kept > /kept"]).run().ok();
    docker.docker(["commit", "--change", "CMD [\"cat\", \"/kept\"]", "e-commit", "e-committed"]).run().ok();
    remove(docker, "e-commit");
    assert_eq!(docker.docker(["run", "--rm", "e-committed"]).run().ok().text(), "kept");
    docker.docker(["rmi", "e-committed"]).run().ok();
}

#[test]
fn dockerfiles_are_built_once() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("Dockerfile"), DOCKERFILE).unwrap();
    fs::write(dir.path().join("file"), "copied\n").unwrap();
    let context = dir.path().display().to_string();
    let build = |word: &str| {
        let argument = format!("WORD={word}");
        let call = docker.docker(["build", "--tag", "e-built", "--build-arg", &argument, &context]);
        call.env("DOCKER_BUILDKIT", "0").run().ok().text().to_owned()
    };
    let first = build("one");
    assert!(first.contains("Successfully tagged e-built:latest"), "{first}");
    assert_eq!(docker.docker(["run", "--rm", "e-built"]).run().ok().text(), "built\ncopied");
    let shown =
        docker.inspect("e-built", "{{.Config.User}} {{.Config.WorkingDir}} {{index .Config.Labels \"a.b\"}}");
    assert_eq!(shown, "1000:1000 /work c");
    let cached = |output: &str| output.matches("Using cache").count();
    assert_eq!(cached(&build("one")), 10, "everything but the two beginnings");
    assert!(cached(&build("two")) < 10);
    fs::write(dir.path().join("Dockerfile"), "FROM busybox\nRUN exit 3\n").unwrap();
    let call = docker.docker(["build", &context]).env("DOCKER_BUILDKIT", "0");
    assert!(call.run().exits(3).stderr.contains("returned a non-zero code: 3"));
    docker.docker(["rmi", "--force", "e-built"]).run().ok();
}
