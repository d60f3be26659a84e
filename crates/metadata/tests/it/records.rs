//! What containerd's own tests demand of its records.

use gantry_metadata::{Container, Holder, Image, Opaque, Resource, Sandbox, SnapshotKind};
use gantry_metadata::{
    containers, contents, images, ingests, leases, mounts, namespaces, sandboxes, settings, snapshots,
};
use gantry_types::labels::{SHAREABLE, SNAPSHOT_REF};
use gantry_types::{ChainId, ErrorKind, Labels};

use crate::fixture::{
    DRIVER, Store, commit, digest, door, kind, labels, namespace, prepare, put_content, put_image, target,
};

#[test]
fn namespace_comes_with_the_first_write_and_goes_only_when_empty() {
    let store = Store::new();
    let ns = namespace("a");
    assert_eq!(kind(store.read(|view| namespaces::get(view, &ns))), ErrorKind::NotFound);
    store.write(|change| put_content(change, &namespace("a"), "x", &[], None)).unwrap();
    assert_eq!(store.read(namespaces::list).unwrap(), [(ns.clone(), Labels::new())]);
    let error = store.write(|change| namespaces::delete(change, &namespace("a"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.to_string().contains("must be empty, but it still has blobs"), "{error}");
    store.write(|change| contents::delete(change, &namespace("a"), &digest("x"), None)).unwrap();
    store.write(|change| namespaces::delete(change, &namespace("a"))).unwrap();
    assert_eq!(kind(store.write(|change| namespaces::delete(change, &namespace("a")))), ErrorKind::NotFound);
}

#[test]
fn labels_with_empty_values_are_removed() {
    let store = Store::new();
    store
        .write(|change| namespaces::create(change, &namespace("a"), &labels(&[("k", "v"), ("e", "")])))
        .unwrap();
    assert_eq!(
        kind(store.write(|change| namespaces::create(change, &namespace("a"), &Labels::new()))),
        ErrorKind::AlreadyExists
    );
    let paths = ["labels.k".to_owned(), "labels.x.y".to_owned()];
    let updated = store.write(move |change| {
        namespaces::update(change, &namespace("a"), &labels(&[("x.y", "1"), ("k", "")]), &paths)
    });
    assert_eq!(updated.unwrap(), labels(&[("x.y", "1")]));
}

#[test]
fn labels_over_the_limit_are_refused() {
    let store = Store::new();
    let long = "v".repeat(4096);
    let result = store.write(move |change| put_content(change, &namespace("a"), "x", &[("k", &long)], None));
    assert_eq!(kind(result), ErrorKind::InvalidArgument);
    assert_eq!(kind(store.read(|view| namespaces::get(view, &namespace("a")))), ErrorKind::NotFound);
}

#[test]
fn image_update_takes_field_paths() {
    let store = Store::new();
    store.write(|change| put_image(change, &namespace("a"), "i", "one", &[("a", "1"), ("b", "2")])).unwrap();
    assert_eq!(
        kind(store.write(|change| put_image(change, &namespace("a"), "i", "one", &[]))),
        ErrorKind::AlreadyExists
    );
    let update = |image: Image, paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        store.write(move |change| {
            let (ns, holder) = (namespace("a"), door(&namespace("a")));
            images::update(change, images::By::new(&ns, &holder), &image, &paths)
        })
    };
    let given = || Image::new("i", target("two"), labels(&[("a", "9"), ("c", "3")]));
    let image = update(given(), &["labels.a", "labels.b"]).unwrap();
    assert_eq!((image.labels, image.target.digest), (labels(&[("a", "9")]), digest("one")));
    let image = update(given(), &["target"]).unwrap();
    assert_eq!((image.labels, image.target.digest), (labels(&[("a", "9")]), digest("two")));
    let image = update(given(), &[]).unwrap();
    assert_eq!(image.labels, labels(&[("a", "9"), ("c", "3")]));
    assert!(image.updated > image.created);
    assert_eq!(kind(update(given(), &["name"])), ErrorKind::InvalidArgument);
    assert_eq!(kind(update(Image::new("none", target("x"), Labels::new()), &[])), ErrorKind::NotFound);
    let mut empty = given();
    empty.target.size = 0;
    assert_eq!(kind(update(empty, &[])), ErrorKind::InvalidArgument);
}

#[test]
fn image_delete_checks_the_target() {
    let store = Store::new();
    store.write(|change| put_image(change, &namespace("a"), "i", "one", &[])).unwrap();
    let delete = |text: &'static str| {
        store.write(move |change| {
            let (ns, holder) = (namespace("a"), door(&namespace("a")));
            images::delete(change, images::By::new(&ns, &holder), "i", Some(&digest(text)))
        })
    };
    assert_eq!(kind(delete("two")), ErrorKind::NotFound);
    assert_eq!(delete("one").unwrap(), images::Deleted::Gone);
    assert_eq!(kind(delete("one")), ErrorKind::NotFound);
}

