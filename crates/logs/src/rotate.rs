//! Rotation: `path` becomes `path.1`, and so on, and the oldest goes.
//!
//! Each step is one rename or unlink, oldest file first, so that whoever dies between two leaves every line in some
//! file, and at most one file's number unused.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat, rename, unlink};
use rustix::io::Errno;

use crate::Error;
use crate::file::{File, Records, with_suffix};

/// What Docker's rotated and compressed files end with.
pub(crate) const COMPRESSED: &str = ".gz";

/// The `number`th newest of the rotated files.
pub(crate) fn rotated(path: &Path, number: u32) -> PathBuf {
    with_suffix(path, &format!(".{number}"))
}

/// The same, compressed.
pub(crate) fn compressed(path: &Path, number: u32) -> PathBuf {
    with_suffix(path, &format!(".{number}{COMPRESSED}"))
}

/// Moves the log out of the way and opens a new one.
///
/// With one file alone an empty one takes its place; it is not truncated, so that who reads it can read on.
pub(crate) fn rotate(path: &Path, max_files: u32, records: Records) -> Result<File, Error> {
    if max_files < 2 {
        let empty = with_suffix(path, ".new");
        remove(&empty)?;
        let file = File::open(&empty, records)?;
        shift(&empty, path)?;
        return Ok(file);
    }
    for name in [rotated, compressed] {
        remove(&name(path, max_files - 1))?;
    }
    for number in (1..max_files - 1).rev() {
        for name in [rotated, compressed] {
            shift(&name(path, number), &name(path, number + 1))?;
        }
    }
    shift(path, &rotated(path, 1))?;
    File::open(path, records).inspect_err(|_| {
        // The old file is still open and goes on being the log: it gets its name back.
        let _ = rename(rotated(path, 1), path);
    })
}

/// The oldest rotated file that is not compressed.
pub(crate) fn oldest_plain(path: &Path, max_files: u32) -> Option<u32> {
    let exists =
        |number: &u32| accessat(CWD, rotated(path, *number), Access::EXISTS, AtFlags::empty()).is_ok();
    (1..max_files).rev().find(exists)
}

fn shift(from: &Path, to: &Path) -> Result<(), Error> {
    absent_is_fine(rename(from, to), "rotating", from)
}

pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    absent_is_fine(unlink(path), "removing", path)
}

fn absent_is_fine(result: Result<(), Errno>, action: &'static str, path: &Path) -> Result<(), Error> {
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::File { action, path: path.to_owned(), errno }),
    }
}
