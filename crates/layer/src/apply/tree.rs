//! From names to directories: the descriptors of the last entry's parents are kept for the next entry.
//!
//! Each step opens one component below a descriptor, and never a link. Links are followed here, by their text, from the
//! root or the directory that they are in: `..` in them is taken from the name of the real directory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, statat, unlinkat};
use rustix::io::Errno;

use super::Whiteouts;
use super::name::{join, split};
use super::record::Record;
use crate::Error;
use crate::attributes::{self, is_symlink, is_whiteout, make_opaque};

/// Descriptors that are kept. A tree may be deeper: then some are opened again.
const MAX_OPEN: usize = 32;
/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;

const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory below the root.
pub(super) struct Dir {
    pub(super) fd: OwnedFd,
    /// Its name from the root, without links in it.
    pub(super) path: Vec<u8>,
    /// Its group, which what is made in it may get.
    pub(super) gid: u32,
}

impl Dir {
    pub(super) fn new(fd: OwnedFd, path: Vec<u8>) -> Result<Self, Error> {
        let stat = fstat(&fd).map_err(|errno| Error::system("stat", &path, errno))?;
        Ok(Self { fd, path, gid: stat.st_gid })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The real name of something in it.
    pub(super) fn join(&self, name: &[u8]) -> Vec<u8> {
        join(&self.path, name)
    }

    fn again(&self) -> Result<Self, Error> {
        let fd = self.fd.try_clone().map_err(|error| {
            Error::system("dup", &self.path, Errno::from_io_error(&error).unwrap_or(Errno::MFILE))
        })?;
        Ok(Self { fd, path: self.path.clone(), gid: self.gid })
    }
}

struct Step {
    /// Where its component ends in the name that was resolved last.
    end: usize,
    dir: Dir,
}

pub(super) struct Tree {
    whiteouts: Whiteouts,
    /// Who owns directories that no entry gives, where that is not the caller.
    owner: Option<(u32, u32)>,
    root: Dir,
    /// The name of the last parent, and the directories on the way to it.
    last: Vec<u8>,
    steps: Vec<Step>,
    followed: bool,
}

impl Tree {
    pub(super) fn new(
        root: BorrowedFd<'_>,
        whiteouts: Whiteouts,
        owner: Option<(u32, u32)>,
    ) -> Result<Self, Error> {
        let fd = openat(root, c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::system("open", b".", errno))?;
        let root = Dir::new(fd, Vec::new())?;
        Ok(Self { whiteouts, owner, root, last: Vec::new(), steps: Vec::new(), followed: false })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Makes the directory of this clean name current; what is missing of it is made.
    pub(super) fn resolve(&mut self, path: &[u8], record: &mut Record) -> Result<(), Error> {
        while let Some(step) = self.steps.last() {
            let same = path.get(..step.end) == Some(&self.last[..step.end]);
            if same && path.get(step.end).is_none_or(|&byte| byte == b'/') {
                break;
            }
            self.steps.pop();
        }
        let mut start = self.steps.last().map_or(0, |step| step.end);
        self.last.truncate(start);
        self.last.extend_from_slice(&path[start..]);
        while start < path.len() {
            start += usize::from(start > 0);
            let end = memchr::memchr(b'/', &path[start..]).map_or(path.len(), |slash| start + slash);
            let dir = self.enter(&path[start..end], record)?;
            self.push(Step { end, dir });
            start = end;
        }
        Ok(())
    }

    /// The directory that was resolved last.
    pub(super) fn current(&self) -> &Dir {
        self.steps.last().map_or(&self.root, |step| &step.dir)
    }

    /// Enters a directory that was made in the current one.
    pub(super) fn descend(&mut self, name: &[u8], dir: Dir) {
        if !self.last.is_empty() {
            self.last.push(b'/');
        }
        self.last.extend_from_slice(name);
        self.push(Step { end: self.last.len(), dir });
    }

    fn push(&mut self, step: Step) {
        if self.steps.len() >= MAX_OPEN {
            self.steps.pop();
        }
        self.steps.push(step);
    }

    /// Something was replaced or removed: a link that was followed may be another one now.
    pub(super) fn changed(&mut self) {
        if self.followed {
            self.steps.clear();
            self.last.clear();
            self.followed = false;
        }
    }

    fn enter(&mut self, name: &[u8], record: &mut Record) -> Result<Dir, Error> {
        match self.step(self.current(), name, record)? {
            Found::Directory(dir) => Ok(dir),
            Found::Link(target) => {
                self.followed = true;
                self.follow(self.current().again()?, target, record)
            }
        }
    }

    fn step(&self, dir: &Dir, name: &[u8], record: &mut Record) -> Result<Found, Error> {
        let path = dir.join(name);
        match openat(&dir.fd, name, DIRECTORY, Mode::empty()) {
            Ok(fd) => {
                record.wrote(&path);
                return Dir::new(fd, path).map(Found::Directory);
            }
            Err(Errno::NOENT) => return self.imply(dir, name, path, false, record),
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(Error::system("open", &path, errno)),
        }
        let stat = statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| Error::system("stat", &path, errno))?;
        if is_symlink(&stat) {
            let target = rustix::fs::readlinkat(&dir.fd, name, Vec::new())
                .map_err(|errno| Error::system("readlink", &path, errno))?;
            return Ok(Found::Link(target.into_bytes()));
        }
        if matches!(self.whiteouts, Whiteouts::Overlay { .. }) && is_whiteout(&stat) {
            unlinkat(&dir.fd, name, AtFlags::empty())
                .map_err(|errno| Error::system("unlink", &path, errno))?;
            return self.imply(dir, name, path, true, record);
        }
        Err(Error::invalid(&path, "not a directory, but something is in it"))
    }

