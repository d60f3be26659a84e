//! Compiled programs on disk, by the bytes of the profile that they came from.
//!
//! `<state-root>/.cache/seccomp/<sha256>`, one file per profile, never changed after it has its name. The directory is
//! mode 0700 and ours, as is each file, so that an entry is as trustworthy as the configuration itself; the checksum is
//! there for what a crash or a full disk leaves. Whatever is wrong with an entry, it counts as absent.
//!
//! A hit costs a hash of the profile and open, fstat, read, close. All else (making the directory, counting entries,
//! dropping the oldest) is left to storing, which comes after a compilation anyway.
//!
//! ```text
//!  0  magic, format       8 + 4 bytes
//! 12  flags               for seccomp(2)
//! 16  instruction count
//! 20  key                 the file's name in binary: a renamed or linked entry is another profile's
//! 52  checksum            sha256 of all before and after it
//! 84  instructions        8 bytes each, in the machine's byte order
//! ```

use super::{Arch, Instruction, Program, SeccompError, UnknownNames, compile, require_known};
use gantry_sys::seccomp::{MAX_INSTRUCTIONS, flag};
use gantry_types::ErrorKind;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where the cache is, under the runtime's state root.
pub const CACHE_DIRECTORY: &str = ".cache/seccomp";

/// How many entries the directory may have before the oldest go.
pub const MAX_ENTRIES: usize = 64;

const MAGIC: [u8; 8] = *b"gantrybp";

/// Changes with the layout of the files, and whenever a profile compiles to another program.
const FORMAT: u32 = 1;

const KEY_OFFSET: usize = 20;
const CHECKSUM_OFFSET: usize = 52;
const HEADER_BYTES: usize = 84;
const INSTRUCTION_BYTES: usize = size_of::<Instruction>();
const MAX_FILE_BYTES: usize = HEADER_BYTES + MAX_INSTRUCTIONS * INSTRUCTION_BYTES;

/// Write permission of anybody else.
const FOREIGN_WRITE: RawMode = 0o022;

pub(super) type Key = [u8; 32];

/// What a program is compiled from; equal requests have equal programs.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `linux.seccomp` of the configuration, byte for byte.
    pub profile: &'a str,
    /// The kernel's architecture.
    pub native: Arch,
    /// What to do about calls that nobody knows.
    pub unknown: UnknownNames,
}

/// An entry that could not be stored. Harmless: the next container compiles the profile again.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A system call failed.
    #[error("{operation} in the seccomp cache")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The cause.
        #[source]
        source: Errno,
    },
    /// The directory is not ours alone.
    #[error("seccomp cache {path:?} belongs to or can be written by somebody else")]
    Untrusted {
        /// The directory.
        path: PathBuf,
    },
}

impl CacheError {
    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            CacheError::System { .. } => ErrorKind::Internal,
            CacheError::Untrusted { .. } => ErrorKind::PermissionDenied,
        }
    }
}

/// The cache of one state root.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// The cache below `state_root`; nothing is opened or made yet.
    pub fn new(state_root: &Path) -> Cache {
        Cache { directory: state_root.join(CACHE_DIRECTORY) }
    }

    /// The program of a profile: from the cache, or compiled and then stored.
    ///
    /// # Errors
    /// What is wrong with the profile. A cache that cannot be used costs time, and nothing else.
    pub fn program(&self, request: &Request<'_>) -> Result<Program, SeccompError> {
        let key = request.key();
        if let Some(program) = self.load_key(&key) {
            return Ok(program);
        }
        let program = request.compile()?;
        // A read-only or foreign state root is no reason to refuse a container.
        let _ = self.store_key(&key, &program);
        Ok(program)
    }

    /// Finds a program; anything but a sound entry is a miss.
    pub fn load(&self, request: &Request<'_>) -> Option<Program> {
        self.load_key(&request.key())
    }

    /// Stores a program, and drops the oldest entries if there are more than [`MAX_ENTRIES`].
    ///
    /// # Errors
    /// `PermissionDenied` if the directory is not ours alone, else `Internal`.
    pub fn store(&self, request: &Request<'_>, program: &Program) -> Result<(), CacheError> {
        self.store_key(&request.key(), program)
    }

    fn load_key(&self, key: &Key) -> Option<Program> {
        // Not blocking: a FIFO by the entry's name must not hold the container up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, self.directory.join(hex(key)), flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        let size = usize::try_from(stat.st_size).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || !is_ours_alone(&stat) || !(HEADER_BYTES..=MAX_FILE_BYTES).contains(&size) {
            return None;
        }
        let mut bytes = vec![0; size];
        if rustix::io::read(&file, &mut bytes[..]) != Ok(size) {
            return None;
        }
        decode(key, &bytes)
    }

    fn store_key(&self, key: &Key, program: &Program) -> Result<(), CacheError> {
        let directory = self.make_directory()?;
        let name = hex(key);
        // One thread of one process makes one entry at a time, so that the name is its own.
        let temporary = format!(".{}.{name}", rustix::process::getpid().as_raw_nonzero());
        let written = write(directory.as_fd(), &temporary, &encode(key, program)).and_then(|()| {
            rustix::fs::renameat(&directory, &temporary, &directory, &name).map_err(failed("renaming"))
        });
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty());
        }
        written?;
        evict(directory.as_fd())
    }

    fn make_directory(&self) -> Result<OwnedFd, CacheError> {
        let make = |path: &Path| match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno),
        };
        let made = make(&self.directory).or_else(|errno| match self.directory.parent() {
            Some(parent) if errno == Errno::NOENT => make(parent).and_then(|()| make(&self.directory)),
            _ => Err(errno),
        });
        made.map_err(failed("making the directory"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, &self.directory, flags, Mode::empty())
            .map_err(failed("opening the directory"))?;
        let stat = rustix::fs::fstat(&directory).map_err(failed("looking at the directory"))?;
        if !is_ours_alone(&stat) {
            return Err(CacheError::Untrusted { path: self.directory.clone() });
        }
        Ok(directory)
    }
}