#[test]
fn shared_name_goes_with_its_last_holder() {
    let store = Store::new();
    let delete = |ns: &'static str, holder: Holder| {
        store.write(move |change| images::delete(change, images::By::new(&namespace(ns), &holder), "i", None))
    };
    store
        .write(|change| {
            let image = Image::new("i", target("one"), Labels::new());
            images::create(change, images::By::new(&namespace("moby"), &Holder::Docker), &image)?;
            assert!(images::get(change, &namespace("k8s.io"), "i").is_ok(), "k8s.io sees what docker made");
            images::update(change, images::By::new(&namespace("k8s.io"), &Holder::Cri), &image, &[])
        })
        .unwrap();
    assert_eq!(store.read(|view| images::holders(view, "i")).unwrap(), [Holder::Cri, Holder::Docker]);
    assert_eq!(kind(store.read(|view| images::get(view, &namespace("default"), "i"))), ErrorKind::NotFound);
    assert_eq!(kind(delete("k8s.io", door(&namespace("k8s.io")))), ErrorKind::NotFound);
    assert_eq!(delete("k8s.io", Holder::Cri).unwrap(), images::Deleted::Held);
    assert_eq!(kind(delete("k8s.io", Holder::Cri)), ErrorKind::NotFound);
    assert_eq!(delete("moby", Holder::Docker).unwrap(), images::Deleted::Gone);
    assert!(store.read(images::list_shared).unwrap().is_empty());
}

#[test]
fn namespace_joins_and_leaves_the_shared_names_by_its_label() {
    let store = Store::new();
    let share = |value: &'static str| {
        store.write(move |change| {
            namespaces::update(change, &namespace("a"), &labels(&[(SHAREABLE, value)]), &[]).map(drop)
        })
    };
    store
        .write(|change| {
            put_image(change, &namespace("moby"), "taken", "docker's", &[])?;
            put_image(change, &namespace("moby"), "same", "one", &[])?;
            put_image(change, &namespace("a"), "same", "one", &[])?;
            put_image(change, &namespace("a"), "mine", "two", &[])?;
            put_image(change, &namespace("a"), "taken", "other", &[])
        })
        .unwrap();
    assert_eq!(kind(share("true")), ErrorKind::FailedPrecondition);
    assert_eq!(store.read(|view| images::list(view, &namespace("a"))).unwrap().len(), 3);
    store
        .write(|change| {
            let (ns, holder) = (namespace("a"), door(&namespace("a")));
            images::delete(change, images::By::new(&ns, &holder), "taken", None)
        })
        .unwrap();
    share("true").unwrap();
    let names = |ns: &'static str| -> Vec<String> {
        let images = store.read(|view| images::list(view, &namespace(ns))).unwrap();
        images.into_iter().map(|image| image.name).collect()
    };
    assert_eq!(names("a"), ["mine", "same", "taken"]);
    assert_eq!(names("k8s.io"), ["mine", "same", "taken"]);
    share("false").unwrap();
    assert_eq!(names("a"), ["mine", "same"]);
    assert_eq!(names("k8s.io"), ["same", "taken"]);
}

#[test]
fn content_is_shared_by_digest_alone() {
    let store = Store::new();
    let attach = |size: u64| {
        store.write(move |change| {
            let (digest, labels) = (digest("x"), Labels::new());
            let new = contents::Creation {
                digest: &digest,
                size,
                labels: &labels,
                media_type: "",
                ingest: None,
                lease: None,
            };
            contents::attach(change, &namespace("b"), &new)
        })
    };
    assert_eq!(kind(attach(1)), ErrorKind::NotFound);
    store.write(|change| put_content(change, &namespace("a"), "x", &[], None)).unwrap();
    assert_eq!(
        kind(store.read(|view| contents::get(view, &namespace("b"), &digest("x")))),
        ErrorKind::NotFound
    );
    assert_eq!(kind(attach(2)), ErrorKind::FailedPrecondition);
    assert_eq!(attach(1).unwrap().size, 1);
    assert_eq!(kind(attach(1)), ErrorKind::AlreadyExists);
}

