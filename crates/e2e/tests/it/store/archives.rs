use std::path::Path;

use gantry_e2e::images::samples;
use gantry_e2e::{Access, Docker, Gantryd, Podman, Tenant, require_engine, tree};
use gantry_testkit::Invocation;

use super::{pulled, sample};

/// skopeo between archives and layouts.
fn copy(from: &str, to: &str) {
    Invocation::new("skopeo").args(["--insecure-policy", "copy", "--quiet", from, to]).run().ok();
}

/// The files of an image of the daemon.
fn files(tenant: &Tenant<'_>, name: &str) -> tree::Tree {
    let dir = tempfile::tempdir().unwrap();
    tenant.mounted(name, dir.path(), tree::describe)
}

/// The files of `DIR:TAG` as umoci unpacks them.
fn unpacked(layout: &str) -> tree::Tree {
    let dir = tempfile::tempdir().unwrap();
    Invocation::new("umoci").args(["unpack", "--image", layout]).arg(dir.path().join("b")).run().ok();
    tree::describe(&dir.path().join("b/rootfs"))
}

fn import(tenant: &Tenant<'_>, archive: &Path, options: &[&str]) {
    tenant.ctr(["images", "import"]).args(options).arg(archive).run().ok();
}

#[test]
fn an_archive_of_docker_save_is_imported() {
    require_engine!("skopeo");
    let tenant = Gantryd::shared().namespace("archive-docker");
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("image.tar");
    copy(
        &format!("oci:{}", samples().layout.name("busybox")),
        &format!("docker-archive:{}:example.test/imported:1", archive.display()),
    );
    import(&tenant, &archive, &[]);
    assert_eq!(tenant.images(), ["example.test/imported:1"]);
    assert_eq!(tenant.snapshots().len(), 2);
    let found = files(&tenant, "example.test/imported:1");
    tree::assert_same(&found, &unpacked(&samples().layout.name("busybox")));
    tenant.clear();
}

#[test]
fn an_archive_of_a_layout_is_imported() {
    require_engine!("skopeo");
    let tenant = Gantryd::shared().namespace("archive-oci");
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("image.tar");
    copy(
        &format!("oci:{}", samples().layout.name("everything")),
        &format!("oci-archive:{}:tagged", archive.display()),
    );
    import(&tenant, &archive, &["--base-name", "example.test/layout"]);
    assert_eq!(tenant.images(), ["example.test/layout:tagged"]);
    assert_eq!(tenant.snapshots().len(), 5);
    tenant.clear();
    import(&tenant, &archive, &["--base-name", "example.test/layout", "--digests", "--no-unpack"]);
    let images = tenant.images();
    // That of containerd 2 names what has no tag so, and nothing else.
    let named = images.iter().any(|name| name.starts_with("example.test/layout@sha256:"));
    assert!(named != gantry_e2e::client_is_2(), "{images:?}");
    assert!(tenant.snapshots().is_empty());
    tenant.clear();
}

#[test]
fn an_exported_image_is_read_by_others_in_both_forms() {
    require_engine!("skopeo");
    let (tenant, name) = pulled("archive-export", "busybox");
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("image.tar");
    tenant.ctr(["images", "export"]).arg(&archive).arg(&name).run().ok();
    let expected = files(&tenant, &name);
    for (form, tag) in [("oci-archive", "of-oci"), ("docker-archive", "of-docker")] {
        let layout = dir.path().join("layout");
        copy(&format!("{form}:{}", archive.display()), &format!("oci:{}:{tag}", layout.display()));
        tree::assert_same(&unpacked(&format!("{}:{tag}", layout.display())), &expected);
    }
    tenant.clear();
    import(&tenant, &archive, &[]);
    assert_eq!(tenant.images(), std::slice::from_ref(&name));
    tree::assert_same(&files(&tenant, &name), &expected);
    tenant.clear();
}

#[test]
fn all_platforms_of_an_index_are_exported() {
    require_engine!("skopeo");
    let tenant = Gantryd::shared().namespace("archive-platforms");
    let (_, name) = sample(Access::Plain, "multi");
    tenant.ctr(["images", "pull", "--plain-http", "--all-platforms", &name]).run().ok();
    let content = tenant.content();
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("image.tar");
    tenant.ctr(["images", "export", "--all-platforms"]).arg(&archive).arg(&name).run().ok();
    tenant.clear();
    import(&tenant, &archive, &["--no-unpack", "--all-platforms"]);
    assert!(tenant.content().is_superset(&content));
    tenant.clear();
}

#[test]
fn an_export_has_every_image_that_it_names() {
    require_engine!("docker-registry");
    let (tenant, name) = pulled("archive-several", "busybox");
    let (_, other) = sample(Access::Plain, "plain");
    super::pull(&tenant, &other).run().ok();
    tenant.ctr(["images", "tag", &name, "example.test/tagged:1"]).run().ok();
    let names = [name.as_str(), "example.test/tagged:1", other.as_str()];
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("image.tar");
    tenant.ctr(["images", "export"]).arg(&archive).args(names).run().ok();
    let list = Invocation::new("tar").args(["-xOf"]).arg(&archive).arg("manifest.json").run().ok().json();
    // An image is listed once, with all its names.
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    tenant.clear();
    import(&tenant, &archive, &[]);
    let mut expected = names.map(str::to_owned);
    expected.sort();
    assert_eq!(tenant.images(), expected);
    tenant.clear();
}

