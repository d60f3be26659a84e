//! The end of an ingest: a blob.

use gantry_types::Digest;
use rustix::fs::{Timespec, Timestamps};
use rustix::io::Errno;

use super::{Ingest, hash, list};
use crate::failpoint::hit;
use crate::layout::{COMMITTED, GROWING};
use crate::lock::End;
use crate::store::size;
use crate::{Error, Refused};

/// A blob that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its name.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

impl Ingest {
    /// Makes the bytes a blob, if they are `size` many and their digest is `expected`; what is not given counts as
    /// this writer announced it; what one before it announced does not count. The blob is there for everybody from then on; it is durable after
    /// [`crate::Store::sync`].
    ///
    /// # Errors
    /// FailedPrecondition for another size or digest: the ingest comes back with its bytes. AlreadyExists: the bytes are gone,
    /// as the same ones are there. Aborted: somebody aborted it. ResourceExhausted on a full disk: the ingest comes back.
    pub fn commit(mut self, size: Option<u64>, expected: Option<&Digest>) -> Result<Committed, Refused> {
        let expected = expected.or(self.announced.1.as_ref()).cloned();
        match self.finish(size.or(self.announced.0), expected.as_ref()) {
            Ok(committed) => Ok(committed),
            Err(error @ (Error::Exists(_) | Error::Aborted(_))) => Err(Refused { error, ingest: None }),
            Err(error) => Err(Refused { error, ingest: Some(Box::new(self)) }),
        }
    }

    fn finish(&mut self, wanted: Option<u64>, expected: Option<&Digest>) -> Result<Committed, Error> {
        if self.lock.held().is_aborted() {
            return Err(Error::Aborted(self.key().to_owned()));
        }
        if let Some(wanted) = wanted.filter(|wanted| *wanted != self.offset) {
            return Err(Error::Size { found: self.offset, expected: wanted });
        }
        let stat = rustix::fs::fstat(&self.file).map_err(self.error("reading"))?;
        if self::size(&stat) != self.offset {
            return Err(Error::Size { found: self::size(&stat), expected: self.offset });
        }
        let digest = self.digest_as(expected)?;
        hit("commit.verified");
        self.seal().map_err(self.error("sealing"))?;
        hit("commit.sealed");
        self.publish(&digest)?;
        hit("commit.renamed");
        self.over = true;
        self.store.flusher.committed(&digest, &self.file);
        hit("commit.queued");
        // Nothing but the status is left; it goes at the next start if it does not go now.
        let _ = list::remove(&self.store.layout, self.lock.name());
        hit("commit.removed");
        Ok(Committed { digest, size: self.offset })
    }

    /// The digest of the bytes by the algorithm of `expected`, which it has to be.
    fn digest_as(&self, expected: Option<&Digest>) -> Result<Digest, Error> {
        let found = self.digest();
        let Some(expected) = expected else { return Ok(found) };
        let found = if found.algorithm() == expected.algorithm() {
            found
        } else {
            let hasher = hash(&self.file, expected.algorithm(), self.offset);
            hasher.map_err(self.error("reading"))?.finish()
        };
        if found == *expected {
            return Ok(found);
        }
        Err(Error::Mismatch { found, expected: expected.clone() })
    }

    /// Makes the file what a blob is: of now, and nobody's to write.
    fn seal(&self) -> Result<(), Errno> {
        rustix::fs::fchmod(&self.file, COMMITTED)?;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let now = Timespec { tv_sec: now.tv_sec, tv_nsec: now.tv_nsec };
        rustix::fs::futimens(&self.file, &Timestamps { last_access: now, last_modification: now })
    }

    /// Renames it, unless somebody aborted it or the blob is there.
    fn publish(&mut self, digest: &Digest) -> Result<(), Error> {
        let layout = &self.store.layout;
        let replace = self.store.flusher.is_damaged(digest);
        let name = self.lock.name().to_owned();
        match self.lock.held().end(End::Committed, || layout.publish(&name, digest, replace)) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Error::Aborted(self.key().to_owned())),
            Err(Errno::EXIST) => {
                hit("commit.exists");
                self.over = true;
                // What is left of it is an ingest that nobody resumes, and goes when it is old.
                let _ = list::remove(layout, &name);
                Err(Error::Exists(digest.clone()))
            }
            Err(errno) => {
                let _ = rustix::fs::fchmod(&self.file, GROWING);
                Err(Error::file("committing", &layout.blob_path(digest))(errno))
            }
        }
    }
}
