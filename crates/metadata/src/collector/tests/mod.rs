//! The rules one by one, and a model of them all.

mod fixture;
mod model;
mod races;
mod random;

use gantry_types::labels::{GC_EXPIRE, GC_FLAT, GC_ROOT};

use super::{Collection, collect, dry_run};
use crate::{Container, Opaque, Resource, containers, contents, images, ingests, leases, snapshots};
use fixture::{DRIVER, Fixture, at, digest, labels, namespace, time};

const REF_CONTENT: &str = "containerd.io/gc.ref.content";
const REF_SNAPSHOT: &str = "containerd.io/gc.ref.snapshot.overlayfs";
const REF_IMAGE: &str = "containerd.io/gc.ref.image";

#[test]
fn what_an_image_refers_to_stays_and_the_rest_goes() {
    let f = Fixture::new();
    let chain = digest("config").to_string();
    f.content("a", "layer", &[]);
    f.content("a", "config", &[(REF_SNAPSHOT, "top")]);
    f.content(
        "a",
        "manifest",
        &[
            (&format!("{REF_CONTENT}.config"), &chain),
            (&format!("{REF_CONTENT}.l.0"), digest("layer").as_str()),
        ],
    );
    f.content("a", "loose", &[]);
    f.content("b", "manifest", &[]);
    f.image("a", "i", "manifest", &[]);
    f.snapshot("a", "base", None, &[]);
    f.snapshot("a", "top", Some("base"), &[]);
    f.snapshot("a", "other", Some("base"), &[]);
    let collected = f.collect(2000);
    assert_eq!((collected.contents, collected.snapshots, collected.images), (2, 1, 0));
    assert_eq!(f.contents("a"), f.digests(&["layer", "config", "manifest"]));
    assert_eq!(f.contents("b"), f.digests(&[]));
    assert_eq!(f.snapshots("a"), ["base", "top"]);
    assert_eq!(f.collect(2000).removed(), 0);
}

#[test]
fn roots_and_unexpired_times_keep() {
    let f = Fixture::new();
    f.content("a", "root", &[(GC_ROOT, "x")]);
    f.content("a", "later", &[(GC_EXPIRE, &time(2005))]);
    f.content("a", "past", &[(GC_EXPIRE, &time(2001))]);
    f.content("a", "wrong", &[(GC_EXPIRE, "tomorrow")]);
    f.snapshot("a", "root", None, &[(GC_ROOT, "x")]);
    f.snapshot("a", "past", None, &[(GC_EXPIRE, &time(2001))]);
    f.image("a", "stays", "x", &[(GC_EXPIRE, "nonsense")]);
    f.image("a", "goes", "x", &[(GC_EXPIRE, &time(2001))]);
    let collected = f.collect(2003);
    assert_eq!((collected.contents, collected.snapshots, collected.images), (2, 1, 1));
    assert_eq!(f.contents("a"), f.digests(&["root", "later"]));
    assert_eq!(f.images("a"), ["stays"]);
    let events = f.database.events_since(0, 100).unwrap();
    let topics: Vec<_> = events.iter().rev().take(2).map(|event| event.topic.as_str()).collect();
    assert_eq!(topics, ["/images/delete", "/snapshot/remove"]);
}

#[test]
fn expired_image_that_something_refers_to_stays() {
    let f = Fixture::new();
    f.image("a", "old", "x", &[(GC_EXPIRE, &time(2001))]);
    f.content("a", "x", &[]);
    f.content("a", "root", &[(GC_ROOT, "1"), (REF_IMAGE, "old")]);
    assert_eq!(f.collect(2003).removed(), 0);
}

#[test]
fn expired_lease_goes_with_what_it_kept() {
    let f = Fixture::new();
    f.lease("a", "l", &[(GC_EXPIRE, &time(2002))]);
    f.leased("a", "x", "l");
    assert_eq!(f.collect(2001).removed(), 0);
    let collected = f.collect(2003);
    assert_eq!((collected.leases, collected.contents), (1, 1));
}

