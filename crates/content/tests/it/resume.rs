use std::fs;
use std::io::Read;
use std::time::Duration;

use gantry_content::{Options, Store};
use gantry_types::{Digest, ErrorKind};

use crate::{Fixture, bytes, files, put};

fn boot(name: &str) -> Options {
    Options { boot: Some(name.to_owned()), ..Options::default() }
}

/// The data file of the only ingest.
fn data(fixture: &Fixture) -> std::path::PathBuf {
    let found = files(fixture.root());
    let name = found.iter().find(|name| name.ends_with("/data")).expect("an ingest");
    fixture.root().join(name)
}

#[test]
fn ingest_survives_a_restart() {
    let content = bytes(1, 300_000);
    let fixture = Fixture::with(boot("one"));
    let mut ingest = fixture.store.ingest("key", Some(300_000), None).unwrap();
    ingest.write(&content[..200_000]).unwrap();
    let before = ingest.status();
    drop(ingest);
    let fixture = fixture.reopen(boot("one"));
    assert_eq!(fixture.store.statuses().unwrap().len(), 1);
    let mut ingest = fixture.store.ingest("key", None, Some(&Digest::sha256(&content))).unwrap();
    assert_eq!(ingest.offset(), 200_000);
    let status = ingest.status();
    assert_eq!((status.total, status.started_at), (Some(300_000), before.started_at));
    // Whoever inflates while it downloads goes through the bytes again.
    let mut again = vec![0; 1_000_000];
    assert_eq!(ingest.read_at(&mut again, 100_000).unwrap(), 100_000);
    assert!(again[..100_000] == content[100_000..200_000]);
    assert_eq!(ingest.read_at(&mut again, 200_001).unwrap(), 0);
    ingest.write(&content[200_000..]).unwrap();
    ingest.commit(None, None).unwrap();
}

#[test]
fn bytes_of_another_boot_count_as_far_as_they_are_proven() {
    let content = bytes(1, 300_000);
    for (damage, offset) in [("none", 200_000), ("in it", 0), ("lost", 0), ("behind", 200_000)] {
        let fixture = Fixture::with(boot("one"));
        let mut ingest = fixture.store.ingest("key", None, None).unwrap();
        ingest.write(&content[..200_000]).unwrap();
        drop(ingest);
        let path = data(&fixture);
        let mut there = fs::read(&path).unwrap();
        match damage {
            "in it" => there[150_000] ^= 1,
            "lost" => there.truncate(100_000),
            "behind" => there.extend_from_slice(&[0; 5_000]),
            _ => {}
        }
        fs::write(&path, &there).unwrap();
        let fixture = fixture.reopen(boot("two"));
        let mut ingest = fixture.store.ingest("key", None, None).unwrap();
        assert_eq!(ingest.offset(), offset, "{damage}");
        ingest.write(&content[usize::try_from(offset).unwrap()..]).unwrap();
        ingest.commit(None, Some(&Digest::sha256(&content))).unwrap();
    }
}

#[test]
fn another_total_begins_anew() {
    let fixture = Fixture::new();
    let mut ingest = fixture.store.ingest("key", Some(10), None).unwrap();
    ingest.write(b"01234").unwrap();
    drop(ingest);
    let ingest = fixture.store.ingest("key", Some(11), None).unwrap();
    assert_eq!((ingest.offset(), ingest.status().total), (0, Some(11)));
    drop(ingest);
    assert_eq!(fixture.store.ingest("key", None, None).unwrap().status().total, Some(11));
}

#[test]
fn truncation_keeps_the_beginning() {
    let content = bytes(1, 600_000);
    let fixture = Fixture::new();
    let mut ingest = fixture.store.ingest("key", None, None).unwrap();
    ingest.write(&content).unwrap();
    assert_eq!(ingest.truncate(600_001).unwrap_err().kind(), ErrorKind::OutOfRange);
    for length in [600_000, 299_999, 100, 0] {
        ingest.truncate(length).unwrap();
        let kept = &content[..usize::try_from(length).unwrap()];
        assert_eq!((ingest.offset(), ingest.digest()), (length, Digest::sha256(kept)));
    }
}

