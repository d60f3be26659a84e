//! Random requests to the database and to the model of the page: both have to answer alike, and a collection has to remove
//! what the model does not reach. Some requests come while the collector marks or sweeps.

use std::collections::BTreeSet;

use gantry_types::{ErrorKind, Labels};
use proptest::prelude::*;

use super::super::sweep::Sweep;
use super::super::{Collection, begin, collect, mark, step};
use super::fixture::{DRIVER, Fixture, at, image, namespace, put_content, time};
use super::model::{
    CONTENT, IMAGE, Image, Lease, Model, NAMESPACES, Node, Outcome, SNAPSHOT, Snapshot, digest_text, key,
    space,
};
use crate::{
    Container, Database, Error, Holder, Opaque, Resource, containers, contents, images, leases, snapshots,
};

#[derive(Debug, Clone)]
enum Op {
    Content {
        ns: u8,
        digest: u8,
        labels: Labels,
        lease: Option<u8>,
    },
    UpdateContent {
        ns: u8,
        digest: u8,
        labels: Labels,
    },
    DeleteContent {
        ns: u8,
        digest: u8,
        lease: Option<u8>,
    },
    Image {
        ns: u8,
        name: u8,
        digest: u8,
        labels: Labels,
        lease: Option<u8>,
    },
    UpdateImage {
        ns: u8,
        name: u8,
        digest: u8,
        labels: Labels,
    },
    DeleteImage {
        ns: u8,
        name: u8,
    },
    Prepare {
        ns: u8,
        key: u8,
        parent: Option<u8>,
        labels: Labels,
        lease: Option<u8>,
    },
    Commit {
        ns: u8,
        key: u8,
        name: u8,
        parent: Option<u8>,
        labels: Labels,
        lease: Option<u8>,
    },
    Remove {
        ns: u8,
        key: u8,
    },
    UpdateSnapshot {
        ns: u8,
        key: u8,
        labels: Labels,
    },
    Container {
        ns: u8,
        id: u8,
        key: u8,
        labels: Labels,
    },
    DeleteContainer {
        ns: u8,
        id: u8,
    },
    Lease {
        ns: u8,
        id: u8,
        labels: Labels,
    },
    DeleteLease {
        ns: u8,
        id: u8,
    },
    AddResource {
        ns: u8,
        id: u8,
        kind: u8,
        name: u8,
    },
    DeleteResource {
        ns: u8,
        id: u8,
        kind: u8,
        name: u8,
    },
    Collect {
        now: u32,
    },
    /// A collection with requests after its mark and between the changes of its sweep.
    CollectAmid {
        now: u32,
        after: Vec<Op>,
        amid: Vec<Op>,
    },
}

/// Names of every kind but digests.
fn name(number: u8) -> String {
    format!("n{number}")
}

fn label() -> impl Strategy<Value = (String, String)> {
    let years = prop_oneof![Just(2002u32), Just(2004), Just(2100)];
    prop_oneof![
        1 => Just(("containerd.io/gc.root".to_owned(), "1".to_owned())),
        1 => Just(("containerd.io/gc.flat".to_owned(), "1".to_owned())),
        2 => years.prop_map(|year| ("containerd.io/gc.expire".to_owned(), time(year))),
        3 => (0u8..3, 0u8..4).prop_map(|(n, d)| (format!("containerd.io/gc.ref.content.{n}"), digest_text(d))),
        2 => (0u8..4).prop_map(|k| (format!("containerd.io/gc.ref.snapshot.{DRIVER}/{k}"), name(k))),
        1 => (0u8..3).prop_map(|i| ("containerd.io/gc.ref.image".to_owned(), name(i))),
        1 => (0u8..4).prop_map(|d| ("containerd.io/gc.bref.content".to_owned(), digest_text(d))),
        1 => (0u8..3).prop_map(|i| ("containerd.io/gc.bref.image.x".to_owned(), name(i))),
        1 => (0u8..2).prop_map(|c| ("containerd.io/gc.bref.container".to_owned(), name(c))),
        1 => (0u8..4).prop_map(|k| (format!("containerd.io/gc.bref.snapshot.{DRIVER}"), name(k))),
    ]
}

