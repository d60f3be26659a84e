//! The store against a model of it, by random operations.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gantry_content::{Error, Ingest, Store};
use gantry_types::{Digest, ErrorKind};
use proptest::prelude::*;

use crate::{Fixture, files};

/// Keys and contents are few, so that they meet.
const KEYS: usize = 3;
const PARTS: [&[u8]; 3] = [b"", b"a", b"bc"];

#[derive(Debug, Clone)]
enum Operation {
    Start { key: usize, expected: Option<usize> },
    Write { key: usize, part: usize },
    Truncate { key: usize, size: u64 },
    Commit { key: usize, expected: Option<usize>, size: Option<u64> },
    Close { key: usize },
    Abort { key: usize },
    Remove { content: usize },
    Sync,
}

/// Contents that operations announce and remove.
fn content(index: usize) -> Digest {
    Digest::sha256([&b""[..], b"a", b"aa", b"bc", b"abc"][index])
}

fn operation() -> impl Strategy<Value = Operation> {
    let expected = || proptest::option::weighted(0.3, 0..5_usize);
    prop_oneof![
        3 => (0..KEYS, expected()).prop_map(|(key, expected)| Operation::Start { key, expected }),
        4 => (0..KEYS, 0..PARTS.len()).prop_map(|(key, part)| Operation::Write { key, part }),
        1 => (0..KEYS, 0..3_u64).prop_map(|(key, size)| Operation::Truncate { key, size }),
        3 => (0..KEYS, expected(), proptest::option::weighted(0.2, 0..3_u64))
            .prop_map(|(key, expected, size)| Operation::Commit { key, expected, size }),
        1 => (0..KEYS).prop_map(|key| Operation::Close { key }),
        1 => (0..KEYS).prop_map(|key| Operation::Abort { key }),
        1 => (0..5_usize).prop_map(|content| Operation::Remove { content }),
        1 => Just(Operation::Sync),
    ]
}

#[derive(Debug, Default)]
struct Model {
    blobs: BTreeSet<Digest>,
    ingests: BTreeMap<String, (Vec<u8>, Option<Digest>)>,
    aborted: BTreeSet<String>,
}

struct Run {
    store: Store,
    model: Model,
    writers: HashMap<String, Ingest>,
}

fn outcome<T>(result: Result<T, impl Into<Error>>) -> Result<T, ErrorKind> {
    result.map_err(|error| error.into().kind())
}

