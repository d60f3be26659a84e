//! What is known of snapshots: stat, update, walk.

use std::time::SystemTime;

use gantry_types::{ErrorKind, Labels, labels};

use super::bench::{Bench, ok, refused};
use super::{Case, chains};
use crate::{Error, Info, Kind};

pub(super) const CASES: &[Case] = &[
    ("stat_tells_kind_parent_and_times", stat),
    ("labels_are_updated_and_nothing_else", update),
    ("labels_are_those_of_the_commit", labels_of_commit),
    ("a_walk_meets_everything", walk),
    ("a_walk_ends_with_the_error_of_whoever_is_called", walk_ends),
    ("stat_can_be_called_during_a_walk", stat_in_walk),
    ("a_walk_passes_filters", filters),
];

/// Every snapshot of [`chains::base`].
const BASE: [(&str, Kind, Option<&str>); 6] = [
    ("c1", Kind::Committed, None),
    ("c2", Kind::Committed, Some("c1")),
    ("a1", Kind::Active, Some("c2")),
    ("a2", Kind::Active, None),
    ("v1", Kind::View, Some("c2")),
    ("v2", Kind::View, None),
];

fn stat(bench: &Bench<'_>) {
    let before = SystemTime::now();
    chains::base(bench);
    let after = SystemTime::now();
    for (name, kind, parent) in BASE {
        let info = ok(bench.snapshotter.stat(name));
        assert_eq!((info.name.as_str(), info.kind, info.parent.as_deref()), (name, kind, parent));
        assert!((before..=after).contains(&info.created), "{info:?}");
        assert_eq!(info.created, info.updated, "{name}");
    }
}

fn update(bench: &Bench<'_>) {
    chains::base(bench);
    for (name, ..) in BASE {
        update_one(bench, name);
    }
    let missing = Info { name: "missing".to_owned(), ..ok(bench.snapshotter.stat("c1")) };
    refused(bench.snapshotter.update(&missing, &[]), ErrorKind::NotFound);
}

fn update_one(bench: &Bench<'_>, name: &str) {
    let with = |pairs: &[(&str, &str)]| -> Labels {
        let all = pairs.iter().chain([&(labels::GC_ROOT, "testsuite")]);
        all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let fields = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
    let original = ok(bench.snapshotter.stat(name));
    let change = |labels: Labels, parent: &str, names: &[&str]| {
        let info = Info { labels, parent: Some(parent.to_owned()), ..original.clone() };
        bench.snapshotter.update(&info, &fields(names))
    };

    let expected = with(&[("l1", "v1"), ("l2", "v2"), ("l3", "v3")]);
    let before = SystemTime::now();
    let updated = ok(change(expected.clone(), "doesnotexist", &[]));
    assert!((before..=SystemTime::now()).contains(&updated.updated), "{updated:?}");
    let same = Info { labels: expected, updated: updated.updated, ..original.clone() };
    assert_eq!(updated, same, "all labels, and nothing else");

    let given = with(&[("l1", "updated"), ("l4", "v4")]);
    let updated = ok(change(given, "", &["labels.l1", "labels.l2"]));
    assert_eq!(updated.labels, with(&[("l1", "updated"), ("l3", "v3")]));

    let updated = ok(change(with(&[("l4", "v4")]), "", &["labels"]));
    assert_eq!(updated.labels, with(&[("l4", "v4")]));
    assert_eq!(ok(bench.snapshotter.stat(name)), updated);

    refused(change(with(&[]), "doesnotexist", &["parent"]), ErrorKind::InvalidArgument);
    assert_eq!(ok(bench.snapshotter.stat(name)), updated);
}

fn labels_of_commit(bench: &Bench<'_>) {
    let prepared = bench.labelled("of", "prepare");
    ok(bench.snapshotter.prepare("key", None, &prepared));
    assert_eq!(ok(bench.snapshotter.stat("key")).labels, prepared);
    let committed = bench.labelled("by", "commit");
    ok(bench.snapshotter.commit("name", "key", None, &committed));
    assert_eq!(ok(bench.snapshotter.stat("name")).labels, committed);
    let viewed = bench.labelled("of", "view");
    ok(bench.snapshotter.view("view", Some("name"), &viewed));
    assert_eq!(ok(bench.snapshotter.stat("view")).labels, viewed);
}

fn walked(bench: &Bench<'_>, filters: &[&str]) -> Vec<Info> {
    let filters = filters.iter().map(|filter| (*filter).to_owned()).collect::<Vec<_>>();
    let mut all = Vec::new();
    ok(bench.snapshotter.walk(&filters, &mut |info| {
        all.push(info.clone());
        Ok(())
    }));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn walk(bench: &Bench<'_>) {
    assert_eq!(walked(bench, &[]), []);
    chains::base(bench);
    for n in 0..300 {
        bench.prepare(&format!("many-{n}"), Some("c2"));
    }
    let all = walked(bench, &[]);
    assert_eq!(all.len(), BASE.len() + 300);
    for info in all {
        assert_eq!(ok(bench.snapshotter.stat(&info.name)), info);
    }
}

fn walk_ends(bench: &Bench<'_>) {
    chains::base(bench);
    let mut calls = 0;
    let result = bench.snapshotter.walk(&[], &mut |info| {
        calls += 1;
        Err(Error::HasChildren { key: info.name.clone() })
    });
    refused(result, ErrorKind::FailedPrecondition);
    assert_eq!(calls, 1);
}

fn stat_in_walk(bench: &Bench<'_>) {
    chains::base(bench);
    ok(bench.snapshotter.walk(&[], &mut |info| {
        assert_eq!(&bench.snapshotter.stat(&info.name)?, info);
        Ok(())
    }));
}

fn filters(bench: &Bench<'_>) {
    if !bench.features.filters {
        return;
    }
    let snapshotter = bench.snapshotter;
    let label = |value| bench.labelled("l", value);
    bench.prepare("a-np", None);
    bench.layer("p", None, &[]);
    bench.prepare("a", Some("p"));
    bench.view("v", Some("p"));
    bench.prepare("p-wl-tmp", None);
    ok(snapshotter.commit("p-wl", "p-wl-tmp", None, &label("1")));
    ok(snapshotter.prepare("a-wl", Some("p-wl"), &label("2")));
    ok(snapshotter.view("v-wl", Some("p-wl"), &label("3")));
    ok(snapshotter.prepare("a-np-wl", None, &label("2")));
    let root = r#"labels."containerd.io/gc.root"==testsuite"#;
    let and_root = |filter: &str| format!("{filter},{root}");
    let check = |filters: &[&str], expected: &[&str]| {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        let names = walked(bench, filters).into_iter().map(|info| info.name).collect::<Vec<_>>();
        assert_eq!(names, expected, "{filters:?}");
    };
    check(&[root], &["a-np", "p", "a", "v", "p-wl", "a-wl", "v-wl", "a-np-wl"]);
    check(&[&and_root("kind==active")], &["a-np", "a", "a-wl", "a-np-wl"]);
    check(&[&and_root("kind==view")], &["v", "v-wl"]);
    check(&[&and_root("kind==committed")], &["p", "p-wl"]);
    check(&["name==p", "name==a-np-wl"], &["p", "a-np-wl"]);
    check(&["name==a-wl,labels.l"], &["a-wl"]);
    check(&["parent==p"], &["a", "v"]);
    check(&[&and_root(r#"parent!="""#)], &["a", "v", "a-wl", "v-wl"]);
    check(&["labels.l"], &["p-wl", "a-wl", "v-wl", "a-np-wl"]);
    check(&["labels.l==2"], &["a-wl", "a-np-wl"]);
}