fn any_labels() -> impl Strategy<Value = Labels> {
    prop::collection::vec(label(), 0..3).prop_map(|pairs| pairs.into_iter().collect())
}

/// A request that no collection is.
fn request() -> impl Strategy<Value = Op> {
    let ns = || prop_oneof![3 => Just(0u8), 1 => Just(1u8), 2 => Just(2u8), 2 => Just(3u8)];
    let lease = || prop::option::weighted(0.3, 0u8..2);
    let labels = any_labels;
    prop_oneof![
        4 => (ns(), 0u8..4, labels(), lease())
            .prop_map(|(ns, digest, labels, lease)| Op::Content { ns, digest, labels, lease }),
        1 => (ns(), 0u8..4, labels()).prop_map(|(ns, digest, labels)| Op::UpdateContent { ns, digest, labels }),
        1 => (ns(), 0u8..4, lease()).prop_map(|(ns, digest, lease)| Op::DeleteContent { ns, digest, lease }),
        3 => (ns(), 0u8..3, 0u8..4, labels(), lease())
            .prop_map(|(ns, name, digest, labels, lease)| Op::Image { ns, name, digest, labels, lease }),
        1 => (ns(), 0u8..3, 0u8..4, labels())
            .prop_map(|(ns, name, digest, labels)| Op::UpdateImage { ns, name, digest, labels }),
        2 => (ns(), 0u8..3).prop_map(|(ns, name)| Op::DeleteImage { ns, name }),
        4 => (ns(), 0u8..4, prop::option::of(0u8..4), labels(), lease())
            .prop_map(|(ns, key, parent, labels, lease)| Op::Prepare { ns, key, parent, labels, lease }),
        4 => (ns(), 0u8..4, 0u8..4, prop::option::of(0u8..4), labels(), lease())
            .prop_map(|(ns, key, name, parent, labels, lease)| Op::Commit { ns, key, name, parent, labels, lease }),
        1 => (ns(), 0u8..4).prop_map(|(ns, key)| Op::Remove { ns, key }),
        1 => (ns(), 0u8..4, labels()).prop_map(|(ns, key, labels)| Op::UpdateSnapshot { ns, key, labels }),
        1 => (ns(), 0u8..2, 0u8..4, labels())
            .prop_map(|(ns, id, key, labels)| Op::Container { ns, id, key, labels }),
        1 => (ns(), 0u8..2).prop_map(|(ns, id)| Op::DeleteContainer { ns, id }),
        2 => (ns(), 0u8..2, labels()).prop_map(|(ns, id, labels)| Op::Lease { ns, id, labels }),
        1 => (ns(), 0u8..2).prop_map(|(ns, id)| Op::DeleteLease { ns, id }),
        1 => (ns(), 0u8..2, 0u8..3, 0u8..4)
            .prop_map(|(ns, id, kind, name)| Op::AddResource { ns, id, kind, name }),
        1 => (ns(), 0u8..2, 0u8..3, 0u8..4)
            .prop_map(|(ns, id, kind, name)| Op::DeleteResource { ns, id, kind, name }),
    ]
}

fn operation() -> impl Strategy<Value = Op> {
    let requests = || prop::collection::vec(request(), 0..6);
    prop_oneof![
        12 => request(),
        1 => (2001u32..2006).prop_map(|now| Op::Collect { now }),
        2 => (2001u32..2006, requests(), requests())
            .prop_map(|(now, after, amid)| Op::CollectAmid { now, after, amid }),
    ]
}

fn run<T: Send + 'static>(
    database: &Database,
    f: impl FnOnce(&mut crate::Change<'_>) -> Result<T, Error> + Send + 'static,
) -> Outcome {
    database.write(f).map(drop).map_err(|error| error.kind())
}

fn holder(ns: &str) -> Holder {
    Holder::Containerd(namespace(ns))
}

