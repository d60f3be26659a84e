use std::thread;

use gantry_content::Options;
use gantry_types::{Digest, ErrorKind};

use crate::{Fixture, bytes, put};

#[test]
fn sync_waits_for_whatever_is_there() {
    let fixture = Fixture::new();
    let first = put(&fixture.store, b"first");
    let second = put(&fixture.store, &bytes(1, 20 << 20));
    fixture.store.sync(&[first.clone(), second.clone()]).unwrap();
    fixture.store.sync(&[second.clone(), first.clone()]).unwrap();
    fixture.store.sync(&[]).unwrap();
    // Of a process before: nothing is known of it.
    let fixture = fixture.reopen(Options::default());
    fixture.store.sync(&[first, second]).unwrap();
}

#[test]
fn sync_promises_nothing_that_is_not_there() {
    let fixture = Fixture::new();
    let gone = put(&fixture.store, b"gone");
    let never = Digest::sha256(b"never");
    fixture.store.sync_pending().unwrap();
    fixture.store.remove(&gone).unwrap();
    for digest in [gone.clone(), never] {
        assert_eq!(fixture.store.sync(&[digest]).unwrap_err().kind(), ErrorKind::NotFound);
    }
    put(&fixture.store, b"gone");
    fixture.store.sync(&[gone]).unwrap();
}

#[test]
fn many_small_blobs_are_synced_while_others_come_and_go() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    thread::scope(|scope| {
        for writer in 0..4_u64 {
            scope.spawn(move || {
                for round in 0..300_u64 {
                    let digest = put(store, &(writer * 1_000 + round).to_le_bytes());
                    match round % 10 {
                        0 => store.sync(&[digest]).unwrap(),
                        1 => store.remove(&digest).unwrap(),
                        2 => store.sync_pending().unwrap(),
                        _ => {}
                    }
                }
            });
        }
    });
    store.sync_pending().unwrap();
    let all: Vec<_> = store.blobs().unwrap().map(|blob| blob.unwrap().digest).collect();
    assert_eq!(all.len(), 4 * 270);
    store.sync(&all).unwrap();
}
