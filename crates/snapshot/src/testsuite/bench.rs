use std::path::{Path, PathBuf};

use gantry_types::{ErrorKind, Labels, Mount, labels};

use super::files::{Change, apply, assert_same};
use super::{Features, Mounted};
use crate::{Error, Snapshotter};

/// A snapshotter under test, and a place to work.
pub(super) struct Bench<'a> {
    pub(super) snapshotter: &'a dyn Snapshotter,
    pub(super) features: Features,
    work: PathBuf,
}

impl<'a> Bench<'a> {
    pub(super) fn new(snapshotter: &'a dyn Snapshotter, work: PathBuf, features: Features) -> Self {
        Self { snapshotter, features, work }
    }

    /// The labels of everything that a test makes: a daemon's collector keeps its hands off what has them.
    #[allow(clippy::unused_self)]
    pub(super) fn labels(&self) -> Labels {
        Labels::from([(labels::GC_ROOT.to_owned(), "testsuite".to_owned())])
    }

    /// The labels of everything, and one more.
    pub(super) fn labelled(&self, key: &str, value: &str) -> Labels {
        let mut labels = self.labels();
        labels.insert(key.to_owned(), value.to_owned());
        labels
    }

    pub(super) fn prepare(&self, key: &str, parent: Option<&str>) -> Vec<Mount> {
        ok(self.snapshotter.prepare(key, parent, &self.labels()))
    }

    pub(super) fn view(&self, key: &str, parent: Option<&str>) -> Vec<Mount> {
        ok(self.snapshotter.view(key, parent, &self.labels()))
    }

    pub(super) fn commit(&self, name: &str, key: &str) {
        ok(self.snapshotter.commit(name, key, None, &self.labels()));
    }

    pub(super) fn remove(&self, key: &str) {
        ok(self.snapshotter.remove(key));
    }

    pub(super) fn directory(&self, name: &str) -> PathBuf {
        let path = self.work.join(name);
        std::fs::create_dir_all(&path).expect("the temporary directory can be written");
        path
    }

    pub(super) fn mount(&self, mounts: &[Mount], at: &str) -> Mounted {
        Mounted::new(mounts, &self.directory(at))
    }

    /// Makes a committed snapshot by changes to its parent.
    pub(super) fn layer(&self, name: &str, parent: Option<&str>, changes: &[Change]) {
        let key = format!("{name}-key");
        let mounts = self.prepare(&key, parent);
        apply(self.mount(&mounts, "layer").path(), changes);
        self.commit(name, &key);
    }

    /// Fails if a view of a snapshot differs from a directory.
    pub(super) fn assert_shows(&self, name: &str, expected: &Path) {
        let key = format!("{name}-view");
        let mounts = self.view(&key, Some(name));
        assert_same(expected, self.mount(&mounts, "view").path());
        self.remove(&key);
    }

    /// Makes a chain of snapshots, and checks each against the same changes to one directory.
    pub(super) fn assert_chain(&self, prefix: &str, layers: &[&[Change]]) {
        let flat = self.directory(&format!("{prefix}-flat"));
        let mut parent = None;
        for (n, changes) in layers.iter().enumerate() {
            let name = format!("{prefix}-{n}");
            self.layer(&name, parent.as_deref(), changes);
            apply(&flat, changes);
            self.assert_shows(&name, &flat);
            parent = Some(name);
        }
    }
}

/// The value, where a snapshotter must succeed.
pub(super) fn ok<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

/// Fails unless a snapshotter refuses, in this way.
#[track_caller]
pub(super) fn refused<T>(result: Result<T, Error>, kind: ErrorKind) {
    match result {
        Ok(_) => panic!("{kind:?} was expected"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}