/// Asks the database.
fn ask(database: &Database, op: Op) -> Outcome {
    let ns_of = |ns: u8| namespace(NAMESPACES[usize::from(ns)]);
    match op {
        Op::Content { ns, digest, labels, lease } => run(database, move |change| {
            let lease = lease.map(name);
            let digest = digest_text(digest).parse().unwrap();
            put_content(change, &ns_of(ns), &digest, &labels, lease.as_deref())
        }),
        Op::UpdateContent { ns, digest, labels } => run(database, move |change| {
            contents::update(change, &ns_of(ns), &digest_text(digest).parse().unwrap(), &labels, &[])
        }),
        Op::DeleteContent { ns, digest, lease } => run(database, move |change| {
            let lease = lease.map(name);
            contents::delete(change, &ns_of(ns), &digest_text(digest).parse().unwrap(), lease.as_deref())
        }),
        Op::Image { ns, name: number, digest, labels, lease } => run(database, move |change| {
            let (ns, lease) = (ns_of(ns), lease.map(name));
            let holder = holder(ns.as_str());
            let by = images::By { lease: lease.as_deref(), ..images::By::new(&ns, &holder) };
            let digest = digest_text(digest).parse().unwrap();
            images::create(change, by, &image(&name(number), &digest, &labels))
        }),
        Op::UpdateImage { ns, name: number, digest, labels } => run(database, move |change| {
            let ns = ns_of(ns);
            let digest = digest_text(digest).parse().unwrap();
            let image = image(&name(number), &digest, &labels);
            images::update(change, images::By::new(&ns, &holder(ns.as_str())), &image, &[])
        }),
        Op::DeleteImage { ns, name: number } => run(database, move |change| {
            let ns = ns_of(ns);
            images::delete(change, images::By::new(&ns, &holder(ns.as_str())), &name(number), None)
        }),
        Op::Prepare { ns, key, parent, labels, lease } => run(database, move |change| {
            let (parent, lease, key) = (parent.map(name), lease.map(name), name(key));
            let new = snapshots::Creation {
                driver: DRIVER,
                key: &key,
                parent: parent.as_deref(),
                labels: &labels,
                number: None,
                lease: lease.as_deref(),
            };
            snapshots::prepare(change, &ns_of(ns), &new)
        }),
        Op::Commit { ns, key, name: to, parent, labels, lease } => run(database, move |change| {
            let (parent, lease, key, to) = (parent.map(name), lease.map(name), name(key), name(to));
            let request = snapshots::Commit {
                driver: DRIVER,
                key: &key,
                name: &to,
                parent: parent.as_deref(),
                labels: &labels,
                usage: snapshots::Usage::default(),
                chain: None,
                lease: lease.as_deref(),
            };
            snapshots::commit(change, &ns_of(ns), &request)
        }),
        Op::Remove { ns, key } => {
            run(database, move |change| snapshots::remove(change, &ns_of(ns), DRIVER, &name(key), None))
        }
        Op::UpdateSnapshot { ns, key, labels } => run(database, move |change| {
            snapshots::update(change, &ns_of(ns), DRIVER, &name(key), &labels, &[])
        }),
        Op::Container { ns, id, key, labels } => run(database, move |change| {
            let mut container = Container::new(name(id), "runtime", Opaque::default());
            (container.snapshotter, container.snapshot_key) = (DRIVER.into(), name(key));
            container.labels = labels;
            containers::create(change, &ns_of(ns), &container)
        }),
        Op::DeleteContainer { ns, id } => {
            run(database, move |change| containers::delete(change, &ns_of(ns), &name(id)))
        }
        Op::Lease { ns, id, labels } => {
            run(database, move |change| leases::create(change, &ns_of(ns), &name(id), &labels))
        }
        Op::DeleteLease { ns, id } => {
            run(database, move |change| leases::delete(change, &ns_of(ns), &name(id)))
        }
        Op::AddResource { ns, id, kind, name: number } => {
            run(database, move |change| leases::add(change, &ns_of(ns), &name(id), &resource(kind, number)))
        }
        Op::DeleteResource { ns, id, kind, name: number } => run(database, move |change| {
            leases::remove(change, &ns_of(ns), &name(id), &resource(kind, number))
        }),
        Op::Collect { .. } | Op::CollectAmid { .. } => unreachable!("no request"),
    }
}

