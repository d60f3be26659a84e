//! From prepare to remove.

use gantry_types::ErrorKind;

use super::bench::{Bench, ok, refused};
use super::files::{apply, assert_same, dir, file, remove};
use super::{Case, chains};
use crate::Kind;

pub(super) const CASES: &[Case] = &[
    ("layers_are_prepared_committed_viewed_and_removed", basic),
    ("a_key_that_is_in_use_is_refused", key_in_use),
    ("a_parent_that_is_missing_or_not_committed_is_refused", wrong_parent),
    ("only_an_active_snapshot_is_committed", commit_of_others),
    ("a_name_that_is_in_use_is_refused", name_in_use),
    ("mounts_are_given_again", mounts_again),
    ("a_view_cannot_be_written", view_is_read_only),
    ("removed_keys_can_be_used_again", removed_keys),
    ("a_snapshot_with_children_stays", intermediate),
    ("what_was_never_there_is_not_found", not_found),
    ("the_root_of_nothing_is_0755_and_roots", root_of_nothing),
    ("a_second_close_does_nothing", close_twice),
    ("usage_is_what_a_snapshot_holds", usage),
    ("a_clean_up_keeps_what_is_there", cleanup),
];

fn basic(bench: &Bench<'_>) {
    let initial = [file("foo", "foo\n", 0o777), dir("a", 0o755), dir("a/b", 0o755), dir("a/b/c", 0o755)];
    let change = [file("bar", "bar\n", 0o777), file("foo", "bar\n", 0o777), remove("a/b")];
    let flat = bench.directory("flat");
    let snapshotter = bench.snapshotter;

    let mounts = bench.prepare("preparing", None);
    apply(bench.mount(&mounts, "preparing").path(), &initial);
    bench.commit("committed", "preparing");
    let info = ok(snapshotter.stat("committed"));
    assert_eq!((info.parent.as_deref(), info.kind), (None, Kind::Committed));
    refused(snapshotter.stat("preparing"), ErrorKind::NotFound);

    apply(&flat, &initial);
    let mounts = bench.prepare("next", Some("committed"));
    {
        let mounted = bench.mount(&mounts, "next");
        assert_same(&flat, mounted.path());
        apply(mounted.path(), &change);
    }
    let info = ok(snapshotter.stat("next"));
    assert_eq!((info.parent.as_deref(), info.kind), (Some("committed"), Kind::Active));
    bench.commit("committed-next", "next");
    let info = ok(snapshotter.stat("committed-next"));
    assert_eq!((info.parent.as_deref(), info.kind), (Some("committed"), Kind::Committed));
    refused(snapshotter.stat("next"), ErrorKind::NotFound);

    apply(&flat, &change);
    bench.assert_shows("committed-next", &flat);
    refused(snapshotter.remove("committed"), ErrorKind::FailedPrecondition);
    bench.remove("committed-next");
    bench.remove("committed");
    refused(snapshotter.stat("committed"), ErrorKind::NotFound);
}

fn key_in_use(bench: &Bench<'_>) {
    bench.layer("parent", None, &[]);
    let labels = bench.labels();
    bench.prepare("active", Some("parent"));
    bench.view("view", Some("parent"));
    for key in ["active", "view", "parent"] {
        refused(bench.snapshotter.prepare(key, Some("parent"), &labels), ErrorKind::AlreadyExists);
        refused(bench.snapshotter.view(key, Some("parent"), &labels), ErrorKind::AlreadyExists);
        refused(bench.snapshotter.prepare(key, None, &labels), ErrorKind::AlreadyExists);
    }
}

fn wrong_parent(bench: &Bench<'_>) {
    let labels = bench.labels();
    refused(bench.snapshotter.prepare("key", Some("missing"), &labels), ErrorKind::NotFound);
    refused(bench.snapshotter.view("key", Some("missing"), &labels), ErrorKind::NotFound);
    bench.prepare("active", None);
    refused(bench.snapshotter.prepare("key", Some("active"), &labels), ErrorKind::InvalidArgument);
    refused(bench.snapshotter.view("key", Some("active"), &labels), ErrorKind::InvalidArgument);
    refused(bench.snapshotter.stat("key"), ErrorKind::NotFound);
    bench.prepare("key", None);
}

fn commit_of_others(bench: &Bench<'_>) {
    bench.layer("committed", None, &[]);
    bench.view("view", Some("committed"));
    let labels = bench.labels();
    refused(bench.snapshotter.commit("name", "view", None, &labels), ErrorKind::FailedPrecondition);
    refused(bench.snapshotter.commit("name", "committed", None, &labels), ErrorKind::FailedPrecondition);
    refused(bench.snapshotter.commit("name", "missing", None, &labels), ErrorKind::NotFound);
    refused(bench.snapshotter.stat("name"), ErrorKind::NotFound);
    refused(bench.snapshotter.mounts("committed"), ErrorKind::FailedPrecondition);
}

fn name_in_use(bench: &Bench<'_>) {
    bench.layer("committed", None, &[]);
    bench.prepare("active", None);
    let labels = bench.labels();
    refused(bench.snapshotter.commit("committed", "active", None, &labels), ErrorKind::AlreadyExists);
    assert_eq!(ok(bench.snapshotter.stat("active")).kind, Kind::Active);
    bench.commit("other", "active");
}

