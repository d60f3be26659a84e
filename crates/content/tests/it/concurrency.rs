use std::io::Read;
use std::sync::Barrier;
use std::thread;

use gantry_content::{Error, Options};
use gantry_types::{Digest, ErrorKind};

use crate::{Fixture, bytes, files, put};

#[test]
fn many_ingests_grow_at_once() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    thread::scope(|scope| {
        for writer in 0..16_u64 {
            scope.spawn(move || {
                for round in 0..8 {
                    let content = bytes(writer * 100 + round, 40_000 + usize::try_from(writer).unwrap() * 7);
                    let mut ingest = store.ingest(&format!("{writer}"), None, None).unwrap();
                    content.chunks(3_000).for_each(|part| ingest.write(part).unwrap());
                    let committed = ingest.commit(None, Some(&Digest::sha256(&content))).unwrap();
                    let mut read = Vec::new();
                    store.open_blob(&committed.digest).unwrap().read_to_end(&mut read).unwrap();
                    assert!(read == content);
                }
            });
        }
    });
    assert_eq!(store.blobs().unwrap().count(), 16 * 8);
    assert_eq!(store.statuses().unwrap(), []);
    store.sync_pending().unwrap();
}

#[test]
fn of_two_commits_of_one_digest_one_is_there_already() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    for round in 0..50 {
        let content = bytes(round, 5_000);
        let barrier = Barrier::new(4);
        let commit = |writer: usize| {
            let mut ingest = store.ingest(&format!("{round}-{writer}"), None, None).unwrap();
            ingest.write(&content).unwrap();
            barrier.wait();
            ingest.commit(None, None).map_err(Error::from)
        };
        let commit = &commit;
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|writer| scope.spawn(move || commit(writer))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        let refused = results.iter().filter_map(|result| result.as_ref().err());
        assert!(refused.map(Error::kind).all(|kind| kind == ErrorKind::AlreadyExists));
        let digest = Digest::sha256(&content);
        store.sync(std::slice::from_ref(&digest)).unwrap();
        assert!(store.verify(&digest).unwrap());
    }
    assert!(files(fixture.root()).iter().all(|file| file.starts_with("blobs/")));
}

#[test]
fn key_has_one_writer_whoever_comes_at_once() {
    let fixture = Fixture::new();
    let barrier = Barrier::new(8);
    let start = || {
        barrier.wait();
        fixture.store.ingest("key", None, None)
    };
    let start = &start;
    let writers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(writers.iter().filter(|writer| writer.is_ok()).count(), 1);
    let refused = writers.iter().filter_map(|writer| writer.as_ref().err());
    assert!(refused.map(Error::kind).all(|kind| kind == ErrorKind::Unavailable));
}

#[test]
fn abort_and_commit_have_one_winner() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    for round in 0..100 {
        let content = bytes(round, 100);
        let digest = Digest::sha256(&content);
        let mut ingest = store.ingest("key", None, None).unwrap();
        ingest.write(&content).unwrap();
        let barrier = Barrier::new(2);
        let (committed, aborted) = thread::scope(|scope| {
            let abort = scope.spawn(|| {
                barrier.wait();
                store.abort("key")
            });
            barrier.wait();
            (ingest.commit(None, None), abort.join().unwrap())
        });
        match (committed, aborted) {
            (Ok(_), Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::NotFound);
                assert!(store.verify(&digest).unwrap());
            }
            (Err(refused), Ok(())) => {
                assert_eq!(refused.error.kind(), ErrorKind::Aborted);
                assert_eq!(store.info(&digest).unwrap_err().kind(), ErrorKind::NotFound);
            }
            both => panic!("{both:?}"),
        }
        assert_eq!(store.statuses().unwrap(), []);
    }
}

#[test]
fn writer_learns_that_its_ingest_was_aborted() {
    let fixture = Fixture::new();
    let mut ingest = fixture.store.ingest("key", None, None).unwrap();
    ingest.write(b"some").unwrap();
    fixture.store.abort("key").unwrap();
    assert_eq!(ingest.write(b"more").unwrap_err().kind(), ErrorKind::Aborted);
    assert_eq!(ingest.truncate(0).unwrap_err().kind(), ErrorKind::Aborted);
    assert_eq!(fixture.store.ingest("key", None, None).unwrap_err().kind(), ErrorKind::Unavailable);
    drop(ingest);
    assert_eq!(fixture.store.ingest("key", None, None).unwrap().offset(), 0);
}

#[test]
fn reader_survives_the_removal() {
    let fixture = Fixture::new();
    let content = bytes(1, 100_000);
    let digest = put(&fixture.store, &content);
    let mut blob = fixture.store.open_blob(&digest).unwrap();
    fixture.store.remove(&digest).unwrap();
    put(&fixture.store, &content);
    fixture.store.remove(&digest).unwrap();
    let mut read = Vec::new();
    blob.read_to_end(&mut read).unwrap();
    assert!(read == content);
    assert_eq!(blob.size(), 100_000);
}

#[test]
fn limits_are_clear_errors() {
    let options = Options { max_blob_bytes: 1_000, max_ingests: 2, max_key_bytes: 10, ..Options::default() };
    let fixture = Fixture::with(options);
    let store = &fixture.store;
    let kind = |result: Result<_, Error>| result.map(drop).unwrap_err().kind();
    assert_eq!(kind(store.ingest("a", Some(1_001), None)), ErrorKind::ResourceExhausted);
    assert_eq!(kind(store.ingest("01234567890", None, None)), ErrorKind::InvalidArgument);
    let mut ingest = store.ingest("a", None, None).unwrap();
    ingest.write(&[1; 999]).unwrap();
    assert_eq!(ingest.write(&[1; 2]).unwrap_err().kind(), ErrorKind::ResourceExhausted);
    assert_eq!(ingest.offset(), 999);
    let _second = store.ingest("b", None, None).unwrap();
    assert_eq!(kind(store.ingest("c", None, None)), ErrorKind::ResourceExhausted);
    ingest.commit(Some(999), None).unwrap();
    store.ingest("c", None, None).unwrap();
}
