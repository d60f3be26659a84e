use std::fs;
use std::path::Path;

use gantry_e2e::{Gantryd, Tenant, require_engine};
use gantry_testkit::Invocation;

use super::pulled;

/// Mounts a snapshot as `snapshots mounts` says, and looks into it.
fn inside<T>(tenant: &Tenant<'_>, key: &str, look: impl FnOnce(&Path) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m");
    fs::create_dir(&target).unwrap();
    let lines = tenant.ctr(["snapshots", "mounts"]).arg(&target).arg(key).run().ok();
    assert!(lines.text().starts_with("mount -t "), "{lines}");
    Invocation::new("sh").args(["-ec", lines.text()]).run().ok();
    let seen = look(&target);
    Invocation::new("umount").arg(&target).run().ok();
    seen
}

#[test]
fn a_snapshot_is_prepared_written_committed_and_seen() {
    require_engine!("ctr");
    // A view has no label that keeps it: nobody else may remove things here.
    let daemon = Gantryd::new("gt-store-life");
    let tenant = daemon.namespace("snapshots-life");
    let snapshots = |args: &[&str]| tenant.ctr(["snapshots"]).args(args).run();
    snapshots(&["prepare", "base"]).ok();
    inside(&tenant, "base", |root| {
        fs::write(root.join("one"), "of base\n").unwrap();
        fs::write(root.join("gone"), "of base\n").unwrap();
    });
    snapshots(&["commit", "base-done", "base"]).ok();
    snapshots(&["prepare", "second", "base-done"]).ok();
    inside(&tenant, "second", |root| {
        fs::remove_file(root.join("gone")).unwrap();
        fs::write(root.join("two"), vec![b'2'; 100_000]).unwrap();
    });
    snapshots(&["commit", "second-done", "second"]).ok();
    snapshots(&["view", "look", "second-done"]).ok();
    let names = inside(&tenant, "look", |root| {
        assert!(fs::write(root.join("three"), "").is_err(), "a view is read-only");
        let mut names: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    });
    assert_eq!(names, ["one", "two"]);
    let listed = snapshots(&["ls"]).ok();
    let rows: Vec<Vec<&str>> =
        listed.lines().into_iter().map(|row| row.split_whitespace().collect()).collect();
    for row in [
        vec!["base-done", "Committed"],
        vec!["second-done", "base-done", "Committed"],
        vec!["look", "second-done", "View"],
    ] {
        assert!(rows.contains(&row), "{row:?}: {listed}");
    }
    let tree = snapshots(&["tree"]).ok();
    assert_eq!(tree.stdout.matches("\\_").count(), 2, "{tree}");
    let usage = snapshots(&["usage", "-b", "second-done"]).ok();
    let size: u64 = usage.lines()[1].split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((100_000..150_000).contains(&size), "{usage}");
    let info = snapshots(&["info", "second-done"]).ok().json();
    assert_eq!((info["Kind"].as_str(), info["Parent"].as_str()), (Some("Committed"), Some("base-done")));
    snapshots(&["rm", "base-done"]).fails().says_any(&["failed precondition", "children"]);
    snapshots(&["rm", "look", "second-done", "base-done"]).ok();
    assert!(tenant.snapshots().is_empty());
}

#[test]
fn a_diff_is_the_layer_of_what_changed() {
    require_engine!("ctr");
    let tenant = Gantryd::shared().namespace("snapshots-diff");
    let snapshots = |args: &[&str]| tenant.ctr(["snapshots"]).args(args).run();
    snapshots(&["prepare", "base"]).ok();
    inside(&tenant, "base", |root| {
        fs::create_dir(root.join("dir")).unwrap();
        fs::write(root.join("dir/kept"), "kept\n").unwrap();
        fs::write(root.join("dir/gone"), "gone\n").unwrap();
        fs::write(root.join("changed"), "before\n").unwrap();
    });
    snapshots(&["commit", "base-done", "base"]).ok();
    snapshots(&["prepare", "top", "base-done"]).ok();
    inside(&tenant, "top", |root| {
        fs::remove_file(root.join("dir/gone")).unwrap();
        fs::write(root.join("changed"), "after\n").unwrap();
        fs::write(root.join("new"), "new\n").unwrap();
    });
    // The bytes go to a file: they are no text.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("layer");
    let media_type = "application/vnd.oci.image.layer.v1.tar";
    let call = tenant.ctr(["snapshots", "diff", "--media-type", media_type, "top"]);
    call.redirected(&format!("1>{}", file.display())).run().ok();
    let list = Invocation::new("tar").arg("-tf").arg(&file).run().ok();
    let mut names: Vec<&str> = list.lines().into_iter().filter(|name| !name.ends_with('/')).collect();
    names.sort_unstable();
    assert_eq!(names, ["changed", "dir/.wh.gone", "new"], "{list}");
    let read = Invocation::new("tar").args(["-xOf"]).arg(&file).arg("changed").run().ok();
    assert_eq!(read.text(), "after");
    snapshots(&["rm", "top", "base-done"]).ok();
    tenant.daemon().settles("the diff to go", || tenant.content().is_empty());
}