fn mounts_again(bench: &Bench<'_>) {
    bench.layer("a", None, &[]);
    bench.layer("b", Some("a"), &[]);
    for parent in [None, Some("a"), Some("b")] {
        let key = format!("active-{parent:?}");
        assert_eq!(bench.prepare(&key, parent), ok(bench.snapshotter.mounts(&key)));
        let key = format!("view-{parent:?}");
        assert_eq!(bench.view(&key, parent), ok(bench.snapshotter.mounts(&key)));
    }
}

fn view_is_read_only(bench: &Bench<'_>) {
    bench.layer("a", None, &[file("file", "a", 0o644)]);
    bench.layer("b", Some("a"), &[file("other", "b", 0o644)]);
    for parent in [None, Some("a"), Some("b")] {
        let key = format!("view-{parent:?}");
        let mounts = bench.view(&key, parent);
        let mounted = bench.mount(&mounts, "view");
        assert!(std::fs::write(mounted.path().join("new"), "x").is_err(), "{key} was written");
        assert!(std::fs::remove_file(mounted.path().join("file")).is_err(), "{key} was changed");
        drop(mounted);
        bench.remove(&key);
    }
}

fn removed_keys(bench: &Bench<'_>) {
    bench.prepare("key", None);
    bench.commit("name", "key");
    bench.prepare("again", Some("name"));
    bench.remove("again");
    bench.view("again", Some("name"));
    bench.remove("again");
    bench.prepare("again", None);
    bench.remove("name");
    bench.commit("name", "again");
}

fn intermediate(bench: &Bench<'_>) {
    bench.layer("base", None, &[]);
    bench.layer("middle", Some("base"), &[]);
    bench.prepare("top", Some("middle"));
    refused(bench.snapshotter.remove("base"), ErrorKind::FailedPrecondition);
    refused(bench.snapshotter.remove("middle"), ErrorKind::FailedPrecondition);
    ["top", "middle", "base"].iter().for_each(|key| bench.remove(key));
    bench.layer("base", None, &[]);
    bench.view("view", Some("base"));
    refused(bench.snapshotter.remove("base"), ErrorKind::FailedPrecondition);
}

fn not_found(bench: &Bench<'_>) {
    refused(bench.snapshotter.stat("key"), ErrorKind::NotFound);
    refused(bench.snapshotter.mounts("key"), ErrorKind::NotFound);
    refused(bench.snapshotter.usage("key"), ErrorKind::NotFound);
    refused(bench.snapshotter.remove("key"), ErrorKind::NotFound);
}

fn root_of_nothing(bench: &Bench<'_>) {
    use std::os::unix::fs::MetadataExt;
    let mounts = bench.prepare("key", None);
    let root = bench.mount(&mounts, "root").path().metadata().expect("a root can be examined");
    assert_eq!((root.mode() & 0o7777, root.uid(), root.gid()), (0o755, 0, 0));
}

fn close_twice(bench: &Bench<'_>) {
    bench.prepare("key", None);
    bench.commit("name", "key");
    bench.remove("name");
    ok(bench.snapshotter.close());
    ok(bench.snapshotter.close());
}

fn usage(bench: &Bench<'_>) {
    const MIB: u64 = 1 << 20;
    // A file system that places blocks late (ext4) counts some for its own records until it has placed them.
    const SLACK: u64 = 64 << 10;
    let big = |name: &str| file(name, &"x".repeat(MIB as usize), 0o644);
    bench.layer("below", None, &[big("one"), super::files::link("one", "two"), dir("dir", 0o755)]);
    let below = ok(bench.snapshotter.usage("below"));
    assert_eq!(below.inodes, 3, "{below:?}");
    assert!((MIB..2 * MIB).contains(&below.size), "{below:?}");

    let mounts = bench.prepare("active", Some("below"));
    let before = ok(bench.snapshotter.usage("active"));
    apply(bench.mount(&mounts, "active").path(), &[big("three"), big("four")]);
    let after = ok(bench.snapshotter.usage("active"));
    assert_eq!(after.inodes - before.inodes, 2, "{before:?} {after:?}");
    assert!((2 * MIB - SLACK..3 * MIB).contains(&(after.size - before.size)), "{before:?} {after:?}");
    if bench.features.counts_changes_only {
        assert!(after.size < 3 * MIB, "{after:?} has what its parent has");
    }
    bench.commit("above", "active");
    let above = ok(bench.snapshotter.usage("above"));
    assert!(above.inodes == after.inodes && above.size.abs_diff(after.size) <= SLACK, "{above:?} {after:?}");
    bench.view("view", Some("above"));
    assert_eq!(ok(bench.snapshotter.usage("view")), crate::Usage::default());
}

fn cleanup(bench: &Bench<'_>) {
    chains::base(bench);
    bench.prepare("gone", Some("c2"));
    bench.remove("gone");
    match bench.snapshotter.cleanup() {
        Err(error) if error.kind() == ErrorKind::Unimplemented => {}
        result => ok(result),
    }
    for key in ["c1", "c2", "a1", "a2", "v1", "v2"] {
        ok(bench.snapshotter.stat(key));
    }
    bench.mount(&ok(bench.snapshotter.mounts("a1")), "active");
    bench.mount(&ok(bench.snapshotter.mounts("v1")), "view");
}
