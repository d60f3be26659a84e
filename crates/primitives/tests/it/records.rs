//! Content that clients write, leases, events, layers that clients apply.

use bytes::Bytes;
use gantry_primitives::{Container, Event, Holder, Image, Opaque, Resource, SnapshotRequest};
use gantry_testkit::{Need, require};
use gantry_types::{Descriptor, Digest, ErrorKind, Labels, media_type};
use serde_json::json;

use crate::harness::{Fixture, context};

#[tokio::test(flavor = "multi_thread")]
async fn content_is_written_resumed_committed_and_read() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let (store, test) = (&fixture.store, context("test"));
    let bytes = Bytes::from(vec![7u8; 300_000]);
    let digest = Digest::sha256(&bytes);
    let open =
        || store.content_writer(test.clone(), "layer-1".into(), bytes.len() as u64, Some(digest.clone()));
    let writer = open().await.unwrap();
    writer.write(bytes.slice(..1000), 0).await.unwrap();
    assert_eq!(open().await.err().unwrap().kind(), ErrorKind::Unavailable);
    drop(writer);
    let writer = open().await.unwrap();
    assert_eq!(writer.status().await.unwrap().offset, 1000);
    writer.write(bytes.slice(1000..), 1000).await.unwrap();
    let labels = Labels::from([("containerd.io/gc.root".to_owned(), "1".to_owned())]);
    let committed = writer.commit(0, Some(digest.clone()), labels, String::new()).await.unwrap();
    assert_eq!(committed, digest);
    assert_eq!(open().await.err().unwrap().kind(), ErrorKind::AlreadyExists);
    let reader = store.content_reader(test.clone(), digest.clone()).await.unwrap();
    assert_eq!(reader.read(299_990, 100).await.unwrap().len(), 10);
    // Another namespace that knows the digest need not send it.
    let other = context("other");
    let shared = store.content_writer(other.clone(), "x".into(), 0, Some(digest.clone())).await.unwrap();
    assert_eq!(shared.status().await.unwrap().offset, bytes.len() as u64);
    shared.commit(0, Some(digest.clone()), Labels::new(), String::new()).await.unwrap();
    assert_eq!(store.content_info(other, digest).await.unwrap().size, bytes.len() as u64);
    assert!(store.ingest_list(test, Vec::new()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lease_keeps_goes_with_it() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let (store, test) = (&fixture.store, context("test"));
    store.lease_create(test.namespace.clone(), "l".into(), Labels::new()).await.unwrap();
    let leased = test.with_lease("l");
    let writer = store.content_writer(leased.clone(), "r".into(), 0, None).await.unwrap();
    writer.write(Bytes::from_static(b"kept"), 0).await.unwrap();
    let digest = writer.commit(4, None, Labels::new(), String::new()).await.unwrap();
    let request = SnapshotRequest {
        snapshotter: String::new(),
        key: "k".into(),
        parent: String::new(),
        labels: Labels::new(),
    };
    store.snapshot_prepare(leased, request).await.unwrap();
    store.collect().await.unwrap();
    let resources = store.lease_resources(test.namespace.clone(), "l".into()).await.unwrap();
    assert!(resources.contains(&Resource::Content(digest.clone())) && resources.len() == 2, "{resources:?}");
    store.lease_delete(test.namespace.clone(), "l".into(), true).await.unwrap();
    assert_eq!(store.content_info(test, digest).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!((fixture.blob_files(), fixture.snapshot_directories("overlayfs")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_order_and_can_be_asked_for_again() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let (store, test) = (&fixture.store, context("test"));
    let mut events = store.events(None).await.unwrap();
    store.namespace_create(test.namespace.clone(), Labels::new()).await.unwrap();
    store.publish(test.namespace.clone(), "/a/b".into(), "t".into(), vec![1]).await.unwrap();
    let first = events.next().await.unwrap();
    let second = events.next().await.unwrap();
    assert!(matches!(first.event, Event::NamespaceCreate { .. }));
    assert_eq!(second.topic, "/a/b");
    let mut again = store.events(Some(first.cursor)).await.unwrap();
    assert_eq!(again.next().await.unwrap().cursor, second.cursor);
    let refused = store.publish(test.namespace.clone(), "no-slash".into(), "t".into(), vec![]).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_unpacks_and_makes_layers() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let (store, test) = (&fixture.store, context("test"));
    let layer = gantry_e2e::images::Layer::new().directory("d", 0o755).file("d/f", 0o644, "x").bytes();
    let descriptor = Descriptor::of(media_type::OCI_LAYER, &layer);
    let writer =
        store.content_writer(test.clone(), "l".into(), 0, Some(descriptor.digest.clone())).await.unwrap();
    writer.write(layer.clone().into(), 0).await.unwrap();
    let root = Labels::from([("containerd.io/gc.root".to_owned(), "1".to_owned())]);
    writer.commit(0, None, root.clone(), String::new()).await.unwrap();
    let prepare = |key: &str, parent: &str| SnapshotRequest {
        snapshotter: String::new(),
        key: key.into(),
        parent: parent.into(),
        labels: root.clone(),
    };
    let mounts = store.snapshot_prepare(test.clone(), prepare("k", "")).await.unwrap();
    let applied = store.diff_apply(test.clone(), descriptor.clone(), mounts, false).await.unwrap();
    assert_eq!(applied.digest, descriptor.digest);
    let chain = applied.digest.to_string();
    store
        .snapshot_commit(test.clone(), String::new(), chain.clone(), "k".into(), String::new(), root.clone())
        .await
        .unwrap();
    // A second layer over it, made by hand.
    let mounts = store.snapshot_prepare(test.clone(), prepare("k2", &chain)).await.unwrap();
    let upper = mounts[0].options.iter().find_map(|option| option.strip_prefix("upperdir=")).unwrap();
    std::fs::write(std::path::Path::new(upper).join("new"), "y").unwrap();
    let below = store.snapshot_view(test.clone(), prepare("v", &chain)).await.unwrap();
    let make = || gantry_primitives::DiffRequest {
        left: below.clone(),
        right: mounts.clone(),
        labels: root.clone(),
        source_date_epoch: Some(0),
        ..Default::default()
    };
    let made = store.diff_create(test.clone(), make()).await.unwrap();
    let again = store.diff_create(test.clone(), make()).await.unwrap();
    assert_eq!(made, again);
    let bytes = store.content_reader(test.clone(), made.digest.clone()).await.unwrap();
    let bytes = bytes.read(0, 1 << 20).await.unwrap();
    let mut archive = tar::Archive::new(inflated(&bytes));
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_53488_labels_of_an_image_do_not_restart_its_containers() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let (store, test) = (&fixture.store, context("test"));
    let root = Labels::from([("containerd.io/gc.root".to_owned(), "1".to_owned())]);
    let keep = async |media_type: &str, bytes: String| {
        let descriptor = Descriptor::of(media_type, bytes.as_bytes());
        let digest = Some(descriptor.digest.clone());
        let writer =
            store.content_writer(test.clone(), descriptor.digest.to_string(), 0, digest).await.unwrap();
        writer.write(bytes.into(), 0).await.unwrap();
        writer.commit(0, None, root.clone(), String::new()).await.unwrap();
        descriptor
    };
    let theirs = json!({ "containerd.io/restart.status": "running", "containerd.io/restart.loguri": "binary:///evil" });
    let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Labels": theirs } });
    let config = keep(media_type::OCI_CONFIG, config.to_string()).await;
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [] });
    let manifest = keep(media_type::OCI_MANIFEST, manifest.to_string()).await;
    let absent = Descriptor::of(media_type::OCI_MANIFEST, b"not pulled");
    let index = json!({ "schemaVersion": 2, "manifests": [absent, manifest] });
    let target = keep(media_type::OCI_INDEX, index.to_string()).await;
    let holder = Holder::Containerd(test.namespace.clone());
    store
        .image_create(test.clone(), holder, Image::new("evil:1", target, Labels::new()), None)
        .await
        .unwrap();

    let labels: Labels = serde_json::from_value(theirs).unwrap();
    let mut container = Container::new("c", "r", Opaque::default());
    container.image = "evil:1".into();
    container.labels = labels.clone();
    container.labels.insert("containerd.io/restart.policy".into(), "always".into());
    let made = store.container_create(test.namespace.clone(), container.clone()).await.unwrap();
    assert_eq!(made.labels.into_keys().collect::<Vec<_>>(), ["containerd.io/restart.policy"]);
    // Whoever says it himself is heard.
    container.labels = labels.clone();
    let said =
        store.container_update(test.namespace.clone(), container, vec!["labels".into()]).await.unwrap();
    assert_eq!(said.labels, labels);
}

/// The bytes of a gzip stream.
fn inflated(bytes: &Bytes) -> impl std::io::Read {
    let limits = gantry_layer::InflateLimits::default();
    gantry_layer::Inflate::new(std::io::Cursor::new(bytes.clone()), gantry_layer::Compression::Gzip, limits)
}
