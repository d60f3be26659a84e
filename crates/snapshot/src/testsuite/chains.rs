//! Snapshots on snapshots.

use gantry_types::ErrorKind;

use super::Case;
use super::bench::{Bench, ok, refused};
use super::files::{apply, assert_same, dir, file, remove};

pub(super) const CASES: &[Case] = &[
    ("parents_have_parents", transitivity),
    ("siblings_do_not_see_each_other", siblings),
    ("128_layers_are_mounted", many_layers),
    ("a_snapshot_is_rebased_at_its_commit", rebase),
    ("a_parent_cannot_be_changed", fixed_parent),
];

/// As many layers as an image may have.
const MANY_LAYERS: usize = 128;

/// Two committed snapshots, one on the other, and on top and on nothing an active one and a view each.
pub(super) fn base(bench: &Bench<'_>) {
    bench.prepare("c1-a", None);
    bench.commit("c1", "c1-a");
    bench.prepare("c2-a", Some("c1"));
    bench.commit("c2", "c2-a");
    bench.prepare("a1", Some("c2"));
    bench.prepare("a2", None);
    bench.view("v1", Some("c2"));
    bench.view("v2", None);
}

fn transitivity(bench: &Bench<'_>) {
    bench.layer("a", None, &[file("foo", "foo\n", 0o777)]);
    bench.layer("b", Some("a"), &[file("foo", "foo bar\n", 0o777)]);
    let b = ok(bench.snapshotter.stat("b"));
    assert_eq!(b.parent.as_deref(), Some("a"));
    assert_eq!(ok(bench.snapshotter.stat("a")).parent, None);
}

fn siblings(bench: &Bench<'_>) {
    let flat = bench.directory("flat");
    let common = [dir("dir", 0o755), file("dir/file", "below", 0o644)];
    bench.layer("below", None, &common);
    let (one, two) = (bench.prepare("one", Some("below")), bench.prepare("two", Some("below")));
    let (one, two) = (bench.mount(&one, "one"), bench.mount(&two, "two"));
    apply(one.path(), &[file("dir/file", "changed", 0o644), file("new", "x", 0o644)]);
    apply(&flat, &common);
    assert_same(&flat, two.path());
    bench.assert_shows("below", &flat);
}

fn many_layers(bench: &Bench<'_>) {
    let flat = bench.directory("flat");
    let bottom = vec![
        file("bottom", "way at the bottom\n", 0o777),
        file("overwriteme", "FIRST!\n", 0o777),
        dir("addhere", 0o755),
        dir("onlyme", 0o755),
        file("onlyme/bottom", "bye!\n", 0o777),
    ];
    let layer = |n: usize| {
        vec![
            file("overwriteme", &format!("{n} WAS HERE!\n"), 0o777),
            file(&format!("addhere/file-{n}"), "same\n", 0o755),
            remove("onlyme"),
            dir("onlyme", 0o755),
            file(&format!("onlyme/file-{n}"), "only me!\n", 0o777),
        ]
    };
    let mut parent: Option<String> = None;
    for n in 0..MANY_LAYERS {
        let changes = if n == 0 { bottom.clone() } else { layer(n) };
        let (key, name) = (format!("prepare-{n}"), format!("committed-{n}"));
        let mounts = bench.prepare(&key, parent.as_deref());
        let mounted = bench.mount(&mounts, "layer");
        assert_same(&flat, mounted.path());
        apply(&flat, &changes);
        apply(mounted.path(), &changes);
        assert_same(&flat, mounted.path());
        drop(mounted);
        bench.commit(&name, &key);
        parent = Some(name);
    }
    bench.assert_shows(parent.as_deref().unwrap_or_default(), &flat);
}

fn rebase(bench: &Bench<'_>) {
    let snapshotter = bench.snapshotter;
    let labels = bench.labels();
    let below = [dir("dir", 0o755), file("dir/below", "below", 0o644), file("same", "below", 0o644)];
    let above = [dir("dir", 0o755), file("dir/above", "above", 0o644), file("same", "above", 0o644)];
    bench.layer("below", None, &below);
    let mounts = bench.prepare("key", None);
    apply(bench.mount(&mounts, "key").path(), &above);
    refused(snapshotter.commit("above", "key", Some("missing"), &labels), gone(bench));
    if !bench.features.rebase {
        refused(snapshotter.commit("above", "key", Some("below"), &labels), ErrorKind::Unimplemented);
        return bench.commit("above", "key");
    }
    bench.prepare("active", None);
    refused(snapshotter.commit("above", "key", Some("active"), &labels), ErrorKind::FailedPrecondition);
    ok(snapshotter.commit("above", "key", Some("below"), &labels));
    assert_eq!(ok(snapshotter.stat("above")).parent.as_deref(), Some("below"));
    refused(snapshotter.remove("below"), ErrorKind::FailedPrecondition);
    let flat = bench.directory("flat");
    apply(&flat, &below);
    apply(&flat, &above[1..]);
    bench.assert_shows("above", &flat);
}

/// What a commit on a missing parent is refused as.
fn gone(bench: &Bench<'_>) -> ErrorKind {
    if bench.features.rebase { ErrorKind::NotFound } else { ErrorKind::Unimplemented }
}

fn fixed_parent(bench: &Bench<'_>) {
    if !bench.features.rebase {
        return;
    }
    base(bench);
    let labels = bench.labels();
    refused(bench.snapshotter.commit("n", "a1", Some("c1"), &labels), ErrorKind::InvalidArgument);
    ok(bench.snapshotter.commit("n", "a1", Some("c2"), &labels));
    assert_eq!(ok(bench.snapshotter.stat("n")).parent.as_deref(), Some("c2"));
}
