//! A full disk: a small tmpfs in a mount namespace of its own, reached through its keeper's root.

use std::path::PathBuf;
use std::process::Command;

use gantry_content::{Options, Store};
use gantry_testkit::{Namespace, Need};
use gantry_types::{Digest, ErrorKind};

use crate::{bytes, put};

struct SmallDisk {
    _namespace: Namespace,
    _mountpoint: tempfile::TempDir,
    root: PathBuf,
}

impl SmallDisk {
    fn new(options: &str) -> Self {
        let namespace = Namespace::new("mount", &["--propagation", "private"]);
        let mountpoint = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("nsenter")
            .args([
                "--target",
                &namespace.keeper().to_string(),
                "--mount",
                "mount",
                "-t",
                "tmpfs",
                "-o",
                options,
            ])
            .args(["tmpfs"])
            .arg(mountpoint.path())
            .status();
        assert!(mounted.expect("nsenter runs").success());
        let below = mountpoint.path().strip_prefix("/").expect("an absolute path");
        let root = PathBuf::from(format!("/proc/{}/root", namespace.keeper())).join(below);
        Self { _namespace: namespace, _mountpoint: mountpoint, root }
    }
}

#[test]
fn full_disk_is_said_and_loses_nothing() {
    gantry_testkit::require!(Need::Root);
    let disk = SmallDisk::new("size=2m");
    let store = Store::open(&disk.root, Options::default()).unwrap();
    let ballast = put(&store, &bytes(1, 1_000_000));
    let content = bytes(2, 1_500_000);
    let mut ingest = store.ingest("key", Some(1_500_000), Some(&Digest::sha256(&content))).unwrap();
    let error = ingest.write(&content).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    let offset = usize::try_from(ingest.offset()).unwrap();
    assert!(offset > 500_000 && offset < 1_100_000, "{offset}");
    assert_eq!(ingest.digest(), Digest::sha256(&content[..offset]));
    // It fails again without harm, and no matter how it ends it can be resumed.
    assert_eq!(ingest.write(&content[offset..]).unwrap_err().kind(), ErrorKind::ResourceExhausted);
    assert!(usize::try_from(ingest.offset()).unwrap() >= offset);
    drop(ingest);
    assert!(store.verify(&ballast).unwrap());
    store.remove(&ballast).unwrap();
    let mut ingest = store.ingest("key", None, None).unwrap();
    let offset = usize::try_from(ingest.offset()).unwrap();
    assert!(offset > 500_000);
    ingest.write(&content[offset..]).unwrap();
    let digest = ingest.commit(None, None).unwrap().digest;
    assert!(store.verify(&digest).unwrap());
    store.sync_pending().unwrap();
}

#[test]
fn disk_without_inodes_is_said_and_leaves_nothing() {
    gantry_testkit::require!(Need::Root);
    let disk = SmallDisk::new("size=2m,nr_inodes=12");
    let store = Store::open(&disk.root, Options::default()).unwrap();
    let mut ingests = Vec::new();
    let error = loop {
        match store.ingest(&ingests.len().to_string(), None, None) {
            Ok(ingest) => ingests.push(ingest),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(store.statuses().unwrap().len(), ingests.len());
    for (index, mut ingest) in ingests.into_iter().enumerate() {
        ingest.write(index.to_string().as_bytes()).unwrap();
        ingest.commit(None, None).unwrap();
    }
    assert!(crate::files(&disk.root).iter().all(|file| file.starts_with("blobs/")));
    put(&store, b"one more");
}
