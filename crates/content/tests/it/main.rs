//! The store from outside: its contract, many writers, models, hostile names, killed processes and full disks.

mod concurrency;
mod contract;
mod durability;
mod full;
mod hostile;
mod killed;
mod model;
mod powercut;
mod resume;

use std::path::Path;

use gantry_content::{Options, Store};
use gantry_types::Digest;

gantry_testkit::powercut_host!();

/// A store in a directory that goes with it.
struct Fixture {
    store: Store,
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { store: Store::open(directory.path(), options).expect("a store"), directory }
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Closes the store and opens it again.
    fn reopen(self, options: Options) -> Self {
        let Self { store, directory } = self;
        drop(store);
        // A program that another test of this process is about to execute may have the lock for a moment.
        let open = || match Store::open(directory.path(), options.clone()) {
            Err(gantry_content::Error::InUse(_)) => None,
            opened => Some(opened.expect("a store")),
        };
        Self { store: gantry_testkit::until("the store to open", open), directory }
    }
}

/// Puts a blob in.
fn put(store: &Store, bytes: &[u8]) -> Digest {
    let digest = Digest::sha256(bytes);
    let mut ingest = store.ingest(digest.as_str(), None, Some(&digest)).expect("an ingest");
    ingest.write(bytes).expect("written");
    ingest.commit(None, None).expect("committed").digest
}

/// Bytes that differ by `seed` and do not repeat.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// What is in the store's directories, by names below the root.
fn files(root: &Path) -> Vec<String> {
    fn walk(root: &Path, directory: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.push(path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}
