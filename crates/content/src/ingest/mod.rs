//! A blob in the making.

mod commit;
mod list;
mod record;
mod start;

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use gantry_types::{Digest, Hasher};
use rustix::io::Errno;

pub use commit::Committed;
pub(crate) use list::{abort, remove_broken, remove_idle, status, statuses};
#[cfg(feature = "fuzzing")]
pub(crate) use record::Record as StatusRecord;
pub(crate) use start::start;

use crate::Error;
use crate::failpoint::hit;
use crate::lock::Lock;
use crate::store::Shared;
use record::{Checkpoint, Record};

/// After how many bytes of an ingest their writing to the disk is started.
const WRITEBACK_STEP: u64 = 8 << 20;
/// After how many bytes the digest so far is noted, to believe them after a power cut.
const CHECKPOINT_STEP: u64 = 128 << 20;
/// How much is written before it is hashed, in bytes: what a core's cache holds.
const PIECE: usize = 256 << 10;

/// How far an ingest has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What it was begun with.
    pub key: String,
    /// How many bytes there are.
    pub offset: u64,
    /// How many there will be, if that was said.
    pub total: Option<u64>,
    /// The digest that they will have, if that was said.
    pub expected: Option<Digest>,
    /// When it was begun.
    pub started_at: SystemTime,
    /// When it was last written to.
    pub updated_at: SystemTime,
}

/// The only writer of a key. Dropping it keeps the bytes for who comes next.
#[derive(Debug)]
pub struct Ingest {
    store: Arc<Shared>,
    file: Arc<File>,
    hasher: Hasher,
    offset: u64,
    /// Up to where the writing to the disk was started.
    written_back: u64,
    /// Up to where the bytes were noted with their digest.
    noted: u64,
    record: Record,
    /// What this writer said of the blob, not one before it.
    announced: (Option<u64>, Option<Digest>),
    /// Committed or aborted: there is nothing to keep.
    over: bool,
    /// Last, so that it is free only when all is done.
    lock: Lock,
}

impl Ingest {
    /// How many bytes there are: where the next write goes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What it was begun with.
    pub fn key(&self) -> &str {
        self.lock.key()
    }

    /// How far it has come.
    pub fn status(&self) -> Status {
        self.record.status(self.offset, SystemTime::UNIX_EPOCH)
    }

    /// The digest of the bytes so far.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Reads back what was written, so that who resumes a stream can go through it again; 0 at the end.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        let there = usize::try_from(self.offset.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(there);
        self.file
            .read_at(&mut buffer[..length], offset)
            .map_err(|error| self.error("reading")(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }

    /// Appends `bytes`: one system call for 256 KiB, and their hash.
    ///
    /// # Errors
    /// ResourceExhausted over the limit of a blob (then nothing is written), or on a full disk: then [`Ingest::offset`] says how much
    /// was written, and writing may go on from there when there is room. Aborted if somebody aborted it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.lock.held().is_aborted() {
            return Err(Error::Aborted(self.key().to_owned()));
        }
        let limit = self.store.options.max_blob_bytes;
        if limit.checked_sub(self.offset).is_none_or(|room| (bytes.len() as u64) > room) {
            return Err(Error::TooLarge(limit));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = &rest[..rest.len().min(PIECE)];
            match rustix::io::pwrite(&self.file, piece, self.offset) {
                Ok(written) if written > 0 => {
                    self.hasher.update(&piece[..written]);
                    self.offset += written as u64;
                    rest = &rest[written..];
                }
                Err(Errno::INTR) => {}
                result => {
                    let errno = result.err().unwrap_or(Errno::IO);
                    // What may have come behind the offset is not part of it.
                    let _ = rustix::fs::ftruncate(&self.file, self.offset);
                    return Err(self.error("writing")(errno));
                }
            }
        }
        self.record.updated_at = SystemTime::now();
        if self.offset - self.written_back >= WRITEBACK_STEP {
            self.write_back();
        }
        if self.offset - self.noted >= CHECKPOINT_STEP {
            self.note();
        }
        Ok(())
    }

    /// Keeps the first `size` bytes.
    ///
    /// # Errors
    /// OutOfRange behind the last byte; what the kernel says.
    pub fn truncate(&mut self, size: u64) -> Result<(), Error> {
        if self.lock.held().is_aborted() {
            return Err(Error::Aborted(self.key().to_owned()));
        }
        if size > self.offset {
            return Err(Error::Position { position: size, length: self.offset });
        }
        if size == self.offset {
            return Ok(());
        }
        let algorithm = self.digest().algorithm();
        let hasher = hash(&self.file, algorithm, size).map_err(self.error("reading"))?;
        rustix::fs::ftruncate(&self.file, size).map_err(self.error("truncating"))?;
        (self.hasher, self.offset) = (hasher, size);
        self.written_back = self.written_back.min(size);
        self.noted = self.noted.min(size);
        self.record.updated_at = SystemTime::now();
        Ok(())
    }

    /// Ends it and removes its bytes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn abort(mut self) -> Result<(), Error> {
        self.over = true;
        let name = self.lock.name().to_owned();
        let remove = || list::remove(&self.store.layout, &name);
        match self.lock.held().end(crate::lock::End::Aborted, remove) {
            Ok(_) => Ok(()),
            Err(errno) => Err(self.error("removing")(errno)),
        }
    }

    fn error(&self, action: &'static str) -> impl FnOnce(Errno) -> Error + use<> {
        Error::file(action, &self.store.layout.ingest_path(&format!("{}/data", self.lock.name())))
    }

    fn write_back(&mut self) {
        let length = self.offset - self.written_back;
        self.store.flusher.write_back(&self.file, self.written_back, length);
        self.written_back = self.offset;
    }

    /// Notes the digest of the bytes so far in the status. Nothing depends on it but how much is believed after a power cut.
    fn note(&mut self) {
        hit("note");
        self.noted = self.offset;
        self.record.checkpoint = Some(Checkpoint { offset: self.offset, digest: self.digest() });
        let _ = self.record.replace(&self.store.layout, self.lock.name());
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if self.over || self.lock.held().is_aborted() {
            return;
        }
        self.note();
        self.write_back();
        self.lock.park(self.offset, self.hasher.clone());
    }
}

/// Hashes the first `length` bytes of a file; `EIO` if there are fewer.
fn hash(file: &File, algorithm: gantry_types::Algorithm, length: u64) -> Result<Hasher, Errno> {
    let mut hasher = Hasher::new(algorithm);
    if length == 0 {
        return Ok(hasher);
    }
    let mut buffer = vec![0; PIECE];
    let mut offset = 0;
    while offset < length {
        let wanted = usize::try_from(length - offset).unwrap_or(usize::MAX).min(buffer.len());
        match rustix::io::pread(file.as_fd(), &mut buffer[..wanted], offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                offset += read as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(hasher)
}
