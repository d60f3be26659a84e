use gantry_door_containerd::Code;
use gantry_proto_containerd::snapshots::snapshots_client::SnapshotsClient;
use gantry_proto_containerd::snapshots::{
    CleanupRequest, CommitSnapshotRequest, Kind, ListSnapshotsRequest, MountsRequest, PrepareSnapshotRequest,
    RemoveSnapshotRequest, StatSnapshotRequest, UsageRequest, ViewSnapshotRequest,
};
use gantry_testkit::{Need, require};

use crate::harness::{Served, refused};

const OVERLAYFS: &str = "overlayfs";

fn prepare(snapshotter: &str, key: &str, parent: &str) -> PrepareSnapshotRequest {
    let (snapshotter, key, parent) = (snapshotter.into(), key.into(), parent.into());
    PrepareSnapshotRequest { snapshotter, key, parent, ..Default::default() }
}

fn commit(name: &str, key: &str) -> CommitSnapshotRequest {
    let (snapshotter, name, key) = (OVERLAYFS.into(), name.into(), key.into());
    CommitSnapshotRequest { snapshotter, name, key, ..Default::default() }
}

#[tokio::test]
async fn a_snapshotter_has_to_be_named_and_there() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = SnapshotsClient::new(served.within("n"));
    for name in ["", "zfs"] {
        assert_eq!(refused(client.prepare(prepare(name, "k", "")).await), Code::InvalidArgument, "{name}");
    }
}

#[tokio::test]
async fn a_snapshot_is_prepared_committed_viewed_and_removed() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = SnapshotsClient::new(served.within("n"));
    let mounts = client.prepare(prepare(OVERLAYFS, "k", "")).await.unwrap().into_inner().mounts;
    assert_eq!(mounts.iter().map(|mount| mount.r#type.as_str()).collect::<Vec<_>>(), ["bind"]);
    assert_eq!(refused(client.prepare(prepare(OVERLAYFS, "k", "")).await), Code::AlreadyExists);
    assert_eq!(refused(client.prepare(prepare(OVERLAYFS, "l", "none")).await), Code::NotFound);
    let again = MountsRequest { snapshotter: OVERLAYFS.into(), key: "k".into() };
    assert_eq!(client.mounts(again).await.unwrap().into_inner().mounts, mounts);
    client.commit(commit("c", "k")).await.unwrap();
    let committed = StatSnapshotRequest { snapshotter: OVERLAYFS.into(), key: "c".into() };
    let info = client.stat(committed.clone()).await.unwrap().into_inner().info.unwrap();
    assert_eq!((info.kind(), info.parent.as_str()), (Kind::Committed, ""));
    let view = ViewSnapshotRequest {
        snapshotter: OVERLAYFS.into(),
        key: "v".into(),
        parent: "c".into(),
        ..Default::default()
    };
    client.view(view).await.unwrap();

    let filters = vec!["kind==view".to_owned()];
    let list = ListSnapshotsRequest { snapshotter: OVERLAYFS.into(), filters };
    let listed = client.list(list).await.unwrap().into_inner().message().await.unwrap().unwrap().info;
    assert_eq!(
        listed.iter().map(|info| (info.name.as_str(), info.parent.as_str())).collect::<Vec<_>>(),
        [("v", "c")]
    );
    let usage = UsageRequest { snapshotter: OVERLAYFS.into(), key: "c".into() };
    assert!(client.usage(usage).await.unwrap().into_inner().inodes >= 1);

    let remove = |key: &str| RemoveSnapshotRequest { snapshotter: OVERLAYFS.into(), key: key.into() };
    assert_eq!(refused(client.remove(remove("c")).await), Code::FailedPrecondition);
    client.remove(remove("v")).await.unwrap();
    client.remove(remove("c")).await.unwrap();
    assert_eq!(refused(client.stat(committed).await), Code::NotFound);
    client.cleanup(CleanupRequest { snapshotter: OVERLAYFS.into() }).await.unwrap();
}
