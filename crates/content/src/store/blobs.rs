//! What is committed.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gantry_types::{Algorithm, Digest, Hasher};
use rustix::fs::{AtFlags, Dir, Stat};
use rustix::io::Errno;

use super::{Shared, Store};
use crate::layout::ALGORITHMS;
use crate::{Blob, BlobInfo, Error};

/// How much is read at a time to hash it again, in bytes.
const HASH_BUFFER: usize = 256 << 10;

impl Store {
    /// Looks a blob up.
    ///
    /// # Errors
    /// NotFound.
    pub fn info(&self, digest: &Digest) -> Result<BlobInfo, Error> {
        Ok(info(digest.clone(), &self.shared.layout.stat_blob(digest)?))
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// NotFound.
    pub fn open_blob(&self, digest: &Digest) -> Result<Blob, Error> {
        let (file, stat) = self.shared.layout.open_blob(digest)?;
        Ok(Blob::new(file, digest.clone(), size(&stat)))
    }

    /// Removes a blob. Who has it open reads on.
    ///
    /// # Errors
    /// NotFound.
    pub fn remove(&self, digest: &Digest) -> Result<(), Error> {
        let layout = &self.shared.layout;
        match rustix::fs::unlinkat(layout.blobs(digest.algorithm()), digest.hex(), AtFlags::empty()) {
            Ok(()) => {
                self.shared.flusher.forget(digest);
                Ok(())
            }
            Err(Errno::NOENT) => Err(Error::NoBlob(digest.clone())),
            Err(errno) => Err(Error::file("removing", &layout.blob_path(digest))(errno)),
        }
    }

    /// All blobs, in no order. Names that are no digest are passed over.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn blobs(&self) -> Result<Blobs, Error> {
        Ok(Blobs { shared: Arc::clone(&self.shared), algorithms: &ALGORITHMS, dir: None })
    }

    /// Hashes a blob's bytes again. If they are not what the name says, the blob stays, but a new ingest of it is let through and
    /// replaces them.
    ///
    /// # Errors
    /// NotFound; what the kernel says of reading.
    pub fn verify(&self, digest: &Digest) -> Result<bool, Error> {
        let mut blob = self.open_blob(digest)?;
        let mut hasher = Hasher::new(digest.algorithm());
        let mut buffer = vec![0; HASH_BUFFER];
        loop {
            let read = match blob.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                    return Err(Error::file("reading", &self.shared.layout.blob_path(digest))(errno));
                }
            };
            hasher.update(&buffer[..read]);
        }
        let intact = hasher.finish() == *digest;
        if !intact {
            self.shared.flusher.damage(digest);
        }
        Ok(intact)
    }
}

/// The blobs of a store, as [`Store::blobs`] finds them.
#[derive(Debug)]
pub struct Blobs {
    shared: Arc<Shared>,
    /// Those whose directories come after this one.
    algorithms: &'static [Algorithm],
    dir: Option<(Algorithm, Dir)>,
}

impl Iterator for Blobs {
    type Item = Result<BlobInfo, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((algorithm, dir)) = &mut self.dir else {
                let (algorithm, rest) = self.algorithms.split_first()?;
                self.algorithms = rest;
                match Dir::read_from(self.shared.layout.blobs(*algorithm)) {
                    Ok(dir) => self.dir = Some((*algorithm, dir)),
                    Err(errno) => return Some(Err(self.error(*algorithm, errno))),
                }
                continue;
            };
            let algorithm = *algorithm;
            let entry = match dir.read() {
                None => {
                    self.dir = None;
                    continue;
                }
                Some(Err(errno)) => {
                    self.dir = None;
                    return Some(Err(self.error(algorithm, errno)));
                }
                Some(Ok(entry)) => entry,
            };
            let name = entry.file_name().to_string_lossy();
            let Ok(digest) = Digest::parse(&format!("{}:{name}", algorithm.name())) else { continue };
            match self.shared.layout.stat_blob(&digest) {
                Ok(stat) => return Some(Ok(info(digest, &stat))),
                // Removed meanwhile.
                Err(Error::NoBlob(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Blobs {
    fn error(&self, algorithm: Algorithm, errno: Errno) -> Error {
        let digest = Digest::from_parts(algorithm, &vec![0; algorithm.hex_length() / 2]);
        let path = self.shared.layout.blob_path(&digest);
        Error::file("listing", path.parent().unwrap_or(&path))(errno)
    }
}

fn info(digest: Digest, stat: &Stat) -> BlobInfo {
    BlobInfo { digest, size: size(stat), modified: modified(stat) }
}

/// No file has a negative size.
pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// The time of the last write.
pub(crate) fn modified(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
}
