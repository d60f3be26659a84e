//! What is visible in the layers below: a lookup through whiteouts and opaque directories.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Stat, statat};
use rustix::io::Errno;

use crate::attributes::{is_dir, is_opaque, is_whiteout, open_dir, pin, reopen_dir};

/// How a tree says that something is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// It is not there.
    Plain,
    /// As in a layer of an overlay.
    Overlay { userxattr: bool },
}

/// Something below, or nothing.
#[derive(Debug)]
pub(crate) enum Below {
    Nothing,
    /// A directory, in the layers that have a part of it, nearest first.
    Directory(Vec<OwnedFd>, Box<Stat>),
    /// Something else, pinned, and the directory that it is in.
    Other(OwnedFd, Box<Stat>),
}

/// The roots of the layers.
pub(crate) fn roots(layers: &[BorrowedFd<'_>]) -> Result<Vec<OwnedFd>, Errno> {
    layers.iter().map(reopen_dir).collect()
}

/// What `name` is in a directory that consists of `dirs`, nearest first.
pub(crate) fn child(dirs: &[OwnedFd], name: &[u8], format: Format) -> Result<Below, Errno> {
    let mut parts = Vec::new();
    let mut first = None;
    for dir in dirs {
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        if format != Format::Plain && is_whiteout(&stat) {
            break;
        }
        if !is_dir(&stat) {
            if parts.is_empty() {
                return Ok(Below::Other(pin(dir.as_fd(), name)?, Box::new(stat)));
            }
            break;
        }
        let part = open_dir(dir.as_fd(), name)?;
        let hides = match format {
            Format::Plain => true,
            Format::Overlay { userxattr } => is_opaque(part.as_fd(), userxattr)?,
        };
        parts.push(part);
        first.get_or_insert(stat);
        if hides {
            break;
        }
    }
    Ok(first.map_or(Below::Nothing, |stat| Below::Directory(parts, Box::new(stat))))
}

/// What `path` is below `layer`, a layer that may hide it by whiteouts and opaque directories of its own.
pub(crate) fn visible(
    layer: BorrowedFd<'_>,
    lower: &[BorrowedFd<'_>],
    path: &[u8],
    userxattr: bool,
) -> Result<Below, Errno> {
    let format = Format::Overlay { userxattr };
    let mut own = Some(reopen_dir(layer)?);
    let mut dirs = roots(lower)?;
    let mut components = path.split(|&byte| byte == b'/').peekable();
    while let Some(name) = components.next() {
        own = match own {
            Some(dir) => match own_child(dir.as_fd(), name, userxattr)? {
                Own::Hides => return Ok(Below::Nothing),
                Own::Directory(dir) => Some(dir),
                Own::Nothing => None,
            },
            None => None,
        };
        match child(&dirs, name, format)? {
            Below::Directory(parts, _) if components.peek().is_some() => dirs = parts,
            _ if components.peek().is_some() => return Ok(Below::Nothing),
            below => return Ok(below),
        }
    }
    Ok(Below::Nothing)
}

enum Own {
    Nothing,
    Hides,
    Directory(OwnedFd),
}

fn own_child(dir: BorrowedFd<'_>, name: &[u8], userxattr: bool) -> Result<Own, Errno> {
    let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Own::Nothing),
        stat => stat?,
    };
    if is_dir(&stat) {
        let part = open_dir(dir, name)?;
        return Ok(if is_opaque(part.as_fd(), userxattr)? { Own::Hides } else { Own::Directory(part) });
    }
    Ok(if is_whiteout(&stat) { Own::Hides } else { Own::Nothing })
}
