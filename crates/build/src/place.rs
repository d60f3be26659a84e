//! Copying into the files of an image.
//!
//! Everything is made below the descriptor of the root of a mount that nobody else has: links in the image are followed inside it,
//! and files go through an archive in memory to the same code that applies layers, which follows none. The rules are those of
//! docker's classic builder: directories give their contents, missing directories have the mode 0755, times are kept.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use gantry_layer::{
    ApplyOptions, Archive, Compression, Inflate, InflateLimits, Limits, PackOptions, Target, TopEntry,
    Whiteouts, apply, pack,
};
use gantry_sys::path::{FdPath, make_dirs, open_in_root};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, openat, statat};
use rustix::io::Errno;

use crate::tree::{Source, list, reopen};
use crate::{Error, Result};

/// What is passed on at once, and how much of it waits.
const PIECE_BYTES: usize = 128 << 10;
const QUEUE: usize = 8;

/// Where something is copied to, and how.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Absolute. A slash at its end says that it is a directory.
    pub(crate) path: String,
    /// Whose it will be; None for the same owners as before.
    pub(crate) owner: Option<(u32, u32)>,
    /// The mode of all of it; None for the same modes as before.
    pub(crate) mode: Option<u32>,
    /// Whether archives are unpacked.
    pub(crate) archives: Archives,
}

/// What becomes of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Archives {
    /// They are files.
    Copied,
    /// They are unpacked.
    Unpacked,
}

/// Copies something below `root`. Blocks.
///
/// # Errors
/// Archive and Io.
pub(crate) fn copy(root: BorrowedFd<'_>, source: &Source, place: &Place) -> Result<()> {
    let exists_as_dir = is_dir(root, &place.path)?;
    if source.is_dir {
        make(root, &place.path, None)?;
        if let (false, Some(owner)) = (exists_as_dir, place.owner) {
            give(root, &place.path, owner)?;
        }
        transfer(root, source, b"", TopEntry::Left, &place.path, place.owner)?;
        if let Some(mode) = place.mode {
            let from = open_dir(source.file.as_fd(), "what is copied")?;
            let to = open(root, &place.path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            set_modes(from.as_fd(), to.as_fd(), mode)?;
        }
        return Ok(());
    }
    if place.archives == Archives::Unpacked && !source.is_fetched && unpack(root, source, place)? {
        return Ok(());
    }
    let (parent, name) = if exists_as_dir || place.path.ends_with('/') {
        (place.path.as_str(), source.name.clone())
    } else {
        let (parent, name) = place.path.rsplit_once('/').unwrap_or(("", &place.path));
        (parent, name.as_bytes().to_vec())
    };
    make(root, parent, place.owner)?;
    transfer(root, source, &name, TopEntry::Given, parent, place.owner)?;
    if let Some(mode) = place.mode {
        let dir = open(root, parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let name = CString::new(name).map_err(|_| Error::Invalid("a path has a zero byte".to_owned()))?;
        set_mode(dir.as_fd(), &name, mode)?;
    }
    Ok(())
}

/// Makes a directory and what is missing above it. Blocks.
///
/// # Errors
/// Io.
pub(crate) fn make(root: BorrowedFd<'_>, path: &str, owner: Option<(u32, u32)>) -> Result<()> {
    let Some(owner) = owner.filter(|owner| *owner != (0, 0)) else {
        return make_dirs(root, below(path).as_bytes()).map(drop).map_err(Error::errno("making", path));
    };
    let mut done = String::new();
    for part in below(path).split('/').filter(|part| !part.is_empty()) {
        done.push('/');
        done.push_str(part);
        if !is_dir(root, &done)? {
            make_dirs(root, below(&done).as_bytes()).map_err(Error::errno("making", &done))?;
            give(root, &done, owner)?;
        }
    }
    Ok(())
}

/// Whether there is a directory, links followed. Blocks.
///
/// # Errors
/// Io.
pub(crate) fn is_dir(root: BorrowedFd<'_>, path: &str) -> Result<bool> {
    match open(root, path, OFlags::PATH) {
        Ok(file) => {
            let stat = fstat(&file).map_err(Error::errno("looking at", path))?;
            Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        }
        Err(Error::Io { source, .. })
            if [Errno::NOENT, Errno::NOTDIR, Errno::LOOP]
                .iter()
                .any(|errno| source.raw_os_error() == Some(errno.raw_os_error())) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn below(path: &str) -> &str {
    path.trim_matches('/')
}

fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd> {
    let inner = below(path);
    let at = CString::new(if inner.is_empty() { "." } else { inner })
        .map_err(|_| Error::Invalid("a path has a zero byte".to_owned()))?;
    open_in_root(root, &at, flags).map_err(Error::errno("opening", path))
}

fn open_dir(file: BorrowedFd<'_>, path: &str) -> Result<OwnedFd> {
    reopen(file, OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::errno("opening", path))
}

fn give(root: BorrowedFd<'_>, path: &str, (uid, gid): (u32, u32)) -> Result<()> {
    let file = open(root, path, OFlags::PATH)?;
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    chownat(&file, c"", uid, gid, AtFlags::EMPTY_PATH).map_err(Error::errno("changing the owner of", path))
}

fn options(base: &str, owner: Option<(u32, u32)>) -> ApplyOptions {
    ApplyOptions { owner, base: below(base).as_bytes().to_vec(), ..ApplyOptions::default() }
}

fn failed(action: &'static str) -> impl FnOnce(gantry_layer::Error) -> Error {
    move |source| Error::Archive { action: action.to_owned(), source }
}

/// Copies by an archive that one thread writes and another one reads.
fn transfer(
    root: BorrowedFd<'_>,
    source: &Source,
    name: &[u8],
    top: TopEntry,
    base: &str,
    owner: Option<(u32, u32)>,
) -> Result<()> {
    let target = Target { root, whiteouts: Whiteouts::None, lower: &[] };
    let (send, receive) = sync_channel(QUEUE);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut out = PipeWriter { send, buffer: Vec::with_capacity(PIECE_BYTES) };
            let options = PackOptions { top, ..PackOptions::default() };
            let packed = pack(source.file.as_fd(), name, &mut out, &options);
            let flushed = out.flush();
            packed
                .map_err(failed("reading what is copied"))
                .and_then(|_| flushed.map_err(Error::io("reading", "what is copied")))
        });
        let mut reader = PipeReader { receive, current: io::Cursor::new(Vec::new()) };
        let applied = apply(&mut reader, &target, &options(base, owner)).map_err(failed("copying"));
        drop(reader);
        let packed = writer.join().map_err(|_| Error::Cancelled)?;
        // The reader's error is the cause of the writer's, but a writer that failed leaves an archive without an end.
        match (applied, packed) {
            (Ok(_), packed) => packed,
            (Err(error), Ok(())) => Err(error),
            (
                Err(error),
                Err(Error::Archive { source: gantry_layer::Error::Write(_), .. } | Error::Io { .. }),
            ) => Err(error),
            (Err(_), Err(packed)) => Err(packed),
        }
    })
}

