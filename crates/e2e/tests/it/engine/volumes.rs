//! Volumes, binds, and copies.

use std::fs;

use gantry_e2e::require_engine;
use serde_json::json;

use super::{detached, remove, shared};

#[test]
fn volumes_outlive_containers() {
    require_engine!("dockerd");
    let docker = shared();
    docker.docker(["volume", "create", "e-vol"]).run().ok();
    docker.run(&["--volume", "e-vol:/v"], &["sh", "-c", "echo kept > /v/file"]).run().ok();
    assert_eq!(docker.run(&["--volume", "e-vol:/v:ro"], &["cat", "/v/file"]).run().ok().text(), "kept");
    docker.run(&["--volume", "e-vol:/v:ro"], &["touch", "/v/more"]).run().exits(1);
    docker.docker(["create", "--name", "e-user", "--volume", "e-vol:/v", "busybox"]).run().ok();
    docker.docker(["volume", "rm", "e-vol"]).run().exits(1);
    remove(docker, "e-user");
    docker.docker(["volume", "rm", "e-vol"]).run().ok();
}

#[test]
fn a_new_volume_gets_what_the_image_has() {
    require_engine!("dockerd");
    let docker = shared();
    let output = docker.run(&["--volume", "/etc"], &["cat", "/etc/passwd"]).run().ok();
    assert!(output.text().contains("root"), "{output}");
    let output = docker.run(&["--volume", "e-filled:/etc"], &["cat", "/etc/passwd"]).run().ok();
    assert!(output.text().contains("root"), "{output}");
    docker.docker(["volume", "rm", "e-filled"]).run().ok();
}

#[test]
fn binds_are_seen_on_both_sides() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = tempfile::tempdir().unwrap();
    let bind = format!("{}:/b", dir.path().display());
    docker.run(&["--volume", &bind], &["sh", "-c", "echo there > /b/file"]).run().ok();
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "there\n");
    let missing = format!("type=bind,source={}/none,target=/b", dir.path().display());
    docker.run(&["--mount", &missing], &["true"]).run().exits(125);
}

#[test]
fn files_are_copied_in_both_directions() {
    require_engine!("dockerd");
    let docker = shared();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("in"), "inside\n").unwrap();
    detached(docker, "e-cp", &[], &["sleep", "100"]);
    let local = |name: &str| dir.path().join(name).display().to_string();
    docker.docker(["cp", &local("in"), "e-cp:/tmp/copied"]).run().ok();
    let shown = docker.docker(["exec", "e-cp", "cat", "/tmp/copied"]).run().ok();
    assert_eq!(shown.text(), "inside");
    docker.docker(["cp", "e-cp:/tmp/copied", &local("out")]).run().ok();
    assert_eq!(fs::read_to_string(local("out")).unwrap(), "inside\n");
    docker.docker(["kill", "e-cp"]).run().ok();
    docker.docker(["cp", "e-cp:/tmp/copied", &local("again")]).run().ok();
    assert_eq!(fs::read_to_string(local("again")).unwrap(), "inside\n");
    remove(docker, "e-cp");
}

#[test]
fn images_are_mounted_for_reading() {
    require_engine!("dockerd");
    let docker = shared();
    let api = docker.docker(["version", "--format", "{{.Server.APIVersion}}"]).run().ok().text().to_owned();
    let minor: u32 = api.trim_start_matches("1.").parse().unwrap();
    if minor < 48 {
        gantry_testkit::skip_test!("this dockerd has no mounts of images");
    }
    let dockerfile = "FROM busybox\nRUN mkdir -p /in/side && echo one > /in/side/file && ln -s / /in/out";
    let build = docker.docker(["build", "--quiet", "--tag", "i-mounted", "-"]).env("DOCKER_BUILDKIT", "0");
    build.stdin(dockerfile).run().ok();
    let create = |name: &str, subpath: &str, cmd: &[&str]| {
        let mount = json!({
            "Type": "image", "Source": "i-mounted", "Target": "/i", "ImageOptions": { "Subpath": subpath }
        });
        let body = json!({ "Image": "busybox", "Cmd": cmd, "HostConfig": { "Mounts": [mount] } });
        docker.raw().request("POST", &format!("/v1.48/containers/create?name={name}"), Some(&body))
    };
    assert_eq!(
        create("i-whole", "", &["sh", "-c", "cat /i/in/side/file; touch /i/x || echo no"]).status,
        201
    );
    let start = |name: &str| docker.docker(["start", "--attach", name]).run();
    assert_eq!(start("i-whole").ok().text(), "one\nno");
    assert_eq!(create("i-part", "in/side/file", &["cat", "/i"]).status, 201);
    assert_eq!(start("i-part").ok().text(), "one");
    assert!(create("i-odd", "../x", &["true"]).message().contains("must be a relative path"));
    assert_eq!(create("i-out", "in/out", &["ls", "/i"]).status, 201);
    assert!(start("i-out").fails().stderr.contains("escapes the base directory"));
    assert_eq!(
        docker.inspect("i-whole", "{{(index .Mounts 0).Type}} {{(index .Mounts 0).RW}}"),
        "image false"
    );
    // What is mounted is kept; without its name, too.
    let refused = docker.docker(["rmi", "i-mounted"]).run().fails();
    assert!(refused.stderr.contains("is using its referenced image"), "{}", refused.stderr);
    docker.docker(["rmi", "--force", "i-mounted"]).run().ok();
    assert_eq!(start("i-whole").ok().text(), "one\nno");
    for name in ["i-whole", "i-part", "i-out"] {
        remove(docker, name);
    }
    if !gantry_e2e::on_reference() {
        assert_eq!(gantry_testkit::mounts_below(std::path::Path::new("/run/gt-eng/subpaths")), [""; 0]);
    }
}

#[test]
fn an_empty_part_of_a_volume_is_filled() {
    require_engine!("dockerd");
    let docker = shared();
    let api = docker.docker(["version", "--format", "{{.Server.APIVersion}}"]).run().ok().text().to_owned();
    if api.trim_start_matches("1.").parse::<u32>().unwrap() < 45 {
        gantry_testkit::skip_test!("this dockerd has no parts of volumes");
    }
    docker.run(&["--volume", "e-parts:/v"], &["mkdir", "/v/part"]).run().ok();
    let mount = json!({
        "Type": "volume", "Source": "e-parts", "Target": "/bin", "VolumeOptions": { "Subpath": "part" }
    });
    let body = json!({ "Image": "busybox", "Cmd": ["ls", "/bin/sh"], "HostConfig": { "Mounts": [mount] } });
    docker.raw().request("POST", "/v1.48/containers/create?name=e-part", Some(&body));
    assert_eq!(docker.docker(["start", "--attach", "e-part"]).run().ok().text(), "/bin/sh");
    remove(docker, "e-part");
    docker.docker(["volume", "rm", "e-parts"]).run().ok();
}