impl Request<'_> {
    /// Compiles the profile.
    ///
    /// # Errors
    /// What is wrong with the profile.
    pub fn compile(&self) -> Result<Program, SeccompError> {
        let profile = serde_json::from_str(self.profile).map_err(|source| SeccompError::Json { source })?;
        if self.unknown == UnknownNames::Refuse {
            require_known(&profile)?;
        }
        compile(&profile, self.native)
    }

    fn key(&self) -> Key {
        let mut hash = Sha256::new();
        // Fixed lengths and names without a NUL come first, so that no two requests hash the same bytes.
        hash.update(FORMAT.to_ne_bytes());
        hash.update([self.unknown as u8]);
        hash.update(concat!(env!("CARGO_PKG_VERSION"), "\0"));
        hash.update(self.native.name());
        hash.update("\0");
        hash.update(self.profile);
        hash.finalize().into()
    }
}

pub(super) fn encode(key: &Key, program: &Program) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + program.instructions.len() * INSTRUCTION_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(FORMAT.to_ne_bytes());
    bytes.extend(program.flags.to_ne_bytes());
    bytes.extend((program.instructions.len() as u32).to_ne_bytes());
    bytes.extend(key);
    bytes.resize(HEADER_BYTES, 0);
    bytes.extend(program.to_bytes());
    let checksum = checksum(&bytes);
    bytes[CHECKSUM_OFFSET..HEADER_BYTES].copy_from_slice(&checksum);
    bytes
}

pub(super) fn decode(key: &Key, bytes: &[u8]) -> Option<Program> {
    let word = |offset: usize| Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?));
    let body = bytes.get(HEADER_BYTES..)?;
    let sound = bytes[..8] == MAGIC
        && word(8)? == FORMAT
        && word(16)? as usize * INSTRUCTION_BYTES == body.len()
        && bytes[KEY_OFFSET..CHECKSUM_OFFSET] == key[..]
        && bytes[CHECKSUM_OFFSET..HEADER_BYTES] == checksum(bytes);
    if !sound {
        return None;
    }
    let flags = word(12)?;
    let instructions = Program::instructions_from_bytes(body)?;
    Some(Program { instructions, flags, listener: flags & flag::NEW_LISTENER != 0 })
}

/// The checksum of an entry, whatever its place for the checksum has.
fn checksum(bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(&bytes[..CHECKSUM_OFFSET]);
    hash.update(&bytes[HEADER_BYTES..]);
    hash.finalize().into()
}

fn write(directory: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
    // A file of that name was left by a process that died, whose number came back.
    let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed("creating"))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("writing")(errno)),
        }
    }
    // Not synced: a torn entry is a miss.
    Ok(())
}

/// Removes the oldest files, so that [`MAX_ENTRIES`] remain.
fn evict(directory: BorrowedFd<'_>) -> Result<(), CacheError> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(directory).map_err(failed("listing"))? {
        let entry = entry.map_err(failed("listing"))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        // Another process may be dropping the same entries.
        if let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            entries.push(((stat.st_mtime, stat.st_mtime_nsec), name.to_owned()));
        }
    }
    entries.sort_unstable();
    for (_, name) in entries.iter().take(entries.len().saturating_sub(MAX_ENTRIES)) {
        let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
    }
    Ok(())
}

fn is_ours_alone(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & FOREIGN_WRITE == 0
}

fn failed(operation: &'static str) -> impl Fn(Errno) -> CacheError {
    move |source| CacheError::System { operation, source }
}

fn hex(key: &Key) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    key.iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests;
