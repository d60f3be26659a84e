use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gantry_metadata::{Change, Database, Durability, View, snapshots};
use gantry_snapshot::{Driver, SnapshotNumber};
use gantry_types::Namespace;

use crate::collect::Scheduler;
use crate::flight::Flights;
use crate::pull::Concurrency;
use crate::snapshots::Foreign;
use crate::{Error, Result};

/// The snapshotter where nobody asks for another.
pub const DEFAULT_SNAPSHOTTER: &str = "overlayfs";

/// A snapshotter of another program.
#[derive(Debug, Clone)]
pub struct ProxySnapshotter {
    /// Its name, here and in its own words.
    pub name: String,
    /// Its socket.
    pub socket: PathBuf,
    /// What it can do, in containerd's words: `rebase`, `remap-ids`, ….
    pub capabilities: Vec<String>,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything that lasts.
    pub root: PathBuf,
    /// When records are durable.
    pub durability: Durability,
    /// Namespaces that share the image names without the label for it.
    pub shared_namespaces: Vec<Namespace>,
    /// Events that the journal keeps, and for how long.
    pub journal: (u64, std::time::Duration),
    /// Limits of blobs and ingests.
    pub content: gantry_content::Options,
    /// Limits of layers.
    pub layer: gantry_layer::Limits,
    /// Limits of their compression.
    pub inflate: gantry_layer::InflateLimits,
    /// overlayfs's options.
    pub overlayfs: gantry_snapshot::Options,
    /// The boot that records are made under; the kernel's if none is given.
    pub boot: Option<String>,
    /// Foreign snapshotters.
    pub proxies: Vec<ProxySnapshotter>,
    /// The snapshotter where nobody asks for another.
    pub default_snapshotter: String,
    /// Whether a namespace has to send what another one has.
    pub isolated_content: bool,
    /// The size from which a layer is fetched in several parts at the same time, if any.
    pub ranges_from: Option<u64>,
    /// These parts.
    pub ranges: gantry_registry::Ranges,
    /// How the registry client behaves.
    pub registry: gantry_registry::Options,
    /// Layers that are fetched at the same time in all pulls, and that are unpacked.
    pub concurrency: Concurrency,
    /// When the collector runs.
    pub collection: crate::collect::Schedule,
}

impl Options {
    /// The defaults, below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let metadata = gantry_metadata::Options::new("");
        Self {
            root: root.into(),
            durability: Durability::default(),
            shared_namespaces: metadata.shared_namespaces,
            journal: (metadata.journal_max_rows, metadata.journal_max_age),
            content: gantry_content::Options::default(),
            layer: gantry_layer::Limits::default(),
            inflate: gantry_layer::InflateLimits::default(),
            overlayfs: gantry_snapshot::Options::default(),
            boot: None,
            proxies: Vec::new(),
            default_snapshotter: DEFAULT_SNAPSHOTTER.to_owned(),
            isolated_content: false,
            ranges_from: None,
            ranges: gantry_registry::Ranges { chunk_bytes: 4 << 20, parallel: 4 },
            registry: gantry_registry::Options::default(),
            concurrency: Concurrency::default(),
            collection: crate::collect::Schedule::default(),
        }
    }
}

/// Content, images, snapshots, leases and events. Clones are the same store.
///
/// Every method that changes something runs to its end once it has begun, also when its future is dropped.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// What all methods share.
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) database: Database,
    pub(crate) content: gantry_content::Store,
    pub(crate) drivers: BTreeMap<String, Arc<dyn Driver>>,
    pub(crate) registry: gantry_registry::Client,
    pub(crate) layers: Flights<crate::pull::LayerKey, crate::pull::LayerDone>,
    pub(crate) chains: crate::pull::ChainLocks,
    pub(crate) permits: crate::pull::Permits,
    pub(crate) scheduler: Scheduler,
    pub(crate) snapshot_locks: crate::snapshots::Locks,
    pub(crate) implied: crate::snapshots::PendingImplied,
    boot: String,
    next_number: AtomicU64,
}