struct PipeWriter {
    send: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES));
        self.send.send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

struct PipeReader {
    receive: Receiver<Vec<u8>>,
    current: io::Cursor<Vec<u8>>,
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.current.read(buffer)? {
                0 => match self.receive.recv() {
                    Ok(piece) => self.current = io::Cursor::new(piece),
                    Err(_) => return Ok(0),
                },
                count => return Ok(count),
            }
        }
    }
}

/// Unpacks a file that is an archive; false for one that is none.
fn unpack(root: BorrowedFd<'_>, source: &Source, place: &Place) -> Result<bool> {
    let name = String::from_utf8_lossy(&source.name).into_owned();
    let open = || -> Result<File> {
        let file = reopen(source.file.as_fd(), OFlags::RDONLY);
        Ok(file.map_err(Error::errno("opening", &name))?.into())
    };
    let inflate = |file| Inflate::new(file, Compression::Detect, InflateLimits::archives());
    let limits = Limits::default();
    let mut probe = inflate(open()?);
    if !matches!(Archive::new(&mut probe, &limits).next_entry(), Ok(Some(_))) {
        return Ok(false);
    }
    make(root, &place.path, None)?;
    let target = Target { root, whiteouts: Whiteouts::None, lower: &[] };
    let applied = apply(&mut inflate(open()?), &target, &options(&place.path, None));
    applied.map_err(|source| Error::Archive { action: format!("unpacking {name}"), source })?;
    Ok(true)
}

/// Gives everything that was copied from `from` to `to` a mode.
fn set_modes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, mode: u32) -> Result<()> {
    for (name, is_dir) in list(from, "what is copied")? {
        let path = name.to_string_lossy().into_owned();
        set_mode(to, &name, mode)?;
        if is_dir {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner =
                |dir| openat(dir, &name, flags, Mode::empty()).map_err(Error::errno("opening", &path));
            set_modes(inner(from)?.as_fd(), inner(to)?.as_fd(), mode)?;
        }
    }
    Ok(())
}

/// Gives something a mode that is no link.
fn set_mode(dir: BorrowedFd<'_>, name: &std::ffi::CStr, mode: u32) -> Result<()> {
    let path = name.to_string_lossy().into_owned();
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::errno("looking at", &path))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty()).map_err(Error::errno("opening", &path))?;
    let at = FdPath::new(file.as_fd());
    rustix::fs::chmod(at.as_cstr(), Mode::from_raw_mode(mode))
        .map_err(Error::errno("changing the mode of", &path))
}