    fn imply(
        &self,
        dir: &Dir,
        name: &[u8],
        path: Vec<u8>,
        hides: bool,
        record: &mut Record,
    ) -> Result<Found, Error> {
        let failed = |operation| {
            let path = path.clone();
            move |errno| Error::system(operation, &path, errno)
        };
        mkdirat(&dir.fd, name, Mode::from_raw_mode(0o755)).map_err(failed("mkdir"))?;
        let fd = openat(&dir.fd, name, DIRECTORY, Mode::empty()).map_err(failed("open"))?;
        if let Some((uid, gid)) = self.owner {
            attributes::chown(fd.as_fd(), uid, gid).map_err(failed("chown"))?;
        }
        attributes::chmod(fd.as_fd(), 0o755).map_err(failed("chmod"))?;
        if let (true, Whiteouts::Overlay { userxattr }) = (hides, self.whiteouts) {
            make_opaque(fd.as_fd(), userxattr).map_err(failed("setxattr"))?;
        }
        record.implied(&path)?;
        record.wrote(&path);
        Dir::new(fd, path).map(Found::Directory)
    }

    /// Goes on from `dir` by the text of a link.
    fn follow(&self, mut dir: Dir, target: Vec<u8>, record: &mut Record) -> Result<Dir, Error> {
        let link = dir.path.clone();
        let mut rest = target;
        let mut links = 1;
        let mut at = 0;
        if rest.starts_with(b"/") {
            dir = self.root.again()?;
        }
        while at < rest.len() {
            let end = memchr::memchr(b'/', &rest[at..]).map_or(rest.len(), |slash| at + slash);
            let (name, next) = (rest[at..end].to_vec(), end + 1);
            match &name[..] {
                b"" | b"." => {}
                b".." => dir = self.reopen(split(&dir.path).0)?,
                _ => match self.step(&dir, &name, record)? {
                    Found::Directory(found) => dir = found,
                    Found::Link(target) => {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(Error::system("open", &join(&link, &name), Errno::LOOP));
                        }
                        if target.starts_with(b"/") {
                            dir = self.root.again()?;
                        }
                        let after = rest.get(next..).unwrap_or_default();
                        rest = [&target[..], b"/", after].concat();
                        at = 0;
                        continue;
                    }
                },
            }
            at = next;
        }
        Ok(dir)
    }

    /// Opens a real directory by its name.
    pub(super) fn reopen(&self, path: &[u8]) -> Result<Dir, Error> {
        if path.is_empty() {
            return self.root.again();
        }
        let fd = open_real(self.root.as_fd(), path).map_err(|errno| Error::system("open", path, errno))?;
        Dir::new(fd, path.to_vec())
    }
}

/// Opens a directory by its name from the root, with `O_PATH`, where no component may be a link.
pub(crate) fn open_real(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        // EAGAIN: a rename somewhere on the system, which has an end.
        match openat2(root, path, DIRECTORY, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

enum Found {
    Directory(Dir),
    Link(Vec<u8>),
}