impl Inner {
    /// A number that no snapshot had before.
    pub(crate) fn next_number(&self) -> SnapshotNumber {
        SnapshotNumber(self.next_number.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether a driver's files are another program's.
    pub(crate) fn is_foreign(&self, name: &str) -> bool {
        self.options.proxies.iter().any(|proxy| proxy.name == name)
    }

    /// The driver of that name.
    pub(crate) fn driver(&self, name: &str) -> Result<&Arc<dyn Driver>> {
        let name = if name.is_empty() { self.options.default_snapshotter.as_str() } else { name };
        self.drivers.get(name).ok_or_else(|| Error::NotFound { what: "snapshotter", name: name.to_owned() })
    }

    pub(crate) fn read<T>(&self, f: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        self.database.read(f)
    }

    pub(crate) fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Change<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.database.write(f)
    }
}

impl Store {
    /// Opens the store below `options.root`, makes what is missing there, and puts right what a crash left. Needs a tokio
    /// runtime, for the collector. Blocks.
    ///
    /// # Errors
    /// Those of the parts; FailedPrecondition for a store that a newer version wrote.
    ///
    /// # Privilege
    /// Root, for snapshots.
    pub fn open(options: Options) -> Result<Self> {
        let root = &options.root;
        make_directory(root)?;
        let boot = options.boot.clone().map_or_else(boot_id, Ok)?;
        let blobs = gantry_content::Options { boot: Some(boot.clone()), ..options.content.clone() };
        let content = gantry_content::Store::open(&root.join("content"), blobs)?;
        refuse_bytes_without_records(root, &content)?;
        let database = Database::open(
            root,
            gantry_metadata::Options {
                durability: options.durability,
                shared_namespaces: options.shared_namespaces.clone(),
                journal_max_rows: options.journal.0,
                journal_max_age: options.journal.1,
                ..gantry_metadata::Options::new(boot.clone())
            },
        )?;
        let blobs = content.clone();
        database.before_flush(move || blobs.sync_pending().map_err(std::io::Error::other));
        let drivers = open_drivers(&options)?;
        if !drivers.contains_key(&options.default_snapshotter) {
            let name = options.default_snapshotter.clone();
            return Err(Error::NotFound { what: "default snapshotter", name });
        }
        let first = first_number(&database, &drivers)?;
        let registry = gantry_registry::Client::new(options.registry.clone())?;
        let inner = Arc::new(Inner {
            permits: options.concurrency.permits(),
            scheduler: Scheduler::default(),
            layers: Flights::default(),
            chains: crate::pull::ChainLocks::default(),
            snapshot_locks: crate::snapshots::Locks::default(),
            implied: crate::snapshots::PendingImplied::default(),
            boot,
            next_number: AtomicU64::new(first),
            options,
            database,
            content,
            drivers,
            registry,
        });
        crate::recover::recover(&inner)?;
        crate::collect::start(&inner)?;
        Ok(Self { inner })
    }

    /// Stops the collector and makes everything durable. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub fn close(&self) -> Result<()> {
        self.inner.scheduler.stop();
        crate::collect::settle(&self.inner)?;
        self.inner.database.flush()?;
        Ok(())
    }

    /// Where the store lies.
    pub fn root(&self) -> &Path {
        &self.inner.options.root
    }

    /// The boot that records are made under: a [`Task`](gantry_metadata::Task) of another one ended with the machine.
    pub fn boot(&self) -> &str {
        &self.inner.boot
    }

    /// Runs `f` on a thread that may wait for disks; it runs to its end whatever becomes of the caller.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || f(&inner)).await.map_err(|_| Error::panicked("a request"))?
    }
}

/// An empty database beside bytes is one that was lost: all of them would be removed for want of a record.
fn refuse_bytes_without_records(root: &Path, content: &gantry_content::Store) -> Result<()> {
    let path = root.join(gantry_metadata::FILE);
    let empty = path.metadata().map_or(true, |metadata| metadata.len() == 0);
    if empty && content.blobs()?.next().is_some() {
        let what =
            format!("{}: there is none, or it is empty, and there is content beside it", path.display());
        return Err(gantry_metadata::Error::Damaged(what).into());
    }
    Ok(())
}

fn open_drivers(options: &Options) -> Result<BTreeMap<String, Arc<dyn Driver>>> {
    let root = options.root.join("snapshots");
    make_directory(&root)?;
    let overlayfs = gantry_snapshot::Overlayfs::open(&root.join("overlayfs"), options.overlayfs.clone())?;
    let native = gantry_snapshot::Native::open(&root.join("native"))?;
    let mut all: Vec<Arc<dyn Driver>> = vec![Arc::new(overlayfs), Arc::new(native)];
    for proxy in &options.proxies {
        if all.iter().any(|driver| driver.name() == proxy.name) {
            let (what, name) = ("snapshotter", proxy.name.clone());
            return Err(Error::AlreadyExists { what, name });
        }
        let has = |name: &str| proxy.capabilities.iter().any(|capability| capability == name);
        let capabilities = gantry_snapshot::Capabilities {
            rebase: has("rebase"),
            remap_ids: has("remap-ids"),
            only_remap_ids: has("only-remap-ids"),
        };
        let runtime = tokio::runtime::Handle::current();
        all.push(Arc::new(Foreign::new(&proxy.name, &proxy.socket, capabilities, runtime)));
    }
    Ok(all.into_iter().map(|driver| (driver.name().to_owned(), driver)).collect())
}

/// A number that is larger than that of any record or directory, and than any that was ever given out here.
fn first_number(database: &Database, drivers: &BTreeMap<String, Arc<dyn Driver>>) -> Result<u64> {
    let mut highest = 0;
    for driver in drivers.values() {
        highest = highest.max(driver.highest()?.map_or(0, |number| number.0));
    }
    database.write(move |change| {
        snapshots::raise_number(change, highest)?;
        Ok(snapshots::reserve_number(change)?)
    })
}

fn make_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(Error::file("making", path))
}

pub(crate) fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(Error::file("reading", path))?;
    Ok(text.trim().to_owned())
}
