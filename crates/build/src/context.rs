//! The context of a build: an archive of a stranger's, unpacked into a directory that nobody else sees.
//!
//! ```text
//!   <root>/builds/<id>/context/    what was sent, without what `.dockerignore` excludes
//!   <root>/builds/<id>/texts/      here-documents that are copied
//!   <root>/builds/<id>/fetched/    what `ADD` has fetched, each in a directory of its own
//!   <root>/builds/<id>/git/        the repository that is the context
//! ```
//! The directory goes with the build; what a daemon left that was killed is swept when the next one starts. Names and links of the
//! archive never lead out of it (CVE-2014-6407, CVE-2014-9356): `gantry_layer` makes everything below descriptors.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use gantry_layer::{
    ApplyOptions, Compression, Devices, Inflate, InflateLimits, Limits, Target, Whiteouts, Xattrs, apply,
};
use gantry_sys::path::open_in_root;
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use crate::ignore::{self, Ignore};
use crate::sieve::remove_excluded;
use crate::{Error, Result};

/// What a context may have.
const LIMITS: fn() -> Limits = || Limits {
    entries: 2_000_000,
    archive_bytes: 64 << 30,
    file_bytes: 64 << 30,
    depth: MAX_DEPTH,
    ..Limits::default()
};
/// The deepest directory that is looked through.
pub(crate) const MAX_DEPTH: usize = 200;
/// The name of the Dockerfile where the request says none.
const DOCKERFILE: &str = "Dockerfile";

/// The directory of a build. It goes with this.
pub(crate) struct Scratch {
    path: PathBuf,
    /// How many things were fetched.
    fetched: AtomicUsize,
}

impl Scratch {
    /// Makes one below `root`.
    ///
    /// # Errors
    /// Io.
    pub(crate) fn make(root: &Path, id: &str) -> Result<Self> {
        let path = root.join(id);
        let make = |path: &Path| {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("making", path))
        };
        make(root)?;
        let made = Self { path, fetched: AtomicUsize::new(0) };
        for part in ["", "context", "texts"] {
            make(&made.path.join(part))?;
        }
        Ok(made)
    }

    /// A directory of it, made or not.
    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.path.join(part)
    }

    /// A directory for one thing that is fetched, which is not made yet.
    pub(crate) fn fetched_path(&self) -> PathBuf {
        self.path.join("fetched").join(self.fetched.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Opens one of its directories.
    ///
    /// # Errors
    /// Io.
    pub(crate) fn open(&self, part: &str) -> Result<OwnedFd> {
        let path = self.path.join(part);
        Ok(File::open(&path).map_err(Error::io("opening", &path))?.into())
    }

    /// Writes a file that is to be copied.
    ///
    /// # Errors
    /// Io, Invalid for what is no name.
    pub(crate) fn write_text(&self, name: &str, text: &str) -> Result<()> {
        if !is_name(name) {
            return Err(Error::Invalid(format!("{name:?} is no name of a file")));
        }
        write_with_mode(&self.path.join("texts").join(name), text, 0o644)
    }
}

impl Scratch {
    /// Writes a script into a directory of its own, which it gives back.
    ///
    /// # Errors
    /// Io, Invalid for what is no name.
    pub(crate) fn write_script(&self, name: &str, text: &str) -> Result<PathBuf> {
        if !is_name(name) {
            return Err(Error::Invalid(format!("{name:?} is no name of a file")));
        }
        let directory = self.fetched_path();
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&directory)
            .map_err(Error::io("making", &directory))?;
        let path = directory.join(name);
        write_with_mode(&path, text, 0o755)?;
        Ok(directory)
    }
}

fn is_name(name: &str) -> bool {
    !name.contains(['/', '\0']) && !matches!(name, "" | "." | "..")
}

/// Writes a file whose mode no umask changes.
fn write_with_mode(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).map_err(Error::io("writing", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io("writing", path))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the directory of a build is left");
        }
    }
}

/// Removes what builds of an earlier daemon left.
///
/// # Errors
/// Io.
pub(crate) fn sweep(root: &Path) -> Result<()> {
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("removing", root)(error)),
        _ => Ok(()),
    }
}

/// The context, unpacked.
pub(crate) struct Context {
    root: OwnedFd,
    ignore: Ignore,
    is_given: bool,
}

