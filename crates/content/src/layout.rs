//! The directories of a store, held open.

use std::fs::{DirBuilder, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use gantry_types::{Algorithm, Digest};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::Error;

/// The store is nobody else's business.
const DIRECTORY_MODE: u32 = 0o700;
/// Of a file that is written to.
pub(crate) const GROWING: Mode = Mode::RUSR.union(Mode::WUSR);
/// Of a blob.
pub(crate) const COMMITTED: Mode = Mode::RUSR;

/// Every algorithm that has a directory.
pub(crate) const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// The root, its subdirectories, and the lock that keeps other processes out.
#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    /// The root and `blobs`, whose entries have to be durable before the first blob is.
    above: [OwnedFd; 2],
    ingest: OwnedFd,
    blobs: [OwnedFd; ALGORITHMS.len()],
}

impl Layout {
    /// Makes what is missing, and takes the lock.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let directory = |path: &Path| {
            DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(path)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
                .map_err(Error::file("creating", path))?;
            open_directory(path)
        };
        let top = directory(root)?;
        match rustix::fs::flock(&top, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Error::InUse(root.to_path_buf())),
            Err(errno) => return Err(Error::file("locking", root)(errno)),
        }
        let blobs = root.join("blobs");
        Ok(Self {
            above: [top, directory(&blobs)?],
            ingest: directory(&root.join("ingest"))?,
            blobs: [
                directory(&blobs.join(Algorithm::Sha256.name()))?,
                directory(&blobs.join(Algorithm::Sha512.name()))?,
            ],
            root: root.to_path_buf(),
        })
    }

    /// `ingest`.
    pub(crate) fn ingest(&self) -> BorrowedFd<'_> {
        self.ingest.as_fd()
    }

    /// `blobs/<algorithm>`.
    pub(crate) fn blobs(&self, algorithm: Algorithm) -> BorrowedFd<'_> {
        match algorithm {
            Algorithm::Sha256 => self.blobs[0].as_fd(),
            Algorithm::Sha512 => self.blobs[1].as_fd(),
        }
    }

    /// Where a blob is, for messages.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// Where a file of an ingest is, for messages.
    pub(crate) fn ingest_path(&self, name: &str) -> PathBuf {
        self.root.join("ingest").join(name)
    }

    /// Opens a blob, with its size and time.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<(File, rustix::fs::Stat), Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(self.blobs(digest.algorithm()), digest.hex(), flags, Mode::empty());
        let file = match opened {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Err(Error::NoBlob(digest.clone())),
            Err(errno) => return Err(Error::file("opening", &self.blob_path(digest))(errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(Error::file("reading", &self.blob_path(digest)))?;
        Ok((file, stat))
    }

    /// A blob's size and time.
    pub(crate) fn stat_blob(&self, digest: &Digest) -> Result<rustix::fs::Stat, Error> {
        let dir = self.blobs(digest.algorithm());
        match rustix::fs::statat(dir, digest.hex(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(stat),
            Err(Errno::NOENT) => Err(Error::NoBlob(digest.clone())),
            Err(errno) => Err(Error::file("reading", &self.blob_path(digest))(errno)),
        }
    }

    /// Gives the data of an ingest its name as a blob; `EEXIST` if there is one already and `replace` is not asked for.
    pub(crate) fn publish(&self, ingest: &str, digest: &Digest, replace: bool) -> Result<(), Errno> {
        let (from, to) = (format!("{ingest}/data"), self.blobs(digest.algorithm()));
        if replace {
            return rustix::fs::renameat(self.ingest(), from.as_str(), to, digest.hex());
        }
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(self.ingest(), from.as_str(), to, digest.hex(), flags) {
            // A file system that cannot. The store is ours alone, so at worst the same bytes replace themselves.
            Err(Errno::INVAL | Errno::NOSYS) => {
                match rustix::fs::statat(to, digest.hex(), AtFlags::empty()) {
                    Ok(_) => Err(Errno::EXIST),
                    Err(_) => rustix::fs::renameat(self.ingest(), from.as_str(), to, digest.hex()),
                }
            }
            result => result,
        }
    }

    /// Makes the names of the store's directories durable.
    pub(crate) fn sync_above(&self) -> Result<(), Errno> {
        let parent = self.root.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        // The parent may be one that may not be opened; who made it has to see to it.
        if let Ok(parent) = open_directory(parent) {
            rustix::fs::fsync(&parent)?;
        }
        self.above.iter().try_for_each(rustix::fs::fsync)
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(Error::file("opening", path))
}