impl Run {
    fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::Start { key, expected } => self.start(&key.to_string(), *expected),
            Operation::Write { key, part } => self.write(&key.to_string(), PARTS[*part]),
            Operation::Truncate { key, size } => self.truncate(&key.to_string(), *size),
            Operation::Commit { key, expected, size } => self.commit(&key.to_string(), *expected, *size),
            Operation::Close { key } => {
                self.writers.remove(&key.to_string());
                self.model.aborted.remove(&key.to_string());
            }
            Operation::Abort { key } => {
                let key = key.to_string();
                let there = self.model.ingests.remove(&key).is_some();
                if there && self.writers.contains_key(&key) {
                    self.model.aborted.insert(key.clone());
                }
                let wanted = if there { Ok(()) } else { Err(ErrorKind::NotFound) };
                assert_eq!(outcome(self.store.abort(&key)), wanted);
            }
            Operation::Remove { content: index } => {
                let there = self.model.blobs.remove(&content(*index));
                let wanted = if there { Ok(()) } else { Err(ErrorKind::NotFound) };
                assert_eq!(outcome(self.store.remove(&content(*index))), wanted);
            }
            Operation::Sync => {
                self.store.sync_pending().expect("what the model says");
                let all: Vec<_> = self.model.blobs.iter().cloned().collect();
                self.store.sync(&all).expect("what the model says");
            }
        }
        self.check();
    }

    fn start(&mut self, key: &str, expected: Option<usize>) {
        let expected = expected.map(content);
        let result = outcome(self.store.ingest(key, None, expected.as_ref()));
        if expected.as_ref().is_some_and(|digest| self.model.blobs.contains(digest)) {
            assert_eq!(result.err(), Some(ErrorKind::AlreadyExists));
        } else if self.writers.contains_key(key) {
            assert_eq!(result.err(), Some(ErrorKind::Unavailable));
        } else {
            let ingest = result.expect("what the model says");
            let (bytes, announced) = self.model.ingests.entry(key.to_owned()).or_default();
            *announced = expected;
            assert_eq!((ingest.offset(), ingest.digest()), (bytes.len() as u64, Digest::sha256(bytes)));
            self.writers.insert(key.to_owned(), ingest);
        }
    }

    fn write(&mut self, key: &str, part: &[u8]) {
        let Some(writer) = self.writers.get_mut(key) else { return };
        let result = outcome(writer.write(part));
        if self.model.aborted.contains(key) {
            assert_eq!(result, Err(ErrorKind::Aborted));
        } else {
            assert_eq!(result, Ok(()));
            self.model.ingests.get_mut(key).expect("what the model says").0.extend_from_slice(part);
        }
    }

    fn truncate(&mut self, key: &str, size: u64) {
        let Some(writer) = self.writers.get_mut(key) else { return };
        let result = outcome(writer.truncate(size));
        let Some((bytes, _)) = self.model.ingests.get_mut(key) else {
            assert_eq!(result, Err(ErrorKind::Aborted));
            return;
        };
        if size > bytes.len() as u64 {
            assert_eq!(result, Err(ErrorKind::OutOfRange));
        } else {
            assert_eq!(result, Ok(()));
            bytes.truncate(usize::try_from(size).expect("what the model says"));
        }
    }

    fn commit(&mut self, key: &str, expected: Option<usize>, size: Option<u64>) {
        let Some(writer) = self.writers.remove(key) else { return };
        let expected = expected.map(content);
        let result = outcome(writer.commit(size, expected.as_ref())).map(|committed| committed.digest);
        if self.model.aborted.remove(key) {
            assert_eq!(result, Err(ErrorKind::Aborted));
            return;
        }
        let (bytes, announced) = &self.model.ingests[key];
        let digest = Digest::sha256(bytes);
        let other = expected.as_ref().or(announced.as_ref()).is_some_and(|expected| *expected != digest);
        if other || size.is_some_and(|size| size != bytes.len() as u64) {
            assert_eq!(result, Err(ErrorKind::FailedPrecondition));
            return;
        }
        self.model.ingests.remove(key);
        let is_new = self.model.blobs.insert(digest.clone());
        assert_eq!(result, if is_new { Ok(digest) } else { Err(ErrorKind::AlreadyExists) });
    }

    fn check(&self) {
        let blobs: BTreeSet<_> = self
            .store
            .blobs()
            .expect("what the model says")
            .map(|blob| blob.expect("what the model says").digest)
            .collect();
        assert_eq!(blobs, self.model.blobs);
        let ingests = self.store.statuses().expect("what the model says").into_iter();
        let ingests: BTreeMap<_, _> = ingests.map(|status| (status.key, status.offset)).collect();
        let wanted = self.model.ingests.iter().map(|(key, (bytes, _))| (key.clone(), bytes.len() as u64));
        assert_eq!(ingests, wanted.collect());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn store_does_what_its_model_does(operations in proptest::collection::vec(operation(), 1..60)) {
        let fixture = Fixture::new();
        let (store, model) = (fixture.store.clone(), Model::default());
        let mut run = Run { store, model, writers: HashMap::new() };
        for operation in &operations {
            run.step(operation);
        }
        run.writers.clear();
        run.model.aborted.clear();
        let Run { store, model, .. } = run;
        drop(store);
        // The same after a restart, and nothing else is on the disk.
        let fixture = fixture.reopen(gantry_content::Options::default());
        let run = Run { store: fixture.store.clone(), model, writers: HashMap::new() };
        run.check();
        for digest in &run.model.blobs {
            prop_assert!(run.store.verify(digest).unwrap());
        }
        let count = files(fixture.root()).len();
        prop_assert_eq!(count, run.model.blobs.len() + 2 * run.model.ingests.len());
    }
}
