//! Volumes, binds, and copies.

use std::fs;

use gantry_e2e::require_engine;

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
