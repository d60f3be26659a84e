//! A copy of a tree with all that its files are: owners, modes, attributes, holes, links, devices, times.
//!
//! For what an image has where a volume is mounted (CVE-2022-23648): only what is below the descriptor of the one directory is
//! read, and only what is below that of the other is made. No link is followed.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, Stat, fstat, linkat, mkdirat};
use rustix::io::Errno;

use crate::apply::name::{join, split};
use crate::apply::tree::open_real;
use crate::attributes::{self, is_dir, list, open_dir, pin, reopen_dir};
use crate::rebase::copy_up;
use crate::{Error, Limits};

/// Directories above the current one whose descriptors are kept. Those of deeper ones are opened again.
const MAX_OPEN: usize = 16;
/// What the name of a file with several costs beyond its bytes.
const NAME_OVERHEAD: usize = 96;

/// Copies what is in the directory `from` into the empty directory `to`, and gives `to` its owner, mode, attributes and times.
///
/// # Errors
/// What the kernel refuses, `EEXIST` for a directory that is not empty among it; ResourceExhausted for a limit.
///
/// # Privilege
/// Root, for owners and devices.
pub fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>, limits: &Limits) -> Result<(), Error> {
    let failed = |errno| Error::system("open", b".", errno);
    let (from, to) = (reopen_dir(from).map_err(failed)?, reopen_dir(to).map_err(failed)?);
    let (linked, names) = (HashMap::new(), list(from.as_fd()).map_err(failed)?);
    let open = Some((from.try_clone().map_err(dup)?, to.try_clone().map_err(dup)?));
    let mut copy = Copy { from, to, linked, bytes: 0, entries: 0, limits };
    let mut frames = vec![Frame { path: Vec::new(), names, next: 0, open }];
    while let Some(frame) = frames.last_mut() {
        copy.reopen(frame)?;
        let Some(name) = frame.names.get(frame.next).cloned() else {
            // Last: what is made in it changes its times.
            copy.finish(frame)?;
            frames.pop();
            continue;
        };
        frame.next += 1;
        if let Some(child) = copy.visit(frame, &name)? {
            let deep = frames.len() > MAX_OPEN;
            if let (true, Some(frame)) = (deep, frames.last_mut()) {
                frame.open = None;
            }
            frames.push(child);
        }
    }
    Ok(())
}

fn dup(error: std::io::Error) -> Error {
    Error::system("dup", b".", Errno::from_io_error(&error).unwrap_or(Errno::MFILE))
}

struct Copy<'a> {
    from: OwnedFd,
    to: OwnedFd,
    /// The first name of each file with several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    bytes: usize,
    entries: u64,
    limits: &'a Limits,
}

/// A directory that is being copied.
struct Frame {
    path: Vec<u8>,
    names: Vec<Vec<u8>>,
    next: usize,
    open: Option<(OwnedFd, OwnedFd)>,
}

impl Copy<'_> {
    fn reopen(&self, frame: &mut Frame) -> Result<(), Error> {
        if frame.open.is_none() {
            let open = |root: &OwnedFd| open_real(root.as_fd(), &frame.path).and_then(reopen_dir);
            let failed = |errno| Error::system("open", &frame.path, errno);
            frame.open = Some((open(&self.from).map_err(failed)?, open(&self.to).map_err(failed)?));
        }
        Ok(())
    }

    fn finish(&self, frame: &Frame) -> Result<(), Error> {
        let Some((from, to)) = &frame.open else { return Ok(()) };
        attributes::copy(from.as_fd(), to.as_fd())
            .map_err(|errno| Error::system("copy the attributes of", &frame.path, errno))
    }

    fn visit(&mut self, frame: &Frame, name: &[u8]) -> Result<Option<Frame>, Error> {
        let Some((from, to)) = &frame.open else { return Ok(None) };
        let path = join(&frame.path, name);
        let failed = |operation| {
            let path = path.clone();
            move |errno| Error::system(operation, &path, errno)
        };
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::Limit { what: "files", limit: self.limits.entries });
        }
        let pinned = pin(from.as_fd(), name).map_err(failed("open"))?;
        let stat = fstat(&pinned).map_err(failed("stat"))?;
        if is_dir(&stat) {
            mkdirat(to, name, Mode::RWXU).map_err(failed("mkdir"))?;
            let from = reopen_dir(&pinned).map_err(failed("open"))?;
            let to = open_dir(to.as_fd(), name).map_err(failed("open"))?;
            let names = list(from.as_fd()).map_err(failed("read"))?;
            return Ok(Some(Frame { path, names, next: 0, open: Some((from, to)) }));
        }
        self.file(&pinned, &stat, to, name, &path)?;
        Ok(None)
    }

    fn file(
        &mut self,
        pinned: &OwnedFd,
        stat: &Stat,
        to: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), Error> {
        let failed = |operation| move |errno| Error::system(operation, path, errno);
        if stat.st_size as u64 > self.limits.file_bytes {
            return Err(Error::Limit { what: "bytes of a file", limit: self.limits.file_bytes });
        }
        let inode = (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
        if let Some(first) = inode.and_then(|inode| self.linked.get(&inode)) {
            let (parent, first) = split(first);
            let dir =
                if parent.is_empty() { reopen_dir(&self.to) } else { open_real(self.to.as_fd(), parent) };
            let dir = dir.map_err(failed("open"))?;
            return linkat(dir, first, to, name, AtFlags::empty()).map_err(failed("link"));
        }
        copy_up(pinned, stat, to, name).map_err(failed("copy"))?;
        if let Some(inode) = inode {
            self.bytes += path.len() + NAME_OVERHEAD;
            let limit = self.limits.names_bytes;
            if self.bytes > limit {
                return Err(Error::Limit { what: "bytes of names of hard links", limit: limit as u64 });
            }
            self.linked.insert(inode, path.to_vec());
        }
        Ok(())
    }
}
