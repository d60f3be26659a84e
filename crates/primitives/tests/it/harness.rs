//! A store in a directory of its own, and a registry with sample images.

use std::path::Path;
use std::sync::{Arc, Mutex};

use gantry_e2e::images::samples;
use gantry_e2e::{Access as Door, Registry};
use gantry_primitives::access::TreeHosts;
use gantry_primitives::progress::{Progress, Reporter};
use gantry_primitives::registry::Anonymous;
use gantry_primitives::{Access, Breadth, Context, Holder, Options, PullRequest, Store, Unpack};
use gantry_types::platform::Matcher;
use gantry_types::{ErrorKind, Labels, Reference};

/// A store and the directory that it goes with.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) directory: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self { store: open(directory.path()), directory }
    }

    /// Closes the store and opens it again, as a restart does.
    pub(crate) fn reopened(self) -> Self {
        let Self { store, directory } = self;
        store.close().expect("the store closes");
        drop(store);
        Self { store: open(directory.path()), directory }
    }

    /// How many blobs' files there are.
    pub(crate) fn blob_files(&self) -> usize {
        let blobs = self.directory.path().join("store/content/blobs/sha256");
        std::fs::read_dir(blobs).map_or(0, Iterator::count)
    }

    /// How many snapshots' directories there are.
    pub(crate) fn snapshot_directories(&self, driver: &str) -> usize {
        let snapshots = self.directory.path().join("store/snapshots").join(driver);
        let numbered = |entry: &std::io::Result<std::fs::DirEntry>| {
            entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().parse::<u64>().is_ok())
        };
        std::fs::read_dir(snapshots).map_or(0, |entries| entries.filter(numbered).count())
    }
}

fn open(directory: &Path) -> Store {
    // What an aborted request left to do on another thread may still hold the store before.
    gantry_testkit::until("the store to open", || match Store::open(Options::new(directory.join("store"))) {
        Ok(store) => Some(store),
        Err(error) if error.kind() == ErrorKind::Unavailable => None,
        Err(error) => panic!("the store does not open: {error}"),
    })
}

pub(crate) fn context(namespace: &str) -> Context {
    Context::new(namespace.parse().expect("a namespace"))
}

/// The registry of this process, with every sample pushed to it as a tag of its name.
pub(crate) fn registry() -> &'static Registry {
    static PUSHED: Mutex<bool> = Mutex::new(false);
    let registry = Registry::shared(Door::Plain);
    let mut pushed = PUSHED.lock().expect("no test panicked here");
    if !*pushed {
        for tag in ["busybox", "plain", "zstd", "everything", "links", "multi", "large"] {
            registry.push(&samples().layout.name(tag), &format!("sample/{tag}:1"));
        }
        *pushed = true;
    }
    registry
}

/// A pull of a sample that is unpacked for `snapshotter`, if that is not empty.
pub(crate) fn request(sample: &str, snapshotter: &str) -> PullRequest {
    request_of(&registry().name(&format!("sample/{sample}:1")), snapshotter)
}

/// The same of any name.
pub(crate) fn request_of(name: &str, snapshotter: &str) -> PullRequest {
    let unpack = Unpack { snapshotter: snapshotter.to_owned(), platform: Matcher::host() };
    PullRequest {
        reference: Reference::parse(name).expect("a reference"),
        names: vec![name.to_owned()],
        labels: Labels::new(),
        platforms: Matcher::host(),
        breadth: Breadth::default(),
        unpack: if snapshotter.is_empty() { Vec::new() } else { vec![unpack] },
        holder: Holder::Containerd("test".parse().expect("a namespace")),
        access: access(),
        reporter: Reporter::default(),
    }
}

pub(crate) fn access() -> Access {
    Access { hosts: Arc::new(TreeHosts::new(Vec::new())), credentials: Arc::new(Anonymous) }
}

/// Collects what a transfer reports.
pub(crate) fn listener() -> (Reporter, Arc<Mutex<Vec<Progress>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    (Reporter::new(Arc::new(move |progress| ear.lock().expect("no panic").push(progress))), heard)
}
