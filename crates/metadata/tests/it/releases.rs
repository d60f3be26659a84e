//! Bytes that go: only after their release is durable, and never under somebody who needs them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::{io, thread};

use gantry_metadata::{Bytes, Database, Durability, Options, contents, ingests, leases, mounts, snapshots};
use gantry_types::{ErrorKind, Labels};

use crate::fixture::{DRIVER, Store, digest, kind, namespace, open, prepare, put_content};

fn taken(database: &Database) -> Vec<Bytes> {
    database.released(100).unwrap().iter().map(|release| release.bytes.clone()).collect()
}

#[test]
fn blob_is_released_with_its_last_record() {
    let store = Store::new();
    store.write(|change| put_content(change, &namespace("a"), "x", &[], None)).unwrap();
    store.write(|change| put_content(change, &namespace("b"), "x", &[], None)).unwrap();
    store.write(|change| contents::delete(change, &namespace("a"), &digest("x"), None)).unwrap();
    store.database.flush().unwrap();
    assert_eq!(taken(&store.database), []);
    store.write(|change| contents::delete(change, &namespace("b"), &digest("x"), None)).unwrap();
    store.database.flush().unwrap();
    let releases = store.database.released(10).unwrap();
    assert_eq!(releases.len(), 1);
    assert_eq!(taken(&store.database), [], "what is taken is not handed out twice");
    drop(releases);
    let releases = store.database.released(10).unwrap();
    assert_eq!(releases[0].bytes, Bytes::Blob(digest("x")));
    store.database.acknowledge(releases).unwrap();
    assert_eq!(taken(&store.database), []);
}

#[test]
fn nothing_is_handed_out_before_the_flush() {
    let store = Store::new();
    let good = Arc::new(AtomicBool::new(true));
    let hook = Arc::clone(&good);
    store.database.before_flush(move || {
        if hook.load(Ordering::Acquire) { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    });
    store.write(|change| put_content(change, &namespace("a"), "x", &[], None)).unwrap();
    store.database.flush().unwrap();
    good.store(false, Ordering::Release);
    store.write(|change| contents::delete(change, &namespace("a"), &digest("x"), None)).unwrap();
    assert_eq!(kind(store.database.flush()), ErrorKind::ResourceExhausted);
    assert_eq!(taken(&store.database), []);
    good.store(true, Ordering::Release);
    store.database.flush().unwrap();
    assert_eq!(taken(&store.database), [Bytes::Blob(digest("x"))]);
}

#[test]
fn full_durability_runs_the_hook_before_each_commit() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { durability: Durability::Full, ..Options::new("boot") };
    let database = Database::open(directory.path(), options).unwrap();
    let runs = Arc::new(AtomicU32::new(0));
    let hook = Arc::clone(&runs);
    database.before_flush(move || {
        hook.fetch_add(1, Ordering::AcqRel);
        Ok(())
    });
    database.write(|change| put_content(change, &namespace("a"), "x", &[], None)).unwrap();
    assert_eq!(runs.load(Ordering::Acquire), 1);
}

#[test]
fn pinned_blob_is_not_handed_out_and_a_new_record_takes_it_back() {
    let store = Store::new();
    store.write(|change| put_content(change, &namespace("a"), "x", &[], None)).unwrap();
    store.write(|change| contents::delete(change, &namespace("a"), &digest("x"), None)).unwrap();
    store.database.flush().unwrap();
    let pin = store.database.pin(&digest("x"));
    assert_eq!(taken(&store.database), []);
    store.write(|change| put_content(change, &namespace("a"), "x", &[], None)).unwrap();
    drop(pin);
    store.database.flush().unwrap();
    assert_eq!(taken(&store.database), []);
}

#[test]
fn pin_waits_for_an_unlinking_that_runs() {
    let store = Store::new();
    store.write(|change| put_content(change, &namespace("a"), "x", &[], None)).unwrap();
    store.write(|change| contents::delete(change, &namespace("a"), &digest("x"), None)).unwrap();
    store.database.flush().unwrap();
    let releases = store.database.released(1).unwrap();
    let (send, receive) = mpsc::channel();
    let database = store.database.clone();
    let pinning = thread::spawn(move || {
        let pin = database.pin(&digest("x"));
        send.send(()).unwrap();
        drop(pin);
    });
    assert_eq!(receive.try_recv(), Err(mpsc::TryRecvError::Empty));
    store.database.acknowledge(releases).unwrap();
    receive.recv().unwrap();
    pinning.join().unwrap();
}

#[test]
fn releases_survive_the_process() {
    let store = Store::new();
    store
        .write(|change| {
            let ns = namespace("a");
            put_content(change, &ns, "x", &[], None)?;
            contents::delete(change, &ns, &digest("x"), None)?;
            let number = prepare(change, &ns, "k", None, &[], None)?;
            assert_eq!(number, 1);
            snapshots::remove(change, &ns, DRIVER, "k", None)?;
            ingests::open(change, &ns, "r e f", ingests::Opening::default())?;
            ingests::abort(change, &ns, "r e f", None)
        })
        .unwrap();
    let Store { database, directory } = store;
    drop(database);
    let database = open(directory.path());
    database.flush().unwrap();
    let expected = [
        Bytes::Blob(digest("x")),
        Bytes::Snapshot { driver: DRIVER.into(), number: 1 },
        Bytes::Ingest { namespace: namespace("a"), id: 1, reference: "r e f".into() },
    ];
    assert_eq!(taken(&database), expected);
    let number = database.write(|change| prepare(change, &namespace("a"), "k", None, &[], None)).unwrap();
    assert_eq!(number, 2, "numbers are never used twice");
}

#[test]
fn activation_goes_with_its_lease() {
    let store = Store::new();
    store
        .write(|change| {
            let ns = namespace("a");
            leases::create(change, &ns, "l", &Labels::new())?;
            mounts::create(change, &ns, "with", &Labels::new(), "state", Some("l"))?;
            mounts::create(change, &ns, "without", &Labels::new(), "other", None)?;
            leases::delete(change, &ns, "l")
        })
        .unwrap();
    let collected = gantry_metadata::collect(&store.database, gantry_metadata::Collection::now()).unwrap();
    assert_eq!(collected.mounts, 1);
    store.database.flush().unwrap();
    assert_eq!(taken(&store.database), [Bytes::Mount { namespace: namespace("a"), state: "state".into() }]);
}
