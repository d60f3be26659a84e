//! A store, and the blobs in it.

mod blobs;

use std::path::Path;
use std::sync::Arc;

use gantry_types::Digest;

pub use blobs::Blobs;
pub(crate) use blobs::{modified, size};

use crate::flush::Flusher;
use crate::layout::Layout;
use crate::lock::Locks;
use crate::{Error, Ingest, Options, Status, ingest};

/// Where the kernel says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A directory of blobs and ingests, which this process has for itself. Clones are the same store; the last one that goes
/// waits until everything that was committed is durable.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What ingests share with their store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) flusher: Flusher,
    pub(crate) layout: Arc<Layout>,
    pub(crate) locks: Arc<Locks>,
    pub(crate) options: Options,
    /// The boot that is written into the status of ingests.
    pub(crate) boot: String,
}

impl Store {
    /// Opens the store in `root`, makes what is missing there, and removes what a killed process left half made and what
    /// nobody has written to for `idle_ingest_age`.
    ///
    /// # Errors
    /// Unavailable if it is open already; what the kernel says.
    pub fn open(root: &Path, options: Options) -> Result<Self, Error> {
        let layout = Arc::new(Layout::open(root)?);
        let boot = match &options.boot {
            Some(boot) => boot.clone(),
            None => std::fs::read_to_string(BOOT_ID)
                .map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
                .map_err(Error::file("reading", Path::new(BOOT_ID)))?
                .trim()
                .to_owned(),
        };
        let flusher =
            Flusher::start(Arc::clone(&layout)).map_err(Error::file("starting a thread for", root))?;
        let shared = Shared { flusher, layout, locks: Arc::default(), options, boot };
        let store = Self { shared: Arc::new(shared) };
        store.sweep()?;
        Ok(store)
    }

    /// Begins to write under `key`, or goes on where the last writer of it stopped: see [`Ingest::offset`].
    ///
    /// `total` and `expected` are what the blob will be, if that is known; the bytes are hashed by the algorithm of `expected`, or
    /// else by SHA-256. If an earlier writer announced another total, its bytes are dropped.
    ///
    /// # Errors
    /// InvalidArgument for the key; AlreadyExists if `expected` is there; Unavailable if another writer has the key;
    /// ResourceExhausted if `total` is over the limit, there are too many writers, or the disk is full.
    pub fn ingest(&self, key: &str, total: Option<u64>, expected: Option<&Digest>) -> Result<Ingest, Error> {
        ingest::start(&self.shared, key, total, expected)
    }

    /// How far an ingest has come.
    ///
    /// # Errors
    /// NotFound.
    pub fn status(&self, key: &str) -> Result<Status, Error> {
        ingest::status(&self.shared, key)
    }

    /// All ingests, in no order. Those that end meanwhile may be missing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn statuses(&self) -> Result<Vec<Status>, Error> {
        ingest::statuses(&self.shared)
    }

    /// Removes an ingest and its bytes. If somebody writes to it, the next write or the commit there says Aborted, and the key
    /// stays locked until that writer is gone.
    ///
    /// # Errors
    /// NotFound.
    pub fn abort(&self, key: &str) -> Result<(), Error> {
        ingest::abort(&self.shared, key)
    }

    /// Removes what nobody has written to for `idle_ingest_age`, but for what `keep` says yes to; returns the keys.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove_idle(&self, keep: impl Fn(&Status) -> bool) -> Result<Vec<String>, Error> {
        ingest::remove_idle(&self.shared, keep)
    }

    /// Waits until every blob that was committed before the call is durable.
    ///
    /// # Errors
    /// ResourceExhausted or DataLoss if the disk refused one of them.
    pub fn sync_pending(&self) -> Result<(), Error> {
        self.shared.flusher.sync_all()
    }

    /// Waits until every one of `digests` is durable, whoever committed it and when.
    ///
    /// # Errors
    /// NotFound for one that is not there; ResourceExhausted or DataLoss if the disk refused it, now or before.
    pub fn sync(&self, digests: &[Digest]) -> Result<(), Error> {
        self.shared.flusher.sync(digests)
    }

    fn sweep(&self) -> Result<(), Error> {
        ingest::remove_broken(&self.shared)?;
        self.remove_idle(|_| false).map(drop)
    }
}