#[test]
fn lease_gets_what_exists_already_although_the_request_is_refused() {
    let store = Store::new();
    store
        .write(|change| {
            let ns = namespace("a");
            leases::create(change, &ns, "l", &Labels::new())?;
            put_content(change, &ns, "x", &[], None)?;
            prepare(change, &ns, "k", None, &[], None)?;
            prepare(change, &ns, "t", None, &[], None)
        })
        .unwrap();
    let content = store.write(|change| put_content(change, &namespace("a"), "x", &[], Some("l")));
    assert_eq!(kind(content), ErrorKind::AlreadyExists);
    let ingest = store.write(|change| {
        let digest = digest("x");
        let opening = ingests::Opening { expected: Some(&digest), total: 1, lease: Some("l") };
        ingests::open(change, &namespace("a"), "ref", opening)
    });
    assert_eq!(kind(ingest), ErrorKind::AlreadyExists);
    let key = store.write(|change| prepare(change, &namespace("a"), "k", None, &[], Some("l")));
    assert_eq!(kind(key), ErrorKind::AlreadyExists);
    let target = store
        .write(|change| prepare(change, &namespace("a"), "new", None, &[(SNAPSHOT_REF, "t")], Some("l")));
    assert_eq!(kind(target), ErrorKind::AlreadyExists);
    let missing = store.write(|change| prepare(change, &namespace("a"), "k", None, &[], Some("none")));
    assert_eq!(kind(missing), ErrorKind::NotFound);
    let resources = store.read(|view| leases::resources(view, &namespace("a"), "l")).unwrap();
    let snapshot = |key: &str| Resource::Snapshot { driver: DRIVER.into(), key: key.into() };
    assert_eq!(resources, [Resource::Content(digest("x")), snapshot("k"), snapshot("t")]);
}

#[test]
fn ingest_of_content_that_exists_ends_with_its_commit() {
    let store = Store::new();
    store.write(|change| put_content(change, &namespace("a"), "x", &[], None)).unwrap();
    store.write(|change| ingests::open(change, &namespace("a"), "r", ingests::Opening::default())).unwrap();
    let result = store.write(|change| {
        let (digest, labels) = (digest("x"), Labels::new());
        let ingest = Some("r");
        let new = contents::Creation {
            digest: &digest,
            size: 1,
            labels: &labels,
            media_type: "",
            ingest,
            lease: None,
        };
        contents::create(change, &namespace("a"), &new)
    });
    assert_eq!(kind(result), ErrorKind::AlreadyExists);
    assert!(store.read(|view| ingests::list(view, &namespace("a"))).unwrap().is_empty());
}

#[test]
fn ingest_stands_for_the_blob_of_another_namespace() {
    let store = Store::new();
    store.write(|change| put_content(change, &namespace("a"), "x", &[], None)).unwrap();
    let open = |total: u64| {
        store.write(move |change| {
            let digest = digest("x");
            let opening = ingests::Opening { expected: Some(&digest), total, lease: None };
            ingests::open(change, &namespace("b"), &format!("r{total}"), opening)
        })
    };
    assert_eq!(open(5).unwrap().expected, None, "another length is another blob");
    assert_eq!(open(1).unwrap().expected, Some(digest("x")));
    store.write(|change| contents::delete(change, &namespace("a"), &digest("x"), None)).unwrap();
    assert_eq!(store.read(|view| contents::blob_size(view, &digest("x"))).unwrap(), Some(1));
    store.write(|change| ingests::abort(change, &namespace("b"), "r1", None)).unwrap();
    assert_eq!(store.read(|view| contents::blob_size(view, &digest("x"))).unwrap(), None);
}