impl Context {
    /// Unpacks an archive, whatever its compression. Blocks.
    ///
    /// # Errors
    /// Archive for what is none, or too large.
    pub(crate) fn unpack(scratch: &Scratch, source: impl Read) -> Result<Self> {
        let root = scratch.open("context")?;
        let mut inflate = Inflate::new(source, Compression::Detect, InflateLimits::archives());
        let target = Target { root: root.as_fd(), whiteouts: Whiteouts::None, lower: &[] };
        let options = ApplyOptions {
            limits: LIMITS(),
            owner: Some((0, 0)),
            devices: Devices::Refuse,
            xattrs: Xattrs::CapabilityOnly,
            ..ApplyOptions::default()
        };
        let failed = |source| Error::Archive { action: "unpacking the build context".to_owned(), source };
        apply(&mut inflate, &target, &options).map_err(failed)?;
        Self::of(root)
    }

    /// No context: a build of a Dockerfile alone. Blocks.
    ///
    /// # Errors
    /// Io.
    pub(crate) fn none(scratch: &Scratch) -> Result<Self> {
        Ok(Self { root: scratch.open("context")?, ignore: Ignore::default(), is_given: false })
    }

    /// Whether there is one.
    pub(crate) fn is_given(&self) -> bool {
        self.is_given
    }

    /// The context in a directory that is there: `directory` below `root`, links followed inside that. Blocks.
    ///
    /// # Errors
    /// Invalid for what is no directory.
    pub(crate) fn of_directory(root: OwnedFd, directory: &str) -> Result<Self> {
        let inner = directory.trim_matches('/');
        let path = std::ffi::CString::new(if inner.is_empty() { "." } else { inner })
            .map_err(|_| Error::Invalid("a path has a zero byte".to_owned()))?;
        match open_in_root(root.as_fd(), &path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                Err(Error::Invalid(format!("error setting git context, not a directory: {directory}")))
            }
            root => Self::of(root.map_err(Error::errno("opening", directory))?),
        }
    }

    fn of(root: OwnedFd) -> Result<Self> {
        let mut made = Self { root, ignore: Ignore::default(), is_given: true };
        if let Some(bytes) = made.read(ignore::FILE, ignore::MAX_BYTES)? {
            made.ignore = Ignore::parse(&bytes)?;
        }
        Ok(made)
    }

    /// The Dockerfile of the request. Blocks.
    ///
    /// # Errors
    /// Invalid where there is none.
    pub(crate) fn dockerfile(&self, name: &str) -> Result<Vec<u8>> {
        let name = if name.is_empty() { DOCKERFILE } else { name };
        let limit = crate::dockerfile::MAX_BYTES as u64;
        let mut found = self.read(name, limit)?;
        if found.is_none() && name == DOCKERFILE {
            // As docker, which was written on systems where names have no case.
            found = self.read("dockerfile", limit)?;
        }
        match found {
            Some(bytes) if bytes.trim_ascii().is_empty() => {
                Err(Error::Invalid(format!("the Dockerfile ({name}) cannot be empty")))
            }
            Some(bytes) => Ok(bytes),
            None => Err(Error::Invalid(format!("Cannot locate specified Dockerfile: {name}"))),
        }
    }

    /// Removes what is excluded. Blocks.
    ///
    /// # Errors
    /// Io.
    pub(crate) fn exclude(&self) -> Result<()> {
        remove_excluded(self.root.as_fd(), &self.ignore)
    }

    /// Its root, for reading.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(crate) fn root(&self) -> Result<OwnedFd> {
        self.root.try_clone().map_err(Error::io("duplicating", "the build context"))
    }

    /// A small file of it; None where there is none. Links are followed in the context.
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let path =
            std::ffi::CString::new(name).map_err(|_| Error::Invalid("a path has a zero byte".to_owned()))?;
        // Not blocking, should it be a FIFO.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let file = match open_in_root(self.root.as_fd(), &path, flags) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
            file => file.map_err(Error::errno("opening", name))?,
        };
        let stat = fstat(&file).map_err(Error::errno("looking at", name))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::from(file).take(limit + 1).read_to_end(&mut bytes).map_err(Error::io("reading", name))?;
        if bytes.len() as u64 > limit {
            return Err(Error::Limit { what: name.to_owned(), limit, unit: "bytes" });
        }
        Ok(Some(bytes))
    }
}