fn resource(kind: u8, number: u8) -> Resource {
    match kind {
        CONTENT => Resource::Content(digest_text(number).parse().unwrap()),
        SNAPSHOT => Resource::Snapshot { driver: DRIVER.into(), key: name(number) },
        _ => Resource::Image(name(number)),
    }
}

/// Asks the model.
fn expect(model: &mut Model, op: &Op) -> Outcome {
    let ns_of = |ns: &u8| NAMESPACES[usize::from(*ns)];
    let not_found = Err(ErrorKind::NotFound);
    match op {
        Op::Content { ns, digest, labels, lease } => {
            let (ns, digest, lease) = (ns_of(ns), digest_text(*digest), lease.map(name));
            model.lease(ns, lease.as_deref(), CONTENT, &digest)?;
            if model.contents.contains_key(&key(ns, &digest)) {
                return Err(ErrorKind::AlreadyExists);
            }
            model.contents.insert(key(ns, &digest), labels.clone());
            Ok(())
        }
        Op::UpdateContent { ns, digest, labels } => {
            let content = model.contents.get_mut(&key(ns_of(ns), &digest_text(*digest)));
            *content.ok_or(ErrorKind::NotFound)? = labels.clone();
            Ok(())
        }
        Op::DeleteContent { ns, digest, lease } => {
            let (ns, digest, lease) = (ns_of(ns), digest_text(*digest), lease.map(name));
            model.contents.remove(&key(ns, &digest)).ok_or(ErrorKind::NotFound)?;
            model.unlease(ns, lease.as_deref(), CONTENT, &digest);
            Ok(())
        }
        Op::Image { ns, name: number, digest, labels, lease } => {
            let (ns, number, lease) = (ns_of(ns), name(*number), lease.map(name));
            let at = key(space(ns), &number);
            if model.images.contains_key(&at) {
                return Err(ErrorKind::AlreadyExists);
            }
            // A lease is of use to a name that expires.
            if labels.contains_key("containerd.io/gc.expire") {
                model.lease(ns, lease.as_deref(), IMAGE, &number)?;
            }
            let holders = BTreeSet::from([ns.to_owned()]);
            model.images.insert(at, Image { digest: digest_text(*digest), labels: labels.clone(), holders });
            Ok(())
        }
        Op::UpdateImage { ns, name: number, digest, labels } => {
            let image = model.images.get_mut(&key(space(ns_of(ns)), &name(*number)));
            let image = image.ok_or(ErrorKind::NotFound)?;
            (image.digest, image.labels) = (digest_text(*digest), labels.clone());
            image.holders.insert(ns_of(ns).to_owned());
            Ok(())
        }
        Op::DeleteImage { ns, name: number } => {
            let at = key(space(ns_of(ns)), &name(*number));
            let Some(image) = model.images.get_mut(&at) else { return not_found };
            if !image.holders.remove(ns_of(ns)) {
                return not_found;
            }
            if image.holders.is_empty() {
                model.images.remove(&at);
            }
            Ok(())
        }
        Op::Prepare { ns, key: number, parent, labels, lease } => {
            let (ns, number, lease) = (ns_of(ns), name(*number), lease.map(name));
            if model.snapshots.contains_key(&key(ns, &number)) {
                model.lease(ns, lease.as_deref(), SNAPSHOT, &number)?;
                return Err(ErrorKind::AlreadyExists);
            }
            let parent = parent.map(name);
            if let Some(parent) = &parent {
                let parent = model.snapshots.get(&key(ns, parent)).ok_or(ErrorKind::NotFound)?;
                if !parent.committed {
                    return Err(ErrorKind::InvalidArgument);
                }
            }
            model.lease(ns, lease.as_deref(), SNAPSHOT, &number)?;
            let snapshot = Snapshot { parent, committed: false, labels: labels.clone() };
            model.snapshots.insert(key(ns, &number), snapshot);
            Ok(())
        }
        Op::Commit { ns, key: from, name: to, parent, labels, lease } => {
            let (ns, from, to, lease) = (ns_of(ns), name(*from), name(*to), lease.map(name));
            if model.snapshots.contains_key(&key(ns, &to)) {
                model.lease(ns, lease.as_deref(), SNAPSHOT, &to)?;
                return Err(ErrorKind::AlreadyExists);
            }
            let active = model.snapshots.get(&key(ns, &from)).ok_or(ErrorKind::NotFound)?;
            if active.committed {
                return Err(ErrorKind::FailedPrecondition);
            }
            let parent = active.parent.clone().or(parent.map(name));
            if let Some(parent) = &parent {
                let parent = model.snapshots.get(&key(ns, parent)).ok_or(ErrorKind::NotFound)?;
                if !parent.committed {
                    return Err(ErrorKind::InvalidArgument);
                }
            }
            if !model.has_lease(ns, lease.as_deref()) {
                return not_found;
            }
            model.lease(ns, lease.as_deref(), SNAPSHOT, &to)?;
            model.unlease(ns, lease.as_deref(), SNAPSHOT, &from);
            model.snapshots.remove(&key(ns, &from));
            let snapshot = Snapshot { parent, committed: true, labels: labels.clone() };
            model.snapshots.insert(key(ns, &to), snapshot);
            Ok(())
        }
        Op::Remove { ns, key: number } => {
            let (ns, number) = (ns_of(ns), name(*number));
            if !model.snapshots.contains_key(&key(ns, &number)) {
                return not_found;
            }
            let child = |((its, _), other): (&(String, String), &Snapshot)| {
                its == ns && other.parent.as_deref() == Some(number.as_str())
            };
            if model.snapshots.iter().any(child) {
                return Err(ErrorKind::FailedPrecondition);
            }
            model.snapshots.remove(&key(ns, &number));
            Ok(())
        }
        Op::UpdateSnapshot { ns, key: number, labels } => {
            let snapshot = model.snapshots.get_mut(&key(ns_of(ns), &name(*number)));
            snapshot.ok_or(ErrorKind::NotFound)?.labels = labels.clone();
            Ok(())
        }
        Op::Container { ns, id, key: number, labels } => {
            let at = key(ns_of(ns), &name(*id));
            if model.containers.contains_key(&at) {
                return Err(ErrorKind::AlreadyExists);
            }
            model.containers.insert(at, (name(*number), labels.clone()));
            Ok(())
        }
        Op::DeleteContainer { ns, id } => {
            let removed = model.containers.remove(&key(ns_of(ns), &name(*id)));
            removed.map(drop).ok_or(ErrorKind::NotFound)
        }
        Op::Lease { ns, id, labels } => {
            let at = key(ns_of(ns), &name(*id));
            if model.leases.contains_key(&at) {
                return Err(ErrorKind::AlreadyExists);
            }
            model.leases.insert(at, Lease { labels: labels.clone(), resources: BTreeSet::new() });
            Ok(())
        }
        Op::DeleteLease { ns, id } => {
            model.leases.remove(&key(ns_of(ns), &name(*id))).map(drop).ok_or(ErrorKind::NotFound)
        }
        Op::AddResource { ns, id, kind, name: number } => {
            model.lease(ns_of(ns), Some(&name(*id)), *kind, resource(*kind, *number).id())
        }
        Op::DeleteResource { ns, id, kind, name: number } => {
            if !model.has_lease(ns_of(ns), Some(&name(*id))) {
                return not_found;
            }
            model.unlease(ns_of(ns), Some(&name(*id)), *kind, resource(*kind, *number).id());
            Ok(())
        }
        Op::Collect { .. } | Op::CollectAmid { .. } => unreachable!("no request"),
    }
}

