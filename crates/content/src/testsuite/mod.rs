//! The contract of a content store, as tests for whatever stands in front of one: this crate's [`crate::Store`], the namespaced
//! store of `primitives`, a client of the containerd door.
//!
//! The cases are what clients of containerd rely on (its own suite, `core/content/testsuite` of v2.2, was the list), in terms
//! of error kinds. A case gets a store that is empty, and panics where the contract is broken.

mod cases;

use std::time::SystemTime;

use gantry_types::{Digest, ErrorKind};

use crate::{Ingest, Status, Store};

/// A store under test.
pub trait Subject {
    /// What writes to it.
    type Writer: Writer;

    /// As [`Store::ingest`].
    fn ingest(
        &self,
        key: &str,
        total: Option<u64>,
        expected: Option<&Digest>,
    ) -> Result<Self::Writer, ErrorKind>;
    /// The size of a blob.
    fn size(&self, digest: &Digest) -> Result<u64, ErrorKind>;
    /// The bytes of a blob from `offset` on, at most `length` of them.
    fn read(&self, digest: &Digest, offset: u64, length: usize) -> Result<Vec<u8>, ErrorKind>;
    /// As [`Store::remove`].
    fn remove(&self, digest: &Digest) -> Result<(), ErrorKind>;
    /// The digests of all blobs.
    fn list(&self) -> Result<Vec<Digest>, ErrorKind>;
    /// As [`Store::status`].
    fn status(&self, key: &str) -> Result<Progress, ErrorKind>;
    /// As [`Store::statuses`].
    fn statuses(&self) -> Result<Vec<Progress>, ErrorKind>;
    /// As [`Store::abort`].
    fn abort(&self, key: &str) -> Result<(), ErrorKind>;
}

/// A writer under test. Dropping it keeps the bytes.
pub trait Writer: Sized {
    /// As [`Ingest::write`].
    fn write(&mut self, bytes: &[u8]) -> Result<(), ErrorKind>;
    /// As [`Ingest::status`].
    fn status(&self) -> Result<Progress, ErrorKind>;
    /// As [`Ingest::digest`].
    fn digest(&self) -> Result<Digest, ErrorKind>;
    /// To nothing: all that containerd's clients ask for.
    fn truncate(&mut self) -> Result<(), ErrorKind>;
    /// As [`Ingest::commit`]; the writer is gone whatever comes of it.
    fn commit(self, size: Option<u64>, expected: Option<&Digest>) -> Result<Digest, ErrorKind>;
}

/// What every status has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The ingest's key.
    pub key: String,
    /// How many bytes there are.
    pub offset: u64,
    /// How many there will be; 0 if nobody said.
    pub total: u64,
    /// When it was begun.
    pub started_at: SystemTime,
    /// When it was last written to.
    pub updated_at: SystemTime,
}

/// What a case promises, and the case.
pub type Case<S> = (&'static str, fn(&S));

/// Every case.
pub fn cases<S: Subject>() -> Vec<Case<S>> {
    cases::all()
}

/// Runs every case on a store that `make` gives.
///
/// # Panics
/// Where the contract is broken.
pub fn run<S: Subject>(mut make: impl FnMut(&str) -> S) {
    for (name, case) in cases() {
        println!("case {name}");
        case(&make(name));
    }
}

impl From<Status> for Progress {
    fn from(status: Status) -> Self {
        let Status { key, offset, total, started_at, updated_at, .. } = status;
        Self { key, offset, total: total.unwrap_or(0), started_at, updated_at }
    }
}

fn kind(error: impl Into<crate::Error>) -> ErrorKind {
    error.into().kind()
}

impl Subject for Store {
    type Writer = Ingest;

    fn ingest(&self, key: &str, total: Option<u64>, expected: Option<&Digest>) -> Result<Ingest, ErrorKind> {
        Store::ingest(self, key, total, expected).map_err(kind)
    }

    fn size(&self, digest: &Digest) -> Result<u64, ErrorKind> {
        self.info(digest).map(|info| info.size).map_err(kind)
    }

    fn read(&self, digest: &Digest, offset: u64, length: usize) -> Result<Vec<u8>, ErrorKind> {
        let blob = self.open_blob(digest).map_err(kind)?;
        let mut bytes = vec![0; length];
        let read = blob.read_at(&mut bytes, offset).map_err(|_| ErrorKind::Internal)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<(), ErrorKind> {
        Store::remove(self, digest).map_err(kind)
    }

    fn list(&self) -> Result<Vec<Digest>, ErrorKind> {
        let blobs = self.blobs().map_err(kind)?;
        blobs.map(|blob| blob.map(|blob| blob.digest).map_err(kind)).collect()
    }

    fn status(&self, key: &str) -> Result<Progress, ErrorKind> {
        Store::status(self, key).map(Progress::from).map_err(kind)
    }

    fn statuses(&self) -> Result<Vec<Progress>, ErrorKind> {
        Ok(Store::statuses(self).map_err(kind)?.into_iter().map(Progress::from).collect())
    }

    fn abort(&self, key: &str) -> Result<(), ErrorKind> {
        Store::abort(self, key).map_err(kind)
    }
}

impl Writer for Ingest {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        Ingest::write(self, bytes).map_err(kind)
    }

    fn status(&self) -> Result<Progress, ErrorKind> {
        Ok(Ingest::status(self).into())
    }

    fn digest(&self) -> Result<Digest, ErrorKind> {
        Ok(Ingest::digest(self))
    }

    fn truncate(&mut self) -> Result<(), ErrorKind> {
        Ingest::truncate(self, 0).map_err(kind)
    }

    fn commit(self, size: Option<u64>, expected: Option<&Digest>) -> Result<Digest, ErrorKind> {
        Ingest::commit(self, size, expected).map(|committed| committed.digest).map_err(kind)
    }
}
