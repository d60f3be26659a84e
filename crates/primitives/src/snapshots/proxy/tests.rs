//! The proxy against the contract: before our own snapshotter behind a socket, and before containerd's.

mod containerd;
pub(in super::super) mod served;

use std::path::Path;

use gantry_snapshot::testsuite::{Features, in_private_mounts, run, run_some};
use gantry_snapshot::{Local, MemoryRecords, Options, Overlayfs, Snapshotter};
use gantry_testkit::{Need, require};
use gantry_types::Labels;

use super::*;
use containerd::Containerd;
use served::Served;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn overlayfs(root: &Path) -> Local<Overlayfs, MemoryRecords> {
    Local::new(Overlayfs::open(root, Options::default()).unwrap(), MemoryRecords::new()).unwrap()
}

#[test]
fn our_own_snapshotter_behind_a_socket_meets_the_contract() {
    require!(Need::Root);
    let runtime = runtime();
    let features =
        Features { rebase: true, inherits_root_mode: true, counts_changes_only: true, ..Features::default() };
    in_private_mounts(|| {
        run(features, &mut |root| -> Box<dyn Snapshotter> {
            let socket = root.join("socket");
            let local = overlayfs(&root.join("overlayfs"));
            Served::new(local).listen(&runtime, &socket);
            let _inside = runtime.enter();
            Box::new(Blocking::new(Proxy::new(&socket, "overlayfs"), runtime.handle().clone()))
        });
    });
}

/// Fields that containerd got after 1.6 are lost on it: the parent at the commit.
const SINCE_2_2: &str = "a_snapshot_is_rebased_at_its_commit";
/// containerd's `native` counts the files of a view, which has none of its own, before it looks at the kind.
const NATIVE_COUNTS_VIEWS: &str = "only_an_active_snapshot_is_committed";

fn containerds_meets_the_contract(snapshotter: &str, features: Features, breaks: &[&str]) {
    let runtime = runtime();
    let daemon = Containerd::start();
    let proxy = {
        let _inside = runtime.enter();
        Proxy::new(&daemon.socket(), snapshotter)
    };
    let mut count = 0;
    in_private_mounts(|| {
        run_some(
            features,
            &mut |_| -> Box<dyn Snapshotter> {
                // Names of one question are no other's.
                count += 1;
                let proxy = proxy.in_namespace(&format!("question-{count}")).unwrap();
                Box::new(Blocking::new(proxy, runtime.handle().clone()))
            },
            &|name| !breaks.contains(&name),
        );
    });
}

#[test]
fn containerds_overlayfs_meets_the_contract() {
    require!(Need::Root, Need::Program("containerd"));
    let features = Features { filters: true, counts_changes_only: true, ..Features::default() };
    containerds_meets_the_contract("overlayfs", features, &[SINCE_2_2]);
}

#[test]
fn containerds_native_meets_the_contract() {
    require!(Need::Root, Need::Program("containerd"));
    let features = Features {
        renames_lower_directories: true,
        filters: true,
        inherits_root_mode: true,
        ..Features::default()
    };
    containerds_meets_the_contract("native", features, &[SINCE_2_2, NATIVE_COUNTS_VIEWS]);
}

#[test]
fn a_remote_snapshotters_layer_needs_no_unpacking() {
    require!(Need::Root);
    let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
    let socket = dir.path().join("socket");
    Served::new(overlayfs(&dir.path().join("overlayfs")))
        .with_remote_layers(&["sha256:one", "sha256:\"two\""])
        .listen(&runtime, &socket);
    runtime.block_on(async {
        let proxy = Proxy::new(&socket, "remote");
        let mut parent: Option<String> = None;
        for reference in ["sha256:one", "sha256:\"two\""] {
            let labels = Labels::from([(labels::SNAPSHOT_REF.to_owned(), reference.to_owned())]);
            let missing = proxy.target(reference, parent.as_deref()).await.unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
            let answer = proxy.prepare("extract", parent.as_deref(), &labels).await.unwrap_err();
            assert_eq!(answer.kind(), ErrorKind::AlreadyExists);
            let found = proxy.target(reference, parent.as_deref()).await.unwrap();
            assert_eq!(found.kind, gantry_snapshot::Kind::Committed);
            parent = Some(found.name);
        }
        let unknown = Labels::from([(labels::SNAPSHOT_REF.to_owned(), "sha256:three".to_owned())]);
        proxy.prepare("extract", parent.as_deref(), &unknown).await.unwrap();
    });
}

#[test]
fn a_peer_that_is_not_there_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let error = runtime()
        .block_on(async { Proxy::new(&dir.path().join("nobody"), "overlayfs").stat("key").await })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("overlayfs"), "{error}");
}

#[test]
fn a_peer_that_was_started_again_is_found_again() {
    require!(Need::Root);
    let dir = tempfile::tempdir().unwrap();
    let (socket, root) = (dir.path().join("socket"), dir.path().join("overlayfs"));
    let runtime = runtime();
    let proxy = {
        let _inside = runtime.enter();
        Proxy::new(&socket, "overlayfs")
    };
    for _ in 0..2 {
        let server = self::runtime();
        Served::new(overlayfs(&root)).listen(&server, &socket);
        gantry_testkit::until("an answer", || {
            let answer = runtime.block_on(proxy.stat("missing")).unwrap_err();
            (answer.kind() == ErrorKind::NotFound).then_some(())
        });
        server.shutdown_background();
        std::fs::remove_file(&socket).unwrap();
    }
}

#[test]
fn a_namespace_that_no_header_carries_is_refused() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let proxy = Proxy::new(Path::new("/nowhere"), "overlayfs");
    assert_eq!(proxy.in_namespace("line\nbreak").unwrap_err().kind(), ErrorKind::InvalidArgument);
}