/// All records of the database, in the model's words.
fn found(database: &Database) -> BTreeSet<Node> {
    let read = database.read(|view| {
        let mut nodes = BTreeSet::new();
        for ns in NAMESPACES {
            let namespace = namespace(ns);
            let home = || ns.to_owned();
            let list = contents::list(view, &namespace)?;
            nodes.extend(list.into_iter().map(|content| Node::Content(home(), content.digest.to_string())));
            let list = snapshots::list(view, &namespace, DRIVER)?;
            nodes.extend(list.into_iter().map(|snapshot| Node::Snapshot(home(), snapshot.name)));
            let list = images::list(view, &namespace)?;
            nodes.extend(list.into_iter().map(|image| Node::Image(space(ns).to_owned(), image.name)));
            let list = containers::list(view, &namespace)?;
            nodes.extend(list.into_iter().map(|container| Node::Container(home(), container.id)));
        }
        Ok::<_, Error>(nodes)
    });
    read.unwrap()
}

/// Takes from the model what the sweep removed, all of which must be out of reach.
fn follow(database: &Database, model: &mut Model, now: u32) {
    let (found, reachable) = (found(database), model.reachable(now));
    for node in model.all() {
        if !found.contains(&node) {
            assert!(!reachable.contains(&node), "{node:?} was removed and is reachable");
            model.remove(&node);
        }
    }
    assert_eq!(found, model.all());
}

