//! Pulls, and what stays of those that end early.

use gantry_primitives::{Breadth, Event, SnapshotKind, SnapshotRequest};
use gantry_testkit::{Need, require};
use gantry_types::{ErrorKind, Labels};

use crate::harness::{Fixture, context, listener, request};
use gantry_primitives::progress::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_becomes_a_name_content_and_snapshots() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let fixture = Fixture::new();
    let (store, test) = (&fixture.store, context("test"));
    for (sample, layers) in [("busybox", 2), ("zstd", 2), ("plain", 2), ("everything", 5), ("links", 2)] {
        let (reporter, heard) = listener();
        let mut wanted = request(sample, "overlayfs");
        wanted.reporter = reporter;
        let pulled = store.pull(test.clone(), wanted).await.unwrap();
        assert_eq!(pulled.images.len(), 1);
        let found = store.image_get(test.clone(), pulled.images[0].name.clone()).await.unwrap();
        assert_eq!(found.target.digest, pulled.target.digest);
        let extracted = heard.lock().unwrap().iter().filter(|step| step.stage == Stage::Extracted).count();
        assert_eq!(extracted, layers, "{sample}");
    }
    let all = store.snapshot_list(test.clone(), String::new(), Vec::new()).await.unwrap();
    assert!(all.iter().all(|snapshot| snapshot.kind == SnapshotKind::Committed && snapshot.chain.is_some()));
    assert_eq!(store.lease_list(test.namespace.clone(), Vec::new()).await.unwrap(), []);
    // Nothing of it goes while the names are there.
    let collected = store.collect().await.unwrap();
    assert_eq!(collected.removed(), 0, "{collected:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshotter_that_cannot_rebase_is_unpacked_in_turn() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let fixture = Fixture::new();
    let test = context("test");
    fixture.store.pull(test.clone(), request("busybox", "native")).await.unwrap();
    let all = fixture.store.snapshot_list(test, "native".into(), Vec::new()).await.unwrap();
    assert_eq!(all.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_fetched_again() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let fixture = Fixture::new();
    let test = context("test");
    fixture.store.pull(test.clone(), request("busybox", "overlayfs")).await.unwrap();
    let (reporter, heard) = listener();
    let mut again = request("busybox", "overlayfs");
    again.reporter = reporter;
    fixture.store.pull(test, again).await.unwrap();
    let stages: Vec<Stage> = heard.lock().unwrap().iter().map(|step| step.stage).collect();
    assert!(!stages.contains(&Stage::Downloading) && stages.contains(&Stage::Exists), "{stages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_share_bytes_and_not_names() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let fixture = Fixture::new();
    let (one, other) = (context("one"), context("other"));
    let pulled = fixture.store.pull(one.clone(), request("busybox", "overlayfs")).await.unwrap();
    let name = pulled.images[0].name.clone();
    let (blobs, directories) = (fixture.blob_files(), fixture.snapshot_directories("overlayfs"));
    let missing = fixture.store.image_get(other.clone(), name.clone()).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    fixture.store.pull(other.clone(), request("busybox", "overlayfs")).await.unwrap();
    assert_eq!((fixture.blob_files(), fixture.snapshot_directories("overlayfs")), (blobs, directories));
    // The bytes stay until the last one lets go.
    let holder = gantry_primitives::Holder::Containerd(one.namespace.clone());
    fixture.store.image_delete(one, holder.clone(), name.clone(), None, true).await.unwrap();
    assert_eq!((fixture.blob_files(), fixture.snapshot_directories("overlayfs")), (blobs, directories));
    fixture.store.image_delete(other, holder, name, None, true).await.unwrap();
    assert_eq!((fixture.blob_files(), fixture.snapshot_directories("overlayfs")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_at_once_share_the_work() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let fixture = Fixture::new();
    let pulls = (0..4).map(|number| {
        let (store, context) = (fixture.store.clone(), context(&format!("n{}", number % 2)));
        tokio::spawn(async move { store.pull(context, request("large", "overlayfs")).await })
    });
    for pull in pulls.collect::<Vec<_>>() {
        pull.await.unwrap().unwrap();
    }
    assert_eq!(fixture.snapshot_directories("overlayfs"), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_dropped_ends_and_the_next_one_finishes_it() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let mut fixture = Fixture::new();
    let test = context("test");
    for step in [1u32, 3, 8, 20] {
        let (reporter, heard) = listener();
        let mut wanted = request("large", "overlayfs");
        wanted.reporter = reporter;
        let pull = tokio::spawn({
            let (store, test) = (fixture.store.clone(), test.clone());
            async move { store.pull(test, wanted).await }
        });
        while heard.lock().unwrap().len() < step as usize && !pull.is_finished() {
            tokio::task::yield_now().await;
        }
        pull.abort();
        drop(pull.await);
        fixture = fixture.reopened();
        let images = fixture.store.image_list(test.clone(), Vec::new()).await.unwrap();
        assert!(images.len() <= 1);
    }
    fixture.store.pull(test.clone(), request("large", "overlayfs")).await.unwrap();
    fixture.store.collect().await.unwrap();
    assert_eq!(fixture.snapshot_directories("overlayfs"), 8);
    let leases = fixture.store.lease_list(test.namespace.clone(), Vec::new()).await.unwrap();
    for lease in leases {
        fixture.store.lease_delete(test.namespace.clone(), lease.id, true).await.unwrap();
    }
    fixture.store.collect().await.unwrap();
    assert_eq!(fixture.store.image_list(test, Vec::new()).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_an_index_lacks_is_an_error_that_says_what_it_has() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let fixture = Fixture::new();
    let mut wanted = request("multi", "");
    wanted.platforms = gantry_types::platform::Matcher(vec!["linux/s390x".parse().unwrap()]);
    let error = fixture.store.pull(context("test"), wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("linux/arm64"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unpacked_image_can_be_prepared_on() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let fixture = Fixture::new();
    let test = context("test");
    fixture.store.pull(test.clone(), request("everything", "overlayfs")).await.unwrap();
    let all = fixture.store.snapshot_list(test.clone(), String::new(), Vec::new()).await.unwrap();
    let parents: Vec<_> = all.iter().filter_map(|snapshot| snapshot.parent.clone()).collect();
    let top = all.iter().find(|snapshot| !parents.contains(&snapshot.name)).unwrap();
    let prepare = |key: &str| SnapshotRequest {
        snapshotter: String::new(),
        key: key.into(),
        parent: top.name.clone(),
        // A collection after the pull would take it otherwise.
        labels: Labels::from([("containerd.io/gc.root".to_owned(), "1".to_owned())]),
    };
    let mounts = fixture.store.snapshot_prepare(test.clone(), prepare("container")).await.unwrap();
    assert_eq!((mounts.len(), mounts[0].kind.as_str()), (1, "overlay"));
    let taken = fixture.store.snapshot_prepare(test.clone(), prepare("container")).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    let kept =
        fixture.store.snapshot_remove(test.clone(), String::new(), top.name.clone()).await.unwrap_err();
    assert_eq!(kept.kind(), ErrorKind::FailedPrecondition);
    fixture.store.snapshot_remove(test, String::new(), "container".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_other_platforms_come_without_their_layers() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let pulled = async |breadth: Breadth, all: bool| {
        let fixture = Fixture::new();
        let mut wanted = request("multi", "");
        wanted.breadth = breadth;
        if all {
            wanted.platforms = gantry_types::platform::Matcher::default();
        }
        fixture.store.pull(context("test"), wanted).await.unwrap();
        fixture.store.collect().await.unwrap();
        fixture.store.content_list(context("test"), Vec::new()).await.unwrap().len()
    };
    let breadth = |all_metadata, manifest_limit| Breadth { all_metadata, manifest_limit };
    // An index of three images, each with a configuration and two layers of its own.
    let one = pulled(breadth(false, 0), false).await;
    assert_eq!(pulled(breadth(true, 0), false).await, one + 4);
    assert_eq!(pulled(breadth(true, 2), false).await, one + 2);
    assert_eq!(pulled(breadth(true, 1), false).await, one);
    let all = pulled(breadth(false, 0), true).await;
    assert!(all > one + 4);
    assert_eq!(pulled(breadth(true, 0), true).await, all);
    assert!(pulled(breadth(false, 1), true).await < all);
    let fixture = Fixture::new();
    let mut wanted = request("multi", "overlayfs");
    wanted.breadth = breadth(true, 0);
    wanted.platforms = gantry_types::platform::Matcher(vec!["linux/s390x".parse().unwrap()]);
    wanted.unpack[0].platform = wanted.platforms.clone();
    let error = fixture.store.pull(context("test"), wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_joins_a_chain_tells_of_each_snapshot() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let fixture = Fixture::new();
    fixture.store.pull(context("test"), request("busybox", "overlayfs")).await.unwrap();
    let mut events = fixture.store.events(None).await.unwrap();
    fixture.store.pull(context("second"), request("busybox", "overlayfs")).await.unwrap();
    let (mut prepared, mut committed) = (Vec::new(), Vec::new());
    loop {
        let event = events.next().await.unwrap();
        assert_eq!(event.namespace.as_str(), "second");
        match &event.event {
            Event::SnapshotPrepare { key, parent, .. } => prepared.push((key.clone(), parent.clone())),
            Event::SnapshotCommit { key, name, .. } => {
                assert_eq!(prepared.last().map(|(key, _)| key), Some(key));
                committed.push(name.clone());
            }
            Event::ImageCreate { .. } => break,
            _ => {}
        }
    }
    let all = fixture.store.snapshot_list(context("second"), String::new(), Vec::new()).await.unwrap();
    assert_eq!((prepared.len(), committed.len()), (2, 2));
    assert!(all.iter().all(|snapshot| committed.contains(&snapshot.name)));
    let parents: Vec<&str> = prepared.iter().map(|(_, parent)| parent.as_str()).collect();
    assert_eq!(parents, ["", committed[0].as_str()]);
}