#[test]
fn snapshots_follow_containerds_contract() {
    let store = Store::new();
    let get = |key: &'static str| store.read(|view| snapshots::get(view, &namespace("a"), DRIVER, key));
    store.write(|change| prepare(change, &namespace("a"), "k1", None, &[("l", "1")], None)).unwrap();
    assert_eq!(get("k1").unwrap().kind, SnapshotKind::Active);
    let child = store.write(|change| prepare(change, &namespace("a"), "k2", Some("k1"), &[], None));
    assert_eq!(kind(child), ErrorKind::InvalidArgument);
    let orphan = store.write(|change| prepare(change, &namespace("a"), "k2", Some("none"), &[], None));
    assert_eq!(kind(orphan), ErrorKind::NotFound);
    store.write(|change| commit(change, &namespace("a"), "k1", "c1", None)).unwrap();
    assert_eq!(kind(get("k1")), ErrorKind::NotFound);
    let committed = get("c1").unwrap();
    assert_eq!((committed.kind, committed.labels.len()), (SnapshotKind::Committed, 0));
    let again = store.write(|change| commit(change, &namespace("a"), "c1", "c2", None));
    assert_eq!(kind(again), ErrorKind::FailedPrecondition);
    store.write(|change| prepare(change, &namespace("a"), "k2", Some("c1"), &[], None)).unwrap();
    let remove = |key: &'static str| {
        store.write(move |change| snapshots::remove(change, &namespace("a"), DRIVER, key, None))
    };
    assert_eq!(kind(remove("c1")), ErrorKind::FailedPrecondition);
    let taken = store.write(|change| commit(change, &namespace("a"), "k2", "c1", None));
    assert_eq!(kind(taken), ErrorKind::AlreadyExists);
    remove("k2").unwrap();
    remove("c1").unwrap();
    assert_eq!(kind(remove("c1")), ErrorKind::NotFound);
}

#[test]
fn rebase_gives_a_parent_at_the_commit() {
    let store = Store::new();
    store
        .write(|change| {
            let ns = namespace("a");
            prepare(change, &ns, "k1", None, &[], None)?;
            prepare(change, &ns, "k2", None, &[], None)?;
            commit(change, &ns, "k1", "c1", None)?;
            commit(change, &ns, "k2", "c2", Some("c1"))
        })
        .unwrap();
    let top = store.read(|view| snapshots::get(view, &namespace("a"), DRIVER, "c2")).unwrap();
    let bottom = store.read(|view| snapshots::get(view, &namespace("a"), DRIVER, "c1")).unwrap();
    assert_eq!((top.parent.as_deref(), top.parent_number), (Some("c1"), Some(bottom.number)));
}

fn unpack(
    store: &Store,
    ns: &'static str,
    text: &'static str,
    parent: Option<&'static str>,
) -> snapshots::Committed {
    store
        .write(move |change| {
            let chain = ChainId(digest(text));
            let ns = namespace(ns);
            prepare(change, &ns, "extract", None, &[], None)?;
            let parent = parent.map(|parent| digest(parent).to_string());
            let request = snapshots::Commit {
                driver: DRIVER,
                key: "extract",
                name: chain.as_str(),
                parent: parent.as_deref(),
                labels: &Labels::new(),
                usage: snapshots::Usage { size: 5, inodes: 2 },
                chain: Some(&chain),
                lease: None,
            };
            snapshots::commit(change, &ns, &request)
        })
        .unwrap()
}

#[test]
fn chain_snapshots_are_shared_and_private_ones_are_not() {
    let store = Store::new();
    unpack(&store, "a", "base", None);
    let top = unpack(&store, "a", "top", Some("base"));
    let chain = ChainId(digest("top"));
    let other = chain.clone();
    let shared = store
        .write(move |change| snapshots::share(change, &namespace("b"), DRIVER, &other, &Labels::new(), None))
        .unwrap();
    assert_eq!((shared.number, shared.usage.size), (top.snapshot.number, 5));
    assert_eq!(shared.parent.as_deref(), Some(digest("base").as_str()));
    // A client's commit under the name of a chain is its own.
    store
        .write(|change| {
            prepare(change, &namespace("c"), "k", None, &[], None)?;
            commit(change, &namespace("c"), "k", digest("evil").as_str(), None)
        })
        .unwrap();
    assert_eq!(
        store.read(|view| snapshots::find_chain(view, DRIVER, &ChainId(digest("evil")))).unwrap(),
        None
    );
    assert_eq!(
        store.read(|view| snapshots::find_chain(view, DRIVER, &chain)).unwrap(),
        Some(top.snapshot.number)
    );
}

#[test]
fn second_unpack_of_a_chain_takes_the_first_ones_directory() {
    let store = Store::new();
    let first = unpack(&store, "a", "base", None);
    let second = unpack(&store, "b", "base", None);
    assert_eq!(second.snapshot.number, first.snapshot.number);
    assert!(second.superseded.is_some_and(|number| number != first.snapshot.number));
}