#[test]
fn keys_are_used_once_and_parents_must_be_committed() {
    require_engine!("ctr");
    let tenant = Gantryd::shared().namespace("snapshots-keys");
    let snapshots = |args: &[&str]| tenant.ctr(["snapshots"]).args(args).run();
    snapshots(&["prepare", "one"]).ok();
    snapshots(&["prepare", "one"]).fails().says("already exists");
    snapshots(&["view", "one"]).fails().says("already exists");
    snapshots(&["prepare", "two", "one"]).fails();
    snapshots(&["prepare", "two", "nosuch"]).fails().says("not found");
    snapshots(&["commit", "done", "nosuch"]).fails().says("not found");
    snapshots(&["commit", "done", "one"]).ok();
    snapshots(&["commit", "again", "done"]).fails();
    snapshots(&["mounts", "/nowhere", "done"]).fails();
    snapshots(&["prepare", "two"]).ok();
    snapshots(&["commit", "done", "two"]).fails().says("already exists");
    snapshots(&["rm", "nosuch"]).fails().says("not found");
    snapshots(&["rm", "two", "done"]).ok();
}

#[test]
fn labels_of_snapshots() {
    require_engine!("ctr");
    let tenant = Gantryd::shared().namespace("snapshots-label");
    tenant.ctr(["snapshots", "prepare", "labelled"]).run().ok();
    let set = tenant.ctr(["snapshots", "label", "labelled", "colour=blue"]).run().ok();
    assert!(set.stdout.contains("colour=blue"), "{set}");
    let info = tenant.ctr(["snapshots", "info", "labelled"]).run().ok().json();
    assert_eq!(info["Labels"]["colour"], "blue");
    assert!(info["Labels"]["containerd.io/gc.root"].is_string(), "{info}");
    tenant.ctr(["snapshots", "rm", "labelled"]).run().ok();
}

#[test]
fn the_snapshots_of_an_image_are_named_by_their_chain() {
    require_engine!("docker-registry");
    let (tenant, _) = pulled("snapshots-chain", "everything");
    let keys = tenant.snapshots();
    assert_eq!(keys.len(), 5);
    assert!(keys.iter().all(|key| key.starts_with("sha256:") && key.len() == 71), "{keys:?}");
    tenant.clear();
}

#[test]
fn a_snapshotter_that_does_not_exist_is_refused() {
    require_engine!("ctr");
    let tenant = Gantryd::shared().namespace("snapshots-unknown");
    tenant.ctr(["snapshots", "--snapshotter", "nosuch", "ls"]).run().fails();
}

#[test]
fn the_native_snapshotter_copies() {
    require_engine!("ctr");
    let daemon = Gantryd::new("gt-store-native");
    let tenant = daemon.namespace("snapshots-native");
    let snapshots = |args: &[&str]| tenant.ctr(["snapshots", "--snapshotter", "native"]).args(args).run();
    snapshots(&["prepare", "base"]).ok();
    let source = |key: &str| {
        let line = snapshots(&["mounts", "/nowhere", key]).ok();
        line.text().split_whitespace().nth(3).unwrap().to_owned()
    };
    fs::write(Path::new(&source("base")).join("file"), "native\n").unwrap();
    snapshots(&["commit", "done", "base"]).ok();
    snapshots(&["prepare", "copy", "done"]).ok();
    assert_eq!(fs::read_to_string(Path::new(&source("copy")).join("file")).unwrap(), "native\n");
    fs::write(Path::new(&source("copy")).join("file"), "changed\n").unwrap();
    // Not a view: ctr gives those no label that keeps them from the collector.
    snapshots(&["prepare", "look", "done"]).ok();
    assert_eq!(fs::read_to_string(Path::new(&source("look")).join("file")).unwrap(), "native\n");
    snapshots(&["rm", "look", "copy", "done"]).ok();
}