fn both(database: &Database, model: &mut Model, op: &Op) {
    let expected = expect(model, op);
    assert_eq!(ask(database, op.clone()), expected, "{op:?}");
}

fn collect_amid(database: &Database, model: &mut Model, now: u32, after: &[Op], amid: &[Op]) {
    let row = crate::time::to_row(at(now));
    let collected = begin(database, row).unwrap();
    model.expire(now);
    let (marks, candidates) = mark(database, row).unwrap();
    after.iter().for_each(|op| both(database, model, op));
    let mut sweep = Sweep::new(marks, candidates, row, collected);
    let mut amid = amid.iter();
    while !sweep.done {
        sweep = step_by_one(database, sweep);
        follow(database, model, now);
        amid.next().into_iter().for_each(|op| both(database, model, op));
    }
    amid.for_each(|op| both(database, model, op));
}

fn step_by_one(database: &Database, mut sweep: Sweep) -> Sweep {
    database
        .write::<_, Error>(move |change| {
            sweep.step(change, &|_| false, 1)?;
            Ok(sweep)
        })
        .unwrap()
}

/// As many cases as `PROPTEST_CASES` says, or what a run of the tests has time for.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = std::env::var_os("PROPTEST_CASES").map_or(96, |_| default.cases);
    ProptestConfig { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn database_answers_as_the_page_says(ops in prop::collection::vec(operation(), 1..80)) {
        let f = Fixture::new();
        let mut model = Model::default();
        for op in &ops {
            match op {
                Op::Collect { now } => {
                    collect(&f.database, Collection { now: at(*now) }).unwrap();
                    model.expire(*now);
                    let reachable = model.reachable(*now);
                    model.all().iter().filter(|node| !reachable.contains(node)).for_each(|node| model.remove(node));
                }
                Op::CollectAmid { now, after, amid } => collect_amid(&f.database, &mut model, *now, after, amid),
                _ => both(&f.database, &mut model, op),
            }
            prop_assert_eq!(found(&f.database), model.all(), "after {:?}", op);
        }
        f.database.check().unwrap();
    }
}

#[test]
fn step_of_the_sweep_is_the_collectors() {
    let f = Fixture::new();
    f.content("a", "x", &[]);
    let row = crate::time::to_row(at(2003));
    let collected = begin(&f.database, row).unwrap();
    let (marks, candidates) = mark(&f.database, row).unwrap();
    let sweep = step(&f.database, Sweep::new(marks, candidates, row, collected)).unwrap();
    assert!(sweep.done);
    assert_eq!(f.contents("a"), []);
}