#[test]
fn chain_on_a_private_parent_is_private() {
    let store = Store::new();
    store
        .write(|change| {
            prepare(change, &namespace("a"), "k", None, &[], None)?;
            commit(change, &namespace("a"), "k", digest("base").as_str(), None)
        })
        .unwrap();
    let top = unpack(&store, "a", "top", Some("base"));
    assert_eq!(top.snapshot.chain, None);
}

#[test]
fn lease_resources_have_containerds_types() {
    let parse = |kind: &str, id: &str| Resource::parse(kind, id).map_err(|error| error.kind());
    assert_eq!(parse("content", digest("x").as_str()), Ok(Resource::Content(digest("x"))));
    assert_eq!(parse("content", "sha256:abc"), Err(ErrorKind::InvalidArgument));
    assert_eq!(parse("snapshots", "k"), Err(ErrorKind::InvalidArgument));
    assert_eq!(parse("snapshots/a/b", "k"), Err(ErrorKind::InvalidArgument));
    assert_eq!(parse("images/x", "k"), Err(ErrorKind::InvalidArgument));
    assert_eq!(parse("streams", "k"), Err(ErrorKind::Unimplemented));
    for (kind, id) in [("ingests", "r"), ("images", "i"), ("snapshots/native", "k")] {
        let resource = Resource::parse(kind, id).unwrap();
        assert_eq!((resource.kind().as_str(), resource.id()), (kind, id));
    }
}

#[test]
fn container_update_takes_field_paths() {
    let store = Store::new();
    let spec = || Opaque { type_url: "spec".into(), value: vec![1, 0, 2] };
    let mut container = Container::new("c1", "runc", spec());
    container.snapshotter = DRIVER.into();
    container.snapshot_key = "k".into();
    container.extensions.insert("x".into(), spec());
    let made = container.clone();
    let created = store.write(move |change| containers::create(change, &namespace("a"), &made)).unwrap();
    assert_eq!(store.read(|view| containers::get(view, &namespace("a"), "c1")).unwrap(), created);
    let update = |container: Container, paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        store.write(move |change| containers::update(change, &namespace("a"), &container, &paths))
    };
    let mut given = container.clone();
    given.image = "i".into();
    given.labels = labels(&[("a.b", "1")]);
    given.extensions.insert("y".into(), spec());
    let updated = update(given.clone(), &["extensions.y", "labels.a.b"]).unwrap();
    assert_eq!((updated.extensions.len(), updated.image.as_str(), updated.labels.len()), (2, "", 1));
    assert_eq!(update(given.clone(), &[]).unwrap().image, "i");
    given.runtime = "kata".into();
    assert_eq!(kind(update(given.clone(), &[])), ErrorKind::InvalidArgument);
    assert_eq!(kind(update(given, &["runtime"])), ErrorKind::InvalidArgument);
    let mut bad = container.clone();
    bad.id = "-".into();
    assert_eq!(
        kind(store.write(move |change| containers::create(change, &namespace("a"), &bad))),
        ErrorKind::InvalidArgument
    );
    store.write(|change| containers::delete(change, &namespace("a"), "c1")).unwrap();
    assert!(store.read(|view| containers::list(view, &namespace("a"))).unwrap().is_empty());
}

#[test]
fn sandboxes_mounts_and_settings_are_kept() {
    let store = Store::new();
    store
        .write(|change| {
            let mut sandbox = Sandbox::new("s1");
            sandbox.runtime = "r".into();
            sandboxes::create(change, &namespace("a"), &sandbox)?;
            sandbox.labels = labels(&[("k", "v")]);
            sandboxes::update(change, &namespace("a"), &sandbox, &["labels".to_owned()])?;
            leases::create(change, &namespace("a"), "l", &Labels::new())?;
            mounts::create(change, &namespace("a"), "m", &Labels::new(), "{}", Some("l"))?;
            settings::set(change, "uuid", Some("u"))
        })
        .unwrap();
    let sandbox = store.read(|view| sandboxes::get(view, &namespace("a"), "s1")).unwrap();
    assert_eq!(sandbox.labels, labels(&[("k", "v")]));
    assert_eq!(store.read(|view| settings::get(view, "uuid")).unwrap().as_deref(), Some("u"));
    assert_eq!(store.read(|view| mounts::list(view, &namespace("a"))).unwrap().len(), 1);
}
