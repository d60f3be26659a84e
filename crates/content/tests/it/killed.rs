//! A process that is killed at each step, and what the next one finds.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use gantry_content::{Error, Options, Store};
use gantry_types::{Digest, ErrorKind};

use crate::{bytes, files};

const ROOT: &str = "GANTRY_CONTENT_TEST_ROOT";
const LENGTH: usize = 300_000;

/// Every place where the store can die, in the order in which [`script`] comes to them.
const STEPS: [&str; 15] = [
    "start.directory",
    "start.status",
    "start.data",
    "note",
    "status.replace",
    "commit.verified",
    "commit.sealed",
    "commit.renamed",
    "commit.queued",
    "remove.file",
    "commit.removed",
    "commit.exists",
    "flush.begin",
    "flush.files",
    "flush.end",
];

/// What a client does; it can begin at any point of it and comes to the same end.
fn script(store: &Store, mut did: impl FnMut(&str)) -> Result<(), Error> {
    let content = bytes(7, LENGTH);
    let digest = Digest::sha256(&content);
    for end in [LENGTH / 3, LENGTH / 2, LENGTH] {
        let mut ingest = match store.ingest("resumed", Some(LENGTH as u64), Some(&digest)) {
            Ok(ingest) => ingest,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => break,
            Err(error) => return Err(error),
        };
        let offset = usize::try_from(ingest.offset()).expect("a length");
        assert_eq!(ingest.digest(), Digest::sha256(&content[..offset]), "other bytes than were written");
        for part in content[offset..].chunks(10_000) {
            if ingest.offset() < end as u64 {
                ingest.write(part)?;
            }
        }
        did("written");
        if end == LENGTH {
            ingest.commit(None, None)?;
            did("committed");
        }
    }
    let mut twice = store.ingest("twice", None, None)?;
    twice.truncate(0)?;
    twice.write(&content)?;
    assert_eq!(twice.commit(None, None).expect_err("it is there").error.kind(), ErrorKind::AlreadyExists);
    drop(store.ingest("aborted", None, None)?);
    store.abort("aborted")?;
    store.sync_pending()?;
    did("synced");
    Ok(())
}

/// The process that is killed; a test of nothing when nobody asks for it.
#[test]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let store = Store::open(Path::new(&root), Options::default()).unwrap();
    script(&store, |what| println!("did {what}")).unwrap();
}

/// Runs the script in a child that dies at `step`; says what it got done.
fn run_and_kill(root: &Path, step: &str) -> Vec<String> {
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "killed::child", "--nocapture"])
        .env(ROOT, root)
        .env("GANTRY_CONTENT_KILL", step)
        .output()
        .expect("the child runs");
    assert_eq!(child.status.signal(), Some(9), "{step}: {}", String::from_utf8_lossy(&child.stderr));
    let output = String::from_utf8(child.stdout).expect("text");
    output.lines().filter_map(|line| line.strip_prefix("did ")).map(str::to_owned).collect()
}

#[test]
fn store_survives_being_killed_at_each_step() {
    if !cfg!(debug_assertions) {
        gantry_testkit::skip_test!("a release has no places to die at");
    }
    for step in STEPS {
        let directory = tempfile::tempdir().expect("a directory");
        let did = run_and_kill(directory.path(), step);
        let store = Store::open(directory.path(), Options::default()).unwrap();
        let blobs: BTreeSet<_> = store.blobs().unwrap().map(|blob| blob.unwrap().digest).collect();
        for digest in &blobs {
            assert!(store.verify(digest).unwrap(), "{step}: a blob that is not what it says");
        }
        if did.iter().any(|what| what == "committed") {
            assert_eq!(blobs.len(), 1, "{step}: a committed blob is missing");
        }
        if did.iter().any(|what| what == "written") && blobs.is_empty() {
            let status = store.status("resumed").unwrap();
            assert!(status.offset >= (LENGTH / 3) as u64, "{step}: bytes were lost");
        }
        script(&store, |_| {}).unwrap();
        drop(store);
        let left = files(directory.path());
        assert!(left.len() == 1 && left[0].starts_with("blobs/sha256/"), "{step}: {left:?}");
    }
}

#[test]
fn store_survives_being_killed_again_and_again() {
    let directory = tempfile::tempdir().expect("a directory");
    for step in STEPS {
        // Later steps may find nothing to do any more; what is there has to be whole all the same.
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "killed::child", "--nocapture"])
            .env(ROOT, directory.path())
            .env("GANTRY_CONTENT_KILL", step)
            .output()
            .expect("the child runs");
        let stderr = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success() || child.status.signal() == Some(9), "{step}: {stderr}");
    }
    let store = Store::open(directory.path(), Options::default()).unwrap();
    script(&store, |_| {}).unwrap();
    assert!(store.verify(&Digest::sha256(&bytes(7, LENGTH))).unwrap());
    drop(store);
    assert_eq!(files(directory.path()).len(), 1);
}