#[test]
fn flat_lease_keeps_its_resources_without_their_references() {
    let f = Fixture::new();
    f.lease("a", "flat", &[(GC_FLAT, "1")]);
    f.content("a", "leaf", &[]);
    f.content("a", "manifest", &[(REF_CONTENT, digest("leaf").as_str())]);
    f.content("a", "more", &[]);
    f.snapshot("a", "base", None, &[(REF_CONTENT, digest("more").as_str())]);
    f.snapshot("a", "top", Some("base"), &[(REF_CONTENT, digest("more").as_str())]);
    f.image("a", "i", "manifest", &[(GC_EXPIRE, &time(2001)), (REF_CONTENT, digest("more").as_str())]);
    f.add("a", "flat", Resource::Snapshot { driver: DRIVER.into(), key: "top".into() });
    f.add("a", "flat", Resource::Image("i".into()));
    let collected = f.collect(2003);
    assert_eq!((collected.contents, collected.snapshots, collected.images), (2, 0, 0));
    assert_eq!(f.contents("a"), f.digests(&["manifest"]));
    // A second lease, that is not flat, keeps all.
    f.content("a", "leaf", &[]);
    f.content("a", "more", &[]);
    f.lease("a", "full", &[]);
    f.add("a", "full", Resource::Image("i".into()));
    assert_eq!(f.collect(2003).removed(), 0);
}

#[test]
fn back_reference_lives_with_what_it_names() {
    let f = Fixture::new();
    f.image("a", "i", "manifest", &[]);
    f.content("a", "manifest", &[]);
    f.content("a", "signature", &[("containerd.io/gc.bref.content", digest("manifest").as_str())]);
    f.content("a", "of-image", &[("containerd.io/gc.bref.image.x", "i")]);
    f.content("a", "of-none", &[("containerd.io/gc.bref.image", "none")]);
    f.content("a", "of-container", &[("containerd.io/gc.bref.container", "c")]);
    f.snapshot("a", "of-snapshot", None, &[("containerd.io/gc.bref.snapshot.overlayfs/x", "kept")]);
    f.snapshot("a", "kept", None, &[(GC_ROOT, "1")]);
    f.container("a", "c", "rw", &[]);
    f.snapshot("a", "rw", None, &[]);
    let collected = f.collect(2003);
    assert_eq!((collected.contents, collected.snapshots), (1, 0));
    f.database.write(|change| containers::delete(change, &namespace("a"), "c")).unwrap();
    let collected = f.collect(2003);
    assert_eq!((collected.contents, collected.snapshots), (1, 1));
    f.database
        .write(|change| {
            let (ns, holder) = (namespace("a"), images::Holder::Docker);
            images::delete(change, images::By::new(&ns, &holder), "i", None)
        })
        .unwrap();
    assert_eq!(f.collect(2003).contents, 3);
}

#[test]
fn conditional_reference_counts_while_its_condition_holds() {
    let f = Fixture::new();
    let used = "containerd.io/gc.cond.value-usedat";
    let day = 24;
    f.image("a", "i", "x", &[("containerd.io/gc.cond.snapshot.overlayfs", &format!("usedat<{day}h|s"))]);
    f.image("a", "j", "x", &[("containerd.io/gc.cond.snapshot.overlayfs", &format!("usedat>{day}h|t"))]);
    f.snapshot("a", "s", None, &[(used, "2003-01-01T00:00:00Z")]);
    f.snapshot("a", "t", None, &[(used, "2003-01-01T00:00:00Z")]);
    f.snapshot("a", "base", None, &[]);
    let collection = Collection { now: "2003-01-01T12:00:00Z".parse().unwrap() };
    assert_eq!(collect(&f.database, collection).unwrap().snapshots, 2);
    assert_eq!(f.snapshots("a"), ["s"]);
    f.snapshot("a", "t", None, &[(used, "2003-01-01T00:00:00Z")]);
    let collection = Collection { now: "2003-01-03T00:00:00Z".parse().unwrap() };
    assert_eq!(collect(&f.database, collection).unwrap().snapshots, 1);
    assert_eq!(f.snapshots("a"), ["t"]);
}

#[test]
fn shared_name_keeps_content_in_every_namespace_that_joined() {
    let f = Fixture::new();
    for ns in ["moby", "k8s.io", "a"] {
        f.content(ns, "manifest", &[]);
        f.snapshot(ns, "s", None, &[]);
    }
    f.image("moby", "i", "manifest", &[(REF_SNAPSHOT, "s")]);
    let collected = f.collect(2003);
    assert_eq!((collected.contents, collected.snapshots), (1, 1));
    assert_eq!(f.contents("k8s.io"), f.digests(&["manifest"]));
    assert_eq!(f.contents("a"), f.digests(&[]));
}

