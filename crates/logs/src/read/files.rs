//! The files of a log, oldest first.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, SeekFrom, Stat, fstat, open as open_file, seek};
use rustix::io::{Errno, pread};

use super::Format;
use super::source::Source;
use crate::Error;
use crate::rotate::{COMPRESSED, compressed, rotated};

/// How often opening starts again because the log was rotated meanwhile.
const ATTEMPTS: usize = 5;
/// A rotation that was interrupted leaves one number unused.
const MAX_GAP: u32 = 2;
/// The most files that are opened.
const MAX_FILES: usize = 10_000;
/// How much of two files is compared to find out whether one is the other, compressed.
const COMPARED_BYTES: usize = 4096;

/// A file of a log.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) is_compressed: bool,
    pub(crate) identity: Identity,
}

/// The device and number of a file, which another may have once it is gone.
pub(crate) type Identity = (u64, u64);

impl Opened {
    /// Reads it before it is read: `look` gets its bytes from the start.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&mut Source) -> io::Result<T>) -> io::Result<T> {
        let copy = Self { file: self.file.try_clone()?, ..*self };
        let found = look(&mut Source::new(copy));
        // Both descriptors have one place in the file.
        seek(&self.file, SeekFrom::Start(0))?;
        found
    }
}

/// Opens a log and all the files that it was rotated through, oldest first.
pub(crate) fn open(path: &Path, format: Format) -> Result<VecDeque<Opened>, Error> {
    for _ in 1..ATTEMPTS {
        let chain = open_once(path, format)?;
        let current = chain.back().map(|opened| opened.identity);
        if Some(open_plain(path)?.identity) == current {
            return Ok(chain);
        }
    }
    open_once(path, format)
}

/// The newest is opened first: what a rotation moves away meanwhile is found under its next name, and left out there.
fn open_once(path: &Path, format: Format) -> Result<VecDeque<Opened>, Error> {
    let current = open_plain(path)?;
    let mut chain = VecDeque::from([current]);
    for file in older(path, format)? {
        if !chain.iter().any(|seen| seen.identity == file.identity) {
            chain.push_front(file);
        }
    }
    Ok(chain)
}

/// The files that a log went on in after `held`, oldest first; none if it still is the log.
///
/// A compressed file may be `held` itself, which was removed when it had been compressed. `known` are files that were older
/// when `held` was opened: a log that has one file alone may lie beside what others were rotated to.
pub(crate) fn newer(
    path: &Path,
    format: Format,
    held: &File,
    known: &[Identity],
) -> Result<VecDeque<Opened>, Error> {
    for _ in 0..ATTEMPTS {
        let mut found = VecDeque::new();
        let current = match open_plain(path) {
            // Between the two steps of a rotation, nothing has been written to the new one.
            Err(Error::File { errno: Errno::NOENT, .. }) => return Ok(found),
            current => current?,
        };
        let status = stat(held, path)?;
        let identity = self::identity(&status);
        if current.identity == identity {
            return Ok(found);
        }
        let newest = current.identity;
        found.push_front(current);
        for file in older(path, format)? {
            let is_older = || known.contains(&file.identity) && was_written_before(&file, &status);
            if file.identity == identity || is_compressed(&file, held) || is_older() {
                break;
            }
            if !found.iter().any(|seen: &Opened| seen.identity == file.identity) {
                found.push_front(file);
            }
        }
        if open_plain(path).is_ok_and(|current| current.identity == newest) {
            return Ok(found);
        }
    }
    // It is rotated faster than it is looked at; the next attempt is the caller's.
    Ok(VecDeque::new())
}

fn was_written_before(file: &Opened, held: &Stat) -> bool {
    let at = |status: &Stat| (status.st_mtime, status.st_mtime_nsec);
    fstat(&file.file).is_ok_and(|status| at(&status) <= at(held))
}

/// Whether a compressed file is `held`: they are equally long and begin alike.
fn is_compressed(file: &Opened, held: &File) -> bool {
    if !file.is_compressed {
        return false;
    }
    let (Ok(status), Ok(held_status)) = (fstat(&file.file), fstat(held)) else { return false };
    // RFC 1952, 2.3.1: the last four bytes are the length modulo 2 to the 32nd.
    let mut length = [0; 4];
    let at = u64::try_from(status.st_size).unwrap_or(0).saturating_sub(4);
    if !matches!(pread(&file.file, &mut length, at), Ok(4))
        || u32::from_le_bytes(length) != held_status.st_size as u32
    {
        return false;
    }
    let mut start = vec![0; COMPARED_BYTES];
    let len = pread(held, &mut start, 0).unwrap_or(0);
    let mut other = vec![0; len];
    file.peek(|source| source.read_exact(&mut other)).is_ok() && other == start[..len]
}

/// The files that a log was rotated through, newest first.
fn older(path: &Path, format: Format) -> Result<Vec<Opened>, Error> {
    match format {
        Format::JsonFile | Format::Local => Ok(numbered(path)),
        Format::Cri => dated(path),
    }
}

/// Docker's names: the plain file is the whole one when there are both.
fn numbered(path: &Path) -> Vec<Opened> {
    let mut found = Vec::new();
    let mut missing = 0;
    for number in 1.. {
        let names = [rotated(path, number), compressed(path, number)];
        let opened = names.into_iter().find_map(|name| open_plain(&name).ok());
        missing = if opened.is_some() { 0 } else { missing + 1 };
        found.extend(opened);
        if missing == MAX_GAP || found.len() == MAX_FILES {
            break;
        }
    }
    found
}
/// The kubelet's names: `0.log.20240301-000000`, with or without `.gz`, whose order is that of time. Newest first.
fn dated(path: &Path) -> Result<Vec<Opened>, Error> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let prefix = [name.as_encoded_bytes(), b"."].concat();
    let fail = |error: std::io::Error| Error::File {
        action: "listing the directory of",
        path: path.to_owned(),
        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(fail)?.take(MAX_FILES) {
        let path = entry.map_err(fail)?.path();
        let suffix = path.file_name().and_then(|name| name.as_encoded_bytes().strip_prefix(&prefix[..]));
        // `.tmp` is a file that the kubelet is compressing.
        if suffix.is_some_and(|suffix| suffix.starts_with(b"2") && !suffix.ends_with(b".tmp")) {
            names.push(path);
        }
    }
    names.sort();
    let plain: Vec<_> = names.iter().map(|path| path.as_os_str().as_encoded_bytes().to_vec()).collect();
    names.retain(|path| {
        let whole = path.as_os_str().as_encoded_bytes().strip_suffix(COMPRESSED.as_bytes());
        whole.is_none_or(|whole| !plain.iter().any(|name| name == whole))
    });
    Ok(names.into_iter().rev().filter_map(|path: PathBuf| open_plain(&path).ok()).collect())
}

fn open_plain(path: &Path) -> Result<Opened, Error> {
    // Nobody waits for the writer of a FIFO.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fail = |errno| Error::File { action: "opening", path: path.to_owned(), errno };
    let file = open_file(path, flags, Mode::empty()).map(File::from).map_err(fail)?;
    let identity = identity(&stat(&file, path)?);
    let is_compressed = path.extension().is_some_and(|extension| extension == &COMPRESSED[1..]);
    Ok(Opened { file, is_compressed, identity })
}

fn stat(file: &File, path: &Path) -> Result<Stat, Error> {
    fstat(file).map_err(|errno| Error::File { action: "looking at", path: path.to_owned(), errno })
}

fn identity(status: &Stat) -> Identity {
    (status.st_dev, status.st_ino)
}
