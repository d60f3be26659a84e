use gantry_types::{Descriptor, Digest, Labels, Namespace};

use super::super::{Collected, Collection, collect};
use crate::{
    Change, Container, Database, Error, Holder, Image, Opaque, Options, Resource, Timestamp, containers,
    contents, images, leases, snapshots,
};

pub(super) const DRIVER: &str = "overlayfs";

/// A database, with short words for filling it.
pub(super) struct Fixture {
    pub(super) database: Database,
    _directory: tempfile::TempDir,
}

pub(super) fn namespace(name: &str) -> Namespace {
    name.parse().unwrap()
}

pub(super) fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The beginning of a year, as labels have it.
pub(super) fn time(year: u32) -> String {
    format!("{year}-01-01T00:00:00Z")
}

pub(super) fn at(year: u32) -> Timestamp {
    time(year).parse().unwrap()
}

pub(super) fn put_content(
    change: &mut Change<'_>,
    namespace: &Namespace,
    digest: &Digest,
    labels: &Labels,
    lease: Option<&str>,
) -> Result<(), Error> {
    let new = contents::Creation { digest, size: 1, labels, media_type: "", ingest: None, lease };
    contents::create(change, namespace, &new).map(drop)
}

pub(super) fn image(name: &str, digest: &Digest, labels: &Labels) -> Image {
    Image::new(name, Descriptor::new("type", digest.clone(), 1), labels.clone())
}

impl Fixture {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(directory.path(), Options::new("boot")).unwrap();
        Self { database, _directory: directory }
    }

    fn write(&self, f: impl FnOnce(&mut Change<'_>) -> Result<(), Error> + Send + 'static) {
        self.database.write(f).unwrap();
    }

    pub(super) fn content(&self, ns: &str, text: &str, pairs: &[(&str, &str)]) {
        let (ns, digest, labels) = (namespace(ns), digest(text), labels(pairs));
        self.write(move |change| put_content(change, &ns, &digest, &labels, None));
    }

    pub(super) fn leased(&self, ns: &str, text: &str, lease: &str) {
        let (ns, digest, lease) = (namespace(ns), digest(text), lease.to_owned());
        self.write(move |change| put_content(change, &ns, &digest, &Labels::new(), Some(&lease)));
    }

    pub(super) fn image(&self, ns: &str, name: &str, text: &str, pairs: &[(&str, &str)]) {
        let (ns, image) = (namespace(ns), image(name, &digest(text), &labels(pairs)));
        self.write(move |change| {
            images::create(change, images::By::new(&ns, &Holder::Docker), &image).map(drop)
        });
    }

    pub(super) fn snapshot(&self, ns: &str, key: &str, parent: Option<&str>, pairs: &[(&str, &str)]) {
        let (ns, key, labels) = (namespace(ns), key.to_owned(), labels(pairs));
        let parent = parent.map(str::to_owned);
        self.write(move |change| {
            let new = snapshots::Creation {
                driver: DRIVER,
                key: "active",
                parent: parent.as_deref(),
                labels: &Labels::new(),
                number: None,
                lease: None,
            };
            snapshots::prepare(change, &ns, &new)?;
            let request = snapshots::Commit {
                driver: DRIVER,
                key: "active",
                name: &key,
                parent: None,
                labels: &labels,
                usage: snapshots::Usage::default(),
                chain: None,
                lease: None,
            };
            snapshots::commit(change, &ns, &request).map(drop)
        });
    }

    pub(super) fn container(&self, ns: &str, id: &str, key: &str, pairs: &[(&str, &str)]) {
        let ns = namespace(ns);
        let mut container = Container::new(id, "runtime", Opaque::default());
        (container.snapshotter, container.snapshot_key) = (DRIVER.into(), key.into());
        container.labels = labels(pairs);
        self.write(move |change| containers::create(change, &ns, &container).map(drop));
    }

    pub(super) fn lease(&self, ns: &str, id: &str, pairs: &[(&str, &str)]) {
        let (ns, id, labels) = (namespace(ns), id.to_owned(), labels(pairs));
        self.write(move |change| leases::create(change, &ns, &id, &labels).map(drop));
    }

    pub(super) fn add(&self, ns: &str, lease: &str, resource: Resource) {
        let (ns, lease) = (namespace(ns), lease.to_owned());
        self.write(move |change| leases::add(change, &ns, &lease, &resource));
    }

    pub(super) fn collect(&self, year: u32) -> Collected {
        collect(&self.database, Collection { now: at(year) }).unwrap()
    }

    pub(super) fn contents(&self, ns: &str) -> Vec<Digest> {
        let list = self.database.read(|view| contents::list(view, &namespace(ns))).unwrap();
        list.into_iter().map(|content| content.digest).collect()
    }

    pub(super) fn digests(&self, texts: &[&str]) -> Vec<Digest> {
        let mut digests: Vec<_> = texts.iter().map(|text| digest(text)).collect();
        digests.sort();
        digests
    }

    pub(super) fn snapshots(&self, ns: &str) -> Vec<String> {
        let list = self.database.read(|view| snapshots::list(view, &namespace(ns), DRIVER)).unwrap();
        list.into_iter().map(|snapshot| snapshot.name).collect()
    }

    pub(super) fn images(&self, ns: &str) -> Vec<String> {
        let list = self.database.read(|view| images::list(view, &namespace(ns))).unwrap();
        list.into_iter().map(|image| image.name).collect()
    }
}