#[test]
fn ingest_that_is_written_to_is_never_collected() {
    let f = Fixture::new();
    f.lease("a", "l", &[]);
    let open = |name: &'static str, lease: Option<&'static str>| {
        f.database
            .write(move |change| {
                let opening = ingests::Opening { lease, ..ingests::Opening::default() };
                ingests::open(change, &namespace("a"), name, opening)
            })
            .unwrap()
    };
    open("idle", None);
    let held = open("held", None);
    open("leased", Some("l"));
    assert_eq!(f.collect(2001).removed(), 0);
    let hold = f.database.hold_ingest(held.id);
    assert_eq!(f.collect(2200).ingests, 1);
    drop(hold);
    assert_eq!(f.collect(2200).ingests, 1);
    f.database.write(|change| leases::delete(change, &namespace("a"), "l")).unwrap();
    assert_eq!(f.collect(2001).ingests, 1);
}

#[test]
fn sandbox_and_container_keep_what_their_labels_name() {
    let f = Fixture::new();
    f.content("a", "x", &[]);
    f.content("a", "y", &[]);
    f.database
        .write(|change| {
            let mut sandbox = crate::Sandbox::new("s");
            sandbox.labels = labels(&[(REF_CONTENT, digest("x").as_str())]);
            crate::sandboxes::create(change, &namespace("a"), &sandbox)?;
            let mut container = Container::new("c", "r", Opaque::default());
            container.labels = labels(&[(REF_CONTENT, digest("y").as_str())]);
            containers::create(change, &namespace("a"), &container)
        })
        .unwrap();
    assert_eq!(f.collect(2003).removed(), 0);
}

#[test]
fn name_that_a_lease_gets_during_the_sweep_keeps_who_refers_back_to_it() {
    let f = Fixture::new();
    f.lease("a", "l", &[]);
    f.content("a", "x", &[("containerd.io/gc.bref.snapshot.overlayfs", "absent")]);
    let now = crate::time::to_row(at(2003));
    let collected = super::begin(&f.database, now).unwrap();
    let (marks, candidates) = super::mark(&f.database, now).unwrap();
    f.add("a", "l", Resource::Snapshot { driver: DRIVER.into(), key: "absent".into() });
    super::step(&f.database, super::Sweep::new(marks, candidates, now, collected)).unwrap();
    assert_eq!(f.contents("a"), f.digests(&["x"]));
    assert_eq!(f.collect(2003).removed(), 0);
}

#[test]
fn deep_stack_goes_in_one_collection() {
    let f = Fixture::new();
    f.snapshot("a", "s0", None, &[]);
    for number in 1..200 {
        f.snapshot("a", &format!("s{number}"), Some(&format!("s{}", number - 1)), &[]);
    }
    assert_eq!(f.collect(2003).snapshots, 200);
    let left = f.database.read(|view| snapshots::driver_numbers(view, DRIVER)).unwrap();
    assert!(left.is_empty());
}

#[test]
fn dry_run_names_reasons_and_changes_nothing() {
    let f = Fixture::new();
    f.content("a", "layer", &[]);
    f.content("a", "manifest", &[(REF_CONTENT, digest("layer").as_str())]);
    f.content("a", "loose", &[]);
    f.image("a", "i", "manifest", &[]);
    f.lease("a", "l", &[]);
    f.leased("a", "held", "l");
    let plan = dry_run(&f.database, at(2003)).unwrap();
    let names: Vec<_> = plan.removed.iter().map(|(item, _)| item.name.clone()).collect();
    assert_eq!(names, [digest("loose").to_string()]);
    let why = |name: &str| {
        let found = plan.kept.iter().find(|(item, _)| item.name == name).unwrap();
        found.1.clone()
    };
    assert_eq!(why("i"), "root: an image");
    assert_eq!(why(digest("manifest").as_str()), "image a/i");
    assert_eq!(why(digest("layer").as_str()), format!("content a/{}", digest("manifest")));
    assert_eq!(why(digest("held").as_str()), "lease a/l");
    assert_eq!(f.collect(2003).contents, 1);
    assert!(f.database.read(|view| contents::get(view, &namespace("a"), &digest("loose"))).is_err());
}