#[test]
fn the_index_of_an_archive_gets_a_name_where_it_is_asked_for() {
    require_engine!("skopeo");
    let tenant = Gantryd::shared().namespace("archive-index-name");
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("image.tar");
    copy(
        &format!("oci:{}", samples().layout.name("busybox")),
        &format!("oci-archive:{}:tagged", archive.display()),
    );
    let options = ["--base-name", "example.test/b", "--index-name", "example.test/index:1"];
    import(&tenant, &archive, &options);
    assert_eq!(tenant.images(), ["example.test/b:tagged", "example.test/index:1"]);
    tenant.clear();
    import(&tenant, &archive, &["--base-name", "example.test/other/b"]);
    import(&tenant, &archive, &["--base-name", "example.test/b", "--digests", "--skip-digest-for-named"]);
    let images = tenant.images();
    assert!(images.contains(&"example.test/b:tagged".to_owned()), "{images:?}");
    // That of containerd 2 has it the other way round.
    let digested = images.iter().any(|name| name.starts_with("example.test/b@sha256:"));
    assert_eq!(digested, gantry_e2e::client_is_2(), "{images:?}");
    tenant.clear();
}

#[test]
fn layers_of_an_archive_of_docker_save_are_compressed_on_demand() {
    require_engine!("skopeo");
    let tenant = Gantryd::shared().namespace("archive-compress");
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("image.tar");
    copy(
        &format!("oci:{}", samples().layout.name("plain")),
        &format!("docker-archive:{}:example.test/plain:1", archive.display()),
    );
    let types = |options: &[&str]| {
        import(&tenant, &archive, options);
        let row = tenant.ctr(["images", "ls", "name==example.test/plain:1"]).run().ok();
        let target =
            row.text().split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned();
        let manifest = tenant.json(&target);
        let layers = manifest["layers"].as_array().unwrap().clone();
        let types = layers.iter().map(|layer| layer["mediaType"].as_str().unwrap().to_owned());
        let types: Vec<String> = types.collect();
        let expected = unpacked(&samples().layout.name("plain"));
        tree::assert_same(&files(&tenant, "example.test/plain:1"), &expected);
        tenant.clear();
        types
    };
    assert!(types(&[]).iter().all(|kind| kind.ends_with("diff.tar")));
    assert!(types(&["--compress-blobs"]).iter().all(|kind| kind.ends_with("diff.tar.gzip")));
}

#[test]
fn images_go_to_docker_and_come_back() {
    require_engine!("dockerd");
    let docker = Docker::shared();
    let (tenant, name) = pulled("archive-dockerd", "busybox");
    let dir = tempfile::tempdir().unwrap();
    let (there, back) = (dir.path().join("there.tar"), dir.path().join("back.tar"));
    tenant.ctr(["images", "tag", &name, "docker.io/library/travelled:1"]).run().ok();
    tenant.ctr(["images", "export"]).arg(&there).arg("docker.io/library/travelled:1").run().ok();
    let expected = files(&tenant, &name);
    tenant.clear();
    docker.docker(["load", "--quiet", "--input"]).arg(&there).run().ok();
    let shown =
        docker.docker(["run", "--rm", "--network", "none", "travelled:1", "cat", "/etc/layer"]).run().ok();
    assert_eq!(shown.text(), "of the second layer");
    docker.docker(["save", "--output"]).arg(&back).arg("travelled:1").run().ok();
    import(&tenant, &back, &[]);
    assert_eq!(tenant.images(), ["docker.io/library/travelled:1"]);
    tree::assert_same(&files(&tenant, "docker.io/library/travelled:1"), &expected);
    tenant.clear();
}

#[test]
fn images_go_to_podman_and_come_back_in_both_forms() {
    require_engine!("podman");
    let podman = Podman::shared();
    let (tenant, name) = pulled("archive-podman", "busybox");
    let dir = tempfile::tempdir().unwrap();
    let there = dir.path().join("there.tar");
    tenant.ctr(["images", "tag", &name, "localhost/travelled:2"]).run().ok();
    tenant.ctr(["images", "export"]).arg(&there).arg("localhost/travelled:2").run().ok();
    let expected = files(&tenant, &name);
    tenant.clear();
    podman.podman(["load", "--quiet", "--input"]).arg(&there).run().ok();
    for (form, base) in [("docker-archive", None), ("oci-archive", Some("localhost/travelled"))] {
        let back = dir.path().join(form);
        podman
            .podman(["save", "--quiet", "--format", form, "--output"])
            .arg(&back)
            .arg("localhost/travelled:2")
            .run()
            .ok();
        let base: Vec<&str> = base.into_iter().flat_map(|base| ["--base-name", base]).collect();
        import(&tenant, &back, &base);
        assert_eq!(tenant.images(), ["localhost/travelled:2"], "{form}");
        tree::assert_same(&files(&tenant, "localhost/travelled:2"), &expected);
        tenant.clear();
    }
}

#[test]
fn what_is_no_archive_is_refused_and_leaves_nothing() {
    require_engine!("ctr");
    let tenant = Gantryd::shared().namespace("archive-broken");
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.tar");
    std::fs::write(&broken, b"no tar at all, but some text that is long enough to be looked at").unwrap();
    tenant.ctr(["images", "import"]).arg(&broken).run().fails();
    assert!(tenant.images().is_empty());
}
