//! An unpacked tree is, byte and attribute, what others unpack.

use gantry_e2e::images::samples;
use gantry_e2e::{Access, Containerd, Registry, on_reference, require_engine, tree};
use gantry_testkit::Invocation;

use super::{pulled, sample};

fn ours(tag: &str, namespace: &'static str) -> tree::Tree {
    let (tenant, name) = pulled(namespace, tag);
    let dir = tempfile::tempdir().unwrap();
    let found = tenant.mounted(&name, dir.path(), tree::describe);
    tenant.clear();
    found
}

fn of_umoci(tag: &str) -> tree::Tree {
    let dir = tempfile::tempdir().unwrap();
    let layout = samples().layout.name(tag);
    Invocation::new("umoci").args(["unpack", "--image", &layout]).arg(dir.path().join("b")).run().ok();
    tree::describe(&dir.path().join("b/rootfs"))
}

#[test]
fn the_tree_is_that_of_umoci() {
    require_engine!("umoci");
    tree::assert_same(&ours("everything-gzip", "trees-umoci"), &of_umoci("everything-gzip"));
}

#[test]
fn hard_links_to_layers_below_are_those_of_umoci() {
    require_engine!("umoci");
    if on_reference() {
        gantry_testkit::skip_test!("containerd does not unpack them");
    }
    tree::assert_same(&ours("links", "trees-links"), &of_umoci("links"));
}

#[test]
fn the_tree_is_that_of_containerd() {
    require_engine!("containerd");
    let found = ours("everything", "trees-containerd");
    let (registry, name) = sample(Access::Plain, "everything");
    if gantry_e2e::client_is_2() && !on_reference() {
        gantry_testkit::skip_test!("needs the ctr of the containerd that is compared");
    }
    let containerd = Containerd::shared();
    let dir = tempfile::tempdir().unwrap();
    containerd.ctr(["images", "pull", "--plain-http", &name]).run().ok();
    containerd.ctr(["images", "mount", &name]).arg(dir.path()).run().ok();
    let theirs = tree::describe(dir.path());
    containerd.ctr(["images", "unmount", "--rm"]).arg(dir.path()).run().ok();
    containerd.ctr(["images", "rm", "--sync", &name]).run().ok();
    tree::assert_same(&found, &theirs);
    let _: &Registry = registry;
    assert!(found.len() > 35, "{}", found.len());
}

#[test]
fn layers_in_any_compression_are_the_same_tree() {
    require_engine!("docker-registry");
    let found = ours("everything", "trees-mixed");
    tree::assert_same(&found, &ours("everything-gzip", "trees-gzip"));
}

#[test]
fn the_native_snapshotter_makes_the_same_tree() {
    require_engine!("docker-registry");
    if on_reference() && gantry_e2e::client_is_2() {
        gantry_testkit::skip_test!("containerd 2 unpacks only for the snapshotters of its configuration");
    }
    let found = ours("everything", "trees-overlay");
    let tenant = gantry_e2e::Gantryd::shared().namespace("trees-native");
    let (_, name) = sample(Access::Plain, "everything");
    tenant.ctr(["images", "pull", "--snapshotter", "native", "--plain-http", &name]).run().ok();
    let dir = tempfile::tempdir().unwrap();
    tenant.ctr(["images", "mount", "--snapshotter", "native", &name]).arg(dir.path()).run().ok();
    let theirs = tree::describe(dir.path());
    tenant.ctr(["images", "unmount", "--snapshotter", "native", "--rm"]).arg(dir.path()).run().ok();
    tree::assert_same(&found, &theirs);
    tenant.ctr(["images", "rm", "--sync", &name]).run().ok();
}
