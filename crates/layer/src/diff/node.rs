//! One file as an entry.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, Stat, major, minor, readlinkat};

use super::compare::open;
use super::writer::{Head, Short, Writer};
use crate::Error;
use crate::attributes::{is_portable, xattrs};

/// A file that is no directory.
pub(crate) struct Node<'a> {
    pub(crate) path: &'a [u8],
    /// Pins it.
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) stat: &'a Stat,
    /// The entry that it is a hard link to; empty for none.
    pub(crate) source: &'a [u8],
    pub(crate) mtime: i64,
    pub(crate) short: Short,
}

/// Writes the entry.
pub(crate) fn give(out: &mut Writer<'_>, node: &Node<'_>) -> Result<(), Error> {
    let Node { path, fd, stat, .. } = *node;
    let failed = |operation| move |errno| Error::system(operation, path, errno);
    let flag = match FileType::from_raw_mode(stat.st_mode) {
        _ if !node.source.is_empty() => b'1',
        FileType::Symlink => b'2',
        FileType::CharacterDevice => b'3',
        FileType::BlockDevice => b'4',
        FileType::Fifo => b'6',
        _ => b'0',
    };
    let link = match flag {
        b'1' => node.source.to_vec(),
        b'2' => readlinkat(fd, c"", Vec::new()).map_err(failed("readlink"))?.into_bytes(),
        _ => Vec::new(),
    };
    let device = matches!(flag, b'3' | b'4').then(|| (major(stat.st_rdev), minor(stat.st_rdev)));
    let xattrs = xattrs(fd, is_portable).map_err(failed("listxattr"))?;
    let size = if flag == b'0' { stat.st_size as u64 } else { 0 };
    out.head(&Head {
        flag,
        path,
        link: &link,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size,
        mtime: node.mtime,
        device: device.unwrap_or_default(),
        xattrs: &xattrs,
    })?;
    if size > 0 {
        let file = open(fd).map_err(failed("open"))?;
        out.data(file.as_fd(), size, path, node.short)?;
    }
    Ok(())
}
