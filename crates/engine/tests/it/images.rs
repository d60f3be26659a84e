//! Images without a registry: names, removal, archives, and what is built on them.

use std::io::Cursor;

use gantry_engine::image::{
    ConfigRequest, HistoryEntry, ImagePrune, ImageRemoval, ImageSave, ImageSettings, Loaded, RemovedImage,
    SnapshotImage,
};
use gantry_engine::{Error, EventKind};
use gantry_primitives::{Context, Holder, Image, SnapshotRequest};
use gantry_testkit::{Need, require};
use gantry_types::{ErrorKind, Labels};

use crate::harness::{Fixture, read_all, reference, tar_of};

const PLAIN: ImageRemoval = ImageRemoval { force: false, prune_parents: true };
const FORCE: ImageRemoval = ImageRemoval { force: true, prune_parents: true };

fn moby() -> Context {
    Context::new("moby".parse().expect("a word is a namespace"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_loses_its_name_to_another_image_is_kept_without_one() {
    require!(Need::Root);
    let fixture = Fixture::new().await;
    let first = fixture.import("bb:1", &[("a", "1")], &[]).await;
    let second = fixture.import("bb:1", &[("a", "2")], &[]).await;
    assert_eq!(fixture.names().await, ["bb:1".to_owned(), first.to_string()]);
    // It gets a name again, and is nameless no more.
    fixture.engine.image_tag(first.as_str(), &reference("bb:old")).await.unwrap();
    assert_eq!(fixture.names().await, ["bb:1", "bb:old"]);
    let by_digest = fixture.engine.image(&format!("bb@{second}"), None).await.unwrap();
    assert_eq!(by_digest.of.target, Some(second.clone()));
    let by_beginning = fixture.engine.image(&second.hex()[..8], None).await.unwrap();
    assert_eq!(by_beginning.of.target, Some(second.clone()));
    let config = by_beginning.of.config.unwrap();
    assert_eq!(fixture.engine.image(config.as_str(), None).await.unwrap().of.target, Some(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_details_say_what_an_image_is() {
    require!(Need::Root);
    let fixture = Fixture::new().await;
    let id = fixture.import("bb:1", &[("a", &"x".repeat(10_000))], &["LABEL k=v", "CMD [\"/a\"]"]).await;
    let all = fixture.engine.images().await.unwrap();
    let [image] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((image.tags.as_slice(), image.target.digest.clone()), (&["bb:1".to_owned()][..], id.clone()));
    assert_eq!(image.digests, [format!("bb@{id}")]);
    assert_eq!(image.labels["k"], "v");
    assert!(image.content_bytes > 0 && image.unpacked_bytes >= 10_000, "{image:?}");
    assert!(image.manifests[0].available && image.created.is_some());
    let details = fixture.engine.image_details("bb:1", None).await.unwrap();
    assert_eq!(details.found.document.config.cmd, ["/a"]);
    let history = fixture.engine.image_history("bb:1", None).await.unwrap();
    assert_eq!(
        (history.len(), history[0].id.as_str(), history[0].comment.as_str()),
        (1, id.as_str(), "Imported from -")
    );
    assert_eq!(history[0].tags, ["bb:1"]);
    let other = "linux/s390x".parse().unwrap();
    let error = fixture.engine.image("bb:1", Some(&other)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_with_several_names_needs_force_and_a_name_does_not() {
    require!(Need::Root);
    let fixture = Fixture::new().await;
    let engine = &fixture.engine;
    let id = fixture.import("bb:1", &[("a", "1")], &[]).await;
    engine.image_tag("bb:1", &reference("bb:2")).await.unwrap();
    let error = engine.image_remove(&id.hex()[..12], PLAIN).await.unwrap_err().to_string();
    let short = &id.hex()[..12];
    assert_eq!(
        error,
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    let removed = engine.image_remove("bb:2", PLAIN).await.unwrap();
    assert_eq!(removed, [RemovedImage::Untagged("bb:2".into())]);
    let removed = engine.image_remove("bb:1", PLAIN).await.unwrap();
    assert_eq!(removed, [RemovedImage::Untagged("bb:1".into()), RemovedImage::Deleted(id)]);
    let error = engine.image_remove("bb:1", FORCE).await.unwrap_err();
    assert!(matches!(&error, Error::NotFound { what: "image", name } if name == "bb:1"), "{error}");
    engine.store().collect().await.unwrap();
    assert!(engine.store().content_list(moby(), Vec::new()).await.unwrap().is_empty());
    assert!(engine.store().snapshot_list(moby(), "overlayfs".into(), Vec::new()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_takes_the_nameless_and_says_how_much_that_was() {
    require!(Need::Root);
    let fixture = Fixture::new().await;
    let id = fixture.import("", &[("a", &"x".repeat(100_000))], &[]).await;
    fixture.import("bb:1", &[("b", "1")], &["LABEL keep=me"]).await;
    let pruned = fixture.engine.image_prune(ImagePrune::default()).await.unwrap();
    assert_eq!(pruned.removed, [RemovedImage::Untagged(id.to_string()), RemovedImage::Deleted(id)]);
    assert!(pruned.bytes >= 100_000, "{}", pruned.bytes);
    let all = ImagePrune { all: true, ..ImagePrune::default() };
    let kept = ImagePrune { without_labels: vec![("keep".into(), None)], ..all.clone() };
    assert!(fixture.engine.image_prune(kept).await.unwrap().removed.is_empty());
    assert_eq!(fixture.engine.image_prune(all).await.unwrap().removed.len(), 2);
    assert!(fixture.names().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_is_loaded_with_its_names_and_without() {
    require!(Need::Root);
    let (from, to) = (Fixture::new().await, Fixture::new().await);
    let id = from.import("bb:1", &[("a", "1")], &[]).await;
    from.engine.image_tag("bb:1", &reference("bb:2")).await.unwrap();
    let save = |name: &str| ImageSave { names: vec![name.to_owned()], platforms: Vec::new() };
    let load = |bytes: Vec<u8>| to.engine.image_load(Box::new(Cursor::new(bytes)), Vec::new());
    let nameless = read_all(from.engine.image_save(save(id.as_str())).await.unwrap()).await;
    assert_eq!(load(nameless).await.unwrap(), [Loaded::Id(id.clone())]);
    assert_eq!(to.names().await, [id.to_string()]);
    // A repository stands for all its tags.
    let named = read_all(from.engine.image_save(save("bb")).await.unwrap()).await;
    let names = ["bb:1", "bb:2"].map(|name| Loaded::Name(name.to_owned()));
    assert_eq!(load(named).await.unwrap(), names);
    assert_eq!(to.names().await, ["bb:1", "bb:2"]);
    assert!(to.engine.images().await.unwrap()[0].unpacked_bytes > 0);
    let error = from.engine.image_save(save("nope")).await.err().unwrap();
    assert!(matches!(&error, Error::NotFound { what: "image", name } if name == "nope:latest"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_archive_leaves_nothing() {
    require!(Need::Root);
    let fixture = Fixture::new().await;
    let load = |bytes: &[u8]| fixture.engine.image_load(Box::new(Cursor::new(bytes.to_vec())), Vec::new());
    for (bytes, kind) in [
        (tar_of(&[("a", "1")]), ErrorKind::InvalidArgument),
        (b"no tar at all, but rather long: ".repeat(40), ErrorKind::InvalidArgument),
        (Vec::new(), ErrorKind::InvalidArgument),
        (b"\xfd7zXZ\x00".to_vec(), ErrorKind::InvalidArgument),
    ] {
        assert_eq!(load(&bytes).await.unwrap_err().kind(), kind);
    }
    let request = gantry_engine::image::ImageImport {
        source: Box::new(Cursor::new(b"no tar at all, but rather long: ".repeat(40))),
        reference: None,
        message: String::new(),
        changes: Vec::new(),
        platform: None,
    };
    assert!(fixture.engine.image_import(request).await.is_err());
    // A client that leaves.
    let mut cut = tar_of(&[("blobs/sha256/x", &"x".repeat(100_000))]);
    cut.truncate(50_000);
    assert!(load(&cut).await.is_err());
    let ingests = fixture.engine.store().root().join("content/ingest");
    assert_eq!(std::fs::read_dir(ingests).unwrap().count(), 0);
    assert!(fixture.names().await.is_empty());
    fixture.engine.store().collect().await.unwrap();
    assert!(fixture.engine.store().content_list(moby(), Vec::new()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_becomes_an_image_and_goes_with_the_one_above_it() {
    require!(Need::Root);
    let fixture = Fixture::new().await;
    let engine = &fixture.engine;
    fixture.import("base:1", &[("etc/a", "1"), ("etc/b", "2")], &[]).await;
    let base = engine.image("base:1", None).await.unwrap();
    let request = SnapshotRequest {
        snapshotter: "overlayfs".into(),
        key: "work".into(),
        parent: base.of.chain.clone(),
        labels: Labels::new(),
    };
    let mounts = engine.store().snapshot_prepare(moby(), request).await.unwrap();
    let upper =
        mounts[0].options.iter().find_map(|option| option.strip_prefix("upperdir=")).unwrap().to_owned();
    let step = |text: &str| HistoryEntry { created_by: text.to_owned(), ..HistoryEntry::default() };
    let image = |text: &str| SnapshotImage {
        snapshot: "work".into(),
        parent: Some(base.clone()),
        afterwards: Default::default(),
        image: ConfigRequest { history: step(text), ..ConfigRequest::default() },
    };
    // Nothing has changed: there is no layer.
    let unchanged = engine.image_from_snapshot(image("nothing")).await.unwrap();
    let unchanged = engine.image_built(&unchanged).await.unwrap();
    assert_eq!(unchanged.manifest.layers, base.manifest.layers);
    assert!(unchanged.document.history[1].empty_layer);
    std::fs::write(format!("{upper}/new"), "x".repeat(5000)).unwrap();
    let made = engine.image_from_snapshot(image("RUN")).await.unwrap();
    let built = engine.image_built(&made).await.unwrap();
    assert_eq!((built.manifest.layers.len(), built.document.rootfs.diff_ids.len()), (2, 2));
    // The same snapshot makes the same layer.
    let config = ImageSettings { cmd: vec!["/new".into()], ..ImageSettings::default() };
    let last = ConfigRequest {
        config,
        history: step("CMD"),
        reference: Some(reference("built:1")),
        ..Default::default()
    };
    let top = engine.image_with_config(Some(built), last).await.unwrap();
    let history = engine.image_history("built:1", None).await.unwrap();
    let shown: Vec<(&str, &str)> =
        history.iter().map(|step| (step.id.as_str(), step.created_by.as_str())).collect();
    let base_id = base.image.target.digest.to_string();
    assert_eq!(shown, [(top.as_str(), "CMD"), (made.as_str(), "RUN"), (base_id.as_str(), "")]);
    assert!(history[1].bytes >= 5000 && history[0].bytes == 0);
    assert_eq!(engine.image_children(&made).await.unwrap()[0].image.target.digest, top);
    let all = engine.images().await.unwrap();
    let middle = all.iter().find(|image| image.target.digest == made).unwrap();
    assert!(middle.is_dangling() && middle.has_children);
    let removed = engine.image_remove("built:1", PLAIN).await.unwrap();
    assert_eq!(
        removed,
        [RemovedImage::Untagged("built:1".into()), RemovedImage::Deleted(top), RemovedImage::Deleted(made)]
    );
    assert!(fixture.names().await.contains(&"base:1".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_door_holds_is_seen_and_stays() {
    require!(Need::Root);
    let fixture = Fixture::new().await;
    let engine = &fixture.engine;
    let id = fixture.import("bb:1", &[("a", "1")], &["LABEL k=v"]).await;
    let found = engine.image("bb:1", None).await.unwrap();
    let other = Context::new("k8s.io".parse().unwrap());
    // The other door pulls the same: its namespace has the content, and it holds a name, too.
    let mut digests = vec![found.image.target.clone(), found.manifest.config.clone()];
    digests.extend(found.manifest.layers.clone());
    for descriptor in &digests {
        let (digest, size) = (descriptor.digest.clone(), descriptor.size);
        let writer = engine
            .store()
            .content_writer(other.clone(), digest.to_string(), size, Some(digest.clone()))
            .await
            .unwrap();
        let labels = engine.store().content_info(moby(), digest.clone()).await.unwrap().labels;
        writer.commit(size, Some(digest), labels, descriptor.media_type.clone()).await.unwrap();
    }
    let named = Image::new("docker.io/library/bb:1", found.image.target.clone(), Labels::new());
    engine.store().image_put(other.clone(), Holder::Cri, named).await.unwrap();
    let removed = engine.image_remove("bb:1", PLAIN).await.unwrap();
    assert_eq!(removed, [RemovedImage::Untagged("bb:1".into())]);
    assert_eq!(fixture.names().await, ["bb:1"]);
    let error = engine.image_remove("bb:1", FORCE).await.unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
    assert!(
        engine.image_prune(ImagePrune { all: true, ..Default::default() }).await.unwrap().removed.is_empty()
    );
    // What docker's namespace has lost by hand comes back by itself.
    for descriptor in &digests {
        engine.store().content_delete(moby(), descriptor.digest.clone()).await.unwrap();
    }
    let seen = &engine.images().await.unwrap()[0];
    assert_eq!((seen.target.digest.clone(), seen.labels["k"].as_str()), (id, "v"));
    assert_eq!(engine.store().content_list(moby(), Vec::new()).await.unwrap().len(), digests.len());
    engine.store().collect().await.unwrap();
    assert_eq!(engine.store().content_list(moby(), Vec::new()).await.unwrap().len(), digests.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_images_is_told() {
    require!(Need::Root);
    let fixture = Fixture::new().await;
    let mut events = fixture.engine.events(None).await.unwrap();
    let id = fixture.import("bb:1", &[("a", "1")], &["LABEL k=v"]).await;
    fixture.engine.image_tag("bb:1", &reference("bb:2")).await.unwrap();
    fixture.engine.image_remove(id.as_str(), FORCE).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..6 {
        let (_, event) = events.next().await.unwrap();
        assert_eq!(
            (event.kind, event.id.as_str(), event.attributes["k"].as_str()),
            (EventKind::Image, id.as_str(), "v")
        );
        told.push(format!("{} {}", event.action, event.attributes["name"]));
    }
    let id = id.to_string();
    assert_eq!(
        told,
        [
            "tag bb:1".to_owned(),
            format!("import {id}"),
            "tag bb:2".to_owned(),
            "untag bb:1".to_owned(),
            "untag bb:2".to_owned(),
            format!("delete {id}"),
        ]
    );
}
