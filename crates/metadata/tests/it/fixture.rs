//! A database in a directory of its own, and short words for what the tests do with it.

use std::path::Path;

use gantry_metadata::{Change, Database, Error, Holder, Image, Options, View, contents, images, snapshots};
use gantry_types::{Descriptor, Digest, ErrorKind, Labels, Namespace};
use tempfile::TempDir;

pub(crate) const DRIVER: &str = "overlayfs";

pub(crate) struct Store {
    pub(crate) database: Database,
    pub(crate) directory: TempDir,
}

impl Store {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { database: open(directory.path()), directory }
    }

    pub(crate) fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Change<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.database.write(f)
    }

    pub(crate) fn read<T>(&self, f: impl FnOnce(&View<'_>) -> Result<T, Error>) -> Result<T, Error> {
        self.database.read(f)
    }
}

pub(crate) fn open(directory: &Path) -> Database {
    Database::open(directory, Options::new("boot-1")).unwrap()
}

pub(crate) fn namespace(name: &str) -> Namespace {
    name.parse().unwrap()
}

pub(crate) fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

pub(crate) fn target(text: &str) -> Descriptor {
    Descriptor::new("application/vnd.oci.image.manifest.v1+json", digest(text), 7)
}

/// The holder that the containerd door has in `namespace`.
pub(crate) fn door(namespace: &Namespace) -> Holder {
    Holder::Containerd(namespace.clone())
}

pub(crate) fn put_image(
    change: &mut Change<'_>,
    namespace: &Namespace,
    name: &str,
    text: &str,
    pairs: &[(&str, &str)],
) -> Result<Image, Error> {
    let holder = door(namespace);
    let image = Image::new(name, target(text), labels(pairs));
    images::create(change, images::By::new(namespace, &holder), &image)
}

pub(crate) fn put_content(
    change: &mut Change<'_>,
    namespace: &Namespace,
    text: &str,
    pairs: &[(&str, &str)],
    lease: Option<&str>,
) -> Result<(), Error> {
    let new = contents::Creation {
        digest: &digest(text),
        size: text.len() as u64,
        labels: &labels(pairs),
        media_type: "",
        ingest: None,
        lease,
    };
    contents::create(change, namespace, &new).map(drop)
}

pub(crate) fn prepare(
    change: &mut Change<'_>,
    namespace: &Namespace,
    key: &str,
    parent: Option<&str>,
    pairs: &[(&str, &str)],
    lease: Option<&str>,
) -> Result<u64, Error> {
    let new =
        snapshots::Creation { driver: DRIVER, key, parent, labels: &labels(pairs), number: None, lease };
    snapshots::prepare(change, namespace, &new).map(|snapshot| snapshot.number)
}

pub(crate) fn commit(
    change: &mut Change<'_>,
    namespace: &Namespace,
    key: &str,
    name: &str,
    parent: Option<&str>,
) -> Result<snapshots::Committed, Error> {
    let request = snapshots::Commit {
        driver: DRIVER,
        key,
        name,
        parent,
        labels: &Labels::new(),
        usage: snapshots::Usage::default(),
        chain: None,
        lease: None,
    };
    snapshots::commit(change, namespace, &request)
}