#[test]
fn refused_ingest_comes_back() {
    let fixture = Fixture::new();
    let mut ingest = fixture.store.ingest("key", None, None).unwrap();
    ingest.write(b"right and wrong").unwrap();
    let right = Digest::sha256(b"right");
    let refused = ingest.commit(None, Some(&right)).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::FailedPrecondition);
    let mut ingest = refused.ingest.unwrap();
    assert_eq!(fixture.store.ingest("key", None, None).unwrap_err().kind(), ErrorKind::Unavailable);
    ingest.truncate(5).unwrap();
    ingest.commit(Some(5), Some(&right)).unwrap();
    let mut ingest = fixture.store.ingest("key", None, None).unwrap();
    ingest.write(b"x").unwrap();
    ingest.abort().unwrap();
    assert!(files(fixture.root()).iter().all(|file| file.starts_with("blobs/")));
}

#[test]
fn idle_ingests_go_and_written_ones_stay() {
    let options = Options { idle_ingest_age: Duration::ZERO, ..Options::default() };
    let fixture = Fixture::with(options);
    drop(fixture.store.ingest("idle", None, None).unwrap());
    drop(fixture.store.ingest("leased", None, None).unwrap());
    let writer = fixture.store.ingest("written", None, None).unwrap();
    assert_eq!(fixture.store.remove_idle(|status| status.key == "leased").unwrap(), ["idle"]);
    drop(writer);
    let mut left: Vec<_> = fixture.store.statuses().unwrap().into_iter().map(|status| status.key).collect();
    left.sort();
    assert_eq!(left, ["leased", "written"]);
    let fixture = fixture.reopen(Options::default());
    assert_eq!(fixture.store.statuses().unwrap().len(), 2, "they are young");
    let fixture = fixture.reopen(Options { idle_ingest_age: Duration::ZERO, ..Options::default() });
    assert_eq!(fixture.store.statuses().unwrap(), []);
    assert_eq!(files(fixture.root()), Vec::<String>::new());
}

#[test]
fn one_process_has_a_store() {
    let fixture = Fixture::new();
    let second = Store::open(fixture.root(), Options::default()).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Unavailable);
}

#[test]
fn damaged_blob_is_replaced_by_a_new_ingest() {
    let fixture = Fixture::new();
    let digest = put(&fixture.store, b"right");
    assert!(fixture.store.verify(&digest).unwrap());
    let path = fixture.root().join("blobs/sha256").join(digest.hex());
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"wrong").unwrap();
    assert!(!fixture.store.verify(&digest).unwrap());
    assert_eq!(fixture.store.sync(std::slice::from_ref(&digest)).unwrap_err().kind(), ErrorKind::DataLoss);
    put(&fixture.store, b"right");
    assert!(fixture.store.verify(&digest).unwrap());
    fixture.store.sync(std::slice::from_ref(&digest)).unwrap();
    let mut read = String::new();
    fixture.store.open_blob(&digest).unwrap().read_to_string(&mut read).unwrap();
    assert_eq!(read, "right");
}

/// containerd keeps no announcement either: a key is often used again for something else.
#[test]
fn announcement_counts_for_its_writer_alone() {
    let fixture = Fixture::new();
    let other = Digest::sha256(b"something else");
    let mut ingest = fixture.store.ingest("key", Some(3), Some(&other)).unwrap();
    ingest.write(b"old").unwrap();
    drop(ingest);
    let mut ingest = fixture.store.ingest("key", None, None).unwrap();
    assert_eq!(ingest.status().expected, Some(other));
    ingest.truncate(0).unwrap();
    ingest.write(b"new bytes").unwrap();
    assert_eq!(ingest.commit(None, None).unwrap().digest, Digest::sha256(b"new bytes"));
}
