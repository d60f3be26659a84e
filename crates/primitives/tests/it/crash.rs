//! The process is killed at every step of a pull, and the power is cut at any moment of it.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use gantry_primitives::failpoint::PLACES;
use gantry_primitives::{Options, Store};
use gantry_testkit::powercut::{Disk, Image, Keep, Names, isolated};
use gantry_testkit::{Need, require};
use gantry_types::image::{Index, Manifest};
use gantry_types::media_type::Kind;
use gantry_types::{Descriptor, Digest, ErrorKind};

use crate::harness::{Fixture, context, request};

/// Says where the store of a child process is.
const CHILD: &str = "GANTRY_PULL_CHILD";
/// What is pulled there.
const SAMPLE: &str = "GANTRY_PULL_SAMPLE";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// Not a test of its own: what the child process of the next one does.
#[test]
fn child() {
    let (Some(root), Ok(sample)) = (std::env::var_os(CHILD), std::env::var(SAMPLE)) else { return };
    runtime().block_on(async {
        let store = Store::open(Options::new(root)).expect("the store opens");
        store.pull(context("test"), crate::harness::request_of(&sample, "overlayfs")).await.expect("a pull");
        store.close().expect("it closes");
    });
}

/// Every image of the namespace has all its content, and that is what its digests say.
async fn check(store: &Store) -> usize {
    let test = context("test");
    let images = store.image_list(test.clone(), Vec::new()).await.expect("a list");
    let mut pending: Vec<Descriptor> = images.iter().map(|image| image.target.clone()).collect();
    while let Some(descriptor) = pending.pop() {
        let reader = store.content_reader(test.clone(), descriptor.digest.clone()).await;
        let reader = reader.unwrap_or_else(|error| panic!("a dangling image: {descriptor:?}: {error}"));
        let bytes = reader.read(0, usize::MAX / 2).await.expect("its bytes");
        assert!(Digest::sha256(&bytes) == descriptor.digest, "damaged: {descriptor:?}");
        match descriptor.kind() {
            Kind::Index => {
                let index = Index::read(&bytes, &descriptor.media_type).expect("a document");
                let host = gantry_types::platform::Matcher::host();
                pending.extend(
                    index.manifests.into_iter().filter(|child| host.rank(child.platform.as_ref()).is_some()),
                );
            }
            Kind::Manifest => {
                let manifest = Manifest::read(&bytes, &descriptor.media_type).expect("a document");
                pending.extend(manifest.layers);
                pending.push(manifest.config);
            }
            _ => {}
        }
    }
    images.len()
}

#[test]
fn a_pull_that_is_killed_at_any_step_is_resumed_and_loses_nothing() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let name = request("everything", "").reference.to_string();
    for place in PLACES {
        let mut fixture = Fixture::new();
        let root = fixture.directory.path().join("killed");
        for time in [1, 3] {
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "crash::child", "--nocapture"])
                .env(CHILD, &root)
                .env(SAMPLE, &name)
                .env("GANTRY_FAILPOINT", format!("{place}:{time}"))
                .output()
                .unwrap();
            use std::os::unix::process::ExitStatusExt;
            let killed = status.status.signal() == Some(9);
            assert!(killed || time > 1, "{place} was never come to: {status:?}");
            if !killed {
                break;
            }
        }
        runtime().block_on(async {
            let store = Store::open(Options::new(&root)).unwrap();
            check(&store).await;
            let test = context("test");
            store.pull(test.clone(), request("everything", "overlayfs")).await.unwrap();
            assert_eq!(check(&store).await, 1);
            let leases = store.lease_list(test.namespace.clone(), Vec::new()).await.unwrap();
            assert_eq!(leases, [], "{place}");
            store.collect().await.unwrap();
            let layers = store.snapshot_list(test.clone(), String::new(), Vec::new()).await.unwrap().len();
            let entries = || -> Vec<_> {
                let entries = std::fs::read_dir(root.join("snapshots/overlayfs")).unwrap();
                entries.map(|entry| entry.unwrap().file_name()).collect()
            };
            // What was taken out of sight goes in the background.
            gantry_testkit::until_true("removed directories to go", || entries().len() <= layers);
            assert_eq!((layers, entries().len()), (5, 5), "{place}: {:?}", entries());
            let holder = gantry_primitives::Holder::Containerd(test.namespace.clone());
            store.image_delete(test.clone(), holder, name.clone(), None, true).await.unwrap();
            assert_eq!(std::fs::read_dir(root.join("content/blobs/sha256")).unwrap().count(), 0, "{place}");
            assert_eq!(std::fs::read_dir(root.join("snapshots/overlayfs")).unwrap().count(), 0, "{place}");
            store.close().unwrap();
        });
        fixture = fixture.reopened();
        drop(fixture);
    }
}

fn options(disk: &Path, boot: &str) -> Options {
    Options { boot: Some(boot.to_owned()), ..Options::new(disk.join("store")) }
}

/// Pulls several images, and takes a picture of the disk before every sync.
fn pictures() -> Vec<Image> {
    /// As many as there is time to look at.
    const PICTURES: usize = 7;
    let disk = Disk::new(Names::Journal);
    disk.record(PICTURES);
    runtime().block_on(async {
        let store = Store::open(options(disk.path(), "before")).expect("a store");
        for sample in ["busybox", "everything", "plain"] {
            store.pull(context("test"), request(sample, "overlayfs")).await.expect("a pull");
        }
        store.close().expect("it closes");
    });
    disk.recorded()
}

#[test]
fn no_image_dangles_after_a_power_cut() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"), Need::File("/dev/fuse"));
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    // The registry is started outside of the test's mount namespace.
    drop(request("busybox", ""));
    isolated(|| {
        let most = Mutex::new(0);
        for (number, picture) in pictures().iter().enumerate() {
            let some = Keep::Some { seed: number as u64 };
            for keep in [Keep::Synced, some, Keep::Names].into_iter().take(2 + number % 2) {
                let disk = Disk::of(picture.after_cut(keep));
                let found = runtime().block_on(async {
                    let store = match Store::open(options(disk.path(), "after")) {
                        Ok(store) => store,
                        // Before the database itself was there.
                        Err(error) if number == 0 && error.kind() == ErrorKind::DataLoss => return 0,
                        Err(error) => panic!("picture {number}, {keep:?}: {error:?}"),
                    };
                    let found = check(&store).await;
                    // What was lost is fetched and unpacked again.
                    if keep == some {
                        store.pull(context("test"), request("everything", "overlayfs")).await.unwrap();
                        check(&store).await;
                    }
                    store.close().unwrap();
                    found
                });
                let mut most = most.lock().unwrap();
                *most = found.max(*most);
            }
        }
        assert_eq!(*most.lock().unwrap(), 3, "the last picture has all images");
    });
}
