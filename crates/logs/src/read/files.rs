//! The files of a log, oldest first.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use rustix::fs::{Mode, OFlags, fstat, open as open_file};
use rustix::io::Errno;

use super::Format;
use crate::Error;
use crate::rotate::{COMPRESSED, compressed, rotated};

/// Sources that follow each other.
pub(super) type Chain = VecDeque<Box<dyn BufRead>>;

const BUFFER_BYTES: usize = 64 << 10;
/// How often opening starts again because the log was rotated meanwhile.
const ATTEMPTS: usize = 5;
/// A rotation that was interrupted leaves one number unused.
const MAX_GAP: u32 = 2;
/// The most files that are opened.
const MAX_FILES: usize = 10_000;

pub(super) fn open(path: &Path, format: Format) -> Result<Chain, Error> {
    for _ in 1..ATTEMPTS {
        let (chain, current) = open_once(path, format)?;
        if identity(&open_plain(path)?, path)? == current {
            return Ok(chain);
        }
    }
    open_once(path, format).map(|(chain, _)| chain)
}

/// The newest is opened first: what a rotation moves away meanwhile is found under its next name, and left out there.
fn open_once(path: &Path, format: Format) -> Result<(Chain, (u64, u64)), Error> {
    let current = open_plain(path)?;
    let current_identity = identity(&current, path)?;
    let mut seen = vec![current_identity];
    let mut chain = Chain::from([boxed(current, path)]);
    let older = match format {
        Format::JsonFile => numbered(path),
        Format::Cri => dated(path)?,
    };
    for (file, path) in older {
        let found = identity(&file, &path)?;
        if !seen.contains(&found) {
            seen.push(found);
            chain.push_front(boxed(file, &path));
        }
    }
    Ok((chain, current_identity))
}

/// Docker's names: the plain file is the whole one when there are both.
fn numbered(path: &Path) -> Vec<(File, PathBuf)> {
    let mut found = Vec::new();
    let mut missing = 0;
    for number in 1.. {
        let names = [rotated(path, number), compressed(path, number)];
        let opened = names.into_iter().find_map(|name| Some((open_plain(&name).ok()?, name)));
        missing = if opened.is_some() { 0 } else { missing + 1 };
        found.extend(opened);
        if missing == MAX_GAP || found.len() == MAX_FILES {
            break;
        }
    }
    found
}

/// The kubelet's names: `0.log.20240301-000000`, with or without `.gz`, whose order is that of time. Newest first.
fn dated(path: &Path) -> Result<Vec<(File, PathBuf)>, Error> {
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
    Ok(names.into_iter().rev().filter_map(|path| Some((open_plain(&path).ok()?, path))).collect())
}

fn open_plain(path: &Path) -> Result<File, Error> {
    // Nobody waits for the writer of a FIFO.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fail = |errno| Error::File { action: "opening", path: path.to_owned(), errno };
    open_file(path, flags, Mode::empty()).map(File::from).map_err(fail)
}

fn identity(file: &File, path: &Path) -> Result<(u64, u64), Error> {
    let fail = |errno| Error::File { action: "looking at", path: path.to_owned(), errno };
    fstat(file).map(|status| (status.st_dev, status.st_ino)).map_err(fail)
}

fn boxed(file: File, path: &Path) -> Box<dyn BufRead> {
    let file = BufReader::with_capacity(BUFFER_BYTES, file);
    if path.extension().is_some_and(|extension| extension == &COMPRESSED[1..]) {
        return Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(file)));
    }
    Box::new(file)
}
