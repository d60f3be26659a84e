//! The walk over a tree and what is below it, in order of names.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::path::FdPath;
use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};
use rustix::io::Errno;

use super::compare::{same_attributes, same_file};
use super::node::{Node, give};
use super::writer::{Head, Short, Writer};
use super::{DiffOptions, DiffSummary};
use crate::Error;
use crate::apply::name::{join, split};
use crate::apply::tree::open_real;
use crate::attributes::{self, is_dir, is_opaque, is_portable, is_whiteout, list, reopen_dir, xattrs};
use crate::error::text;
use crate::lowers::{self, Below, Format};

/// Directories above the current one whose descriptors are kept. Those of deeper ones are opened again.
const MAX_OPEN: usize = 16;

pub(super) struct Walk<'a> {
    root: OwnedFd,
    lower: &'a [BorrowedFd<'a>],
    format: Format,
    options: &'a DiffOptions,
    out: Writer<'a>,
    /// Directories that have an entry.
    given: HashSet<Vec<u8>>,
    /// The first name of each file with several that has an entry.
    sources: HashMap<(u64, u64), Vec<u8>>,
    /// Names of files with several that are as they were, until one of the others is not.
    unchanged: HashMap<(u64, u64), Vec<Vec<u8>>>,
}

/// A directory that is being walked.
struct Frame {
    path: Vec<u8>,
    names: Vec<Vec<u8>>,
    next: usize,
    /// It hides what is below.
    alone: bool,
    open: Option<Open>,
}

struct Open {
    upper: OwnedFd,
    lower: Vec<OwnedFd>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        root: BorrowedFd<'_>,
        lower: &'a [BorrowedFd<'a>],
        format: Format,
        out: &'a mut dyn std::io::Write,
        options: &'a DiffOptions,
    ) -> Result<Self, Error> {
        let root = reopen_dir(root).map_err(|errno| Error::system("open", b".", errno))?;
        let (given, sources, unchanged) = (HashSet::new(), HashMap::new(), HashMap::new());
        Ok(Self { root, lower, format, options, out: Writer::new(out), given, sources, unchanged })
    }

    pub(super) fn run(mut self) -> Result<DiffSummary, Error> {
        let failed = |errno| Error::system("open", b".", errno);
        let lower = lowers::roots(self.lower).map_err(failed)?;
        let upper = reopen_dir(&self.root).map_err(failed)?;
        let alone = self.is_opaque(&upper).map_err(failed)?;
        let mut frames = vec![self.frame(Vec::new(), Open { upper, lower }, alone)?];
        while let Some(frame) = frames.last_mut() {
            let Some(name) = frame.names.get(frame.next).cloned() else {
                frames.pop();
                continue;
            };
            frame.next += 1;
            self.reopen(frame)?;
            let child = self.visit(frame, &name)?;
            if let Some(child) = child {
                let deep = frames.len() > MAX_OPEN;
                if let (true, Some(frame)) = (deep, frames.last_mut()) {
                    frame.open = None;
                }
                frames.push(child);
            }
        }
        self.out.finish()
    }

    /// The names of a directory, and those below that it may lack.
    fn frame(&mut self, path: Vec<u8>, open: Open, alone: bool) -> Result<Frame, Error> {
        let failed = |errno| Error::system("read", &path, errno);
        let mut names = list(open.upper.as_fd()).map_err(failed)?;
        if self.format == Format::Plain {
            for dir in &open.lower {
                names.extend(list(dir.as_fd()).map_err(failed)?);
            }
            names.sort_unstable();
            names.dedup();
        }
        if let (true, Some(_)) = (alone, self.some_below(&open.lower).map_err(failed)?) {
            self.whiteout(&join(&path, b".wh..wh..opq"))?;
        }
        let lower = if alone { Vec::new() } else { open.lower };
        Ok(Frame { path, names, next: 0, alone, open: Some(Open { lower, ..open }) })
    }

    /// Any name that is visible below.
    fn some_below(&self, lower: &[OwnedFd]) -> Result<Option<Vec<u8>>, Errno> {
        for dir in lower {
            for name in list(dir.as_fd())? {
                if !matches!(lowers::child(lower, &name, self.format)?, Below::Nothing) {
                    return Ok(Some(name));
                }
            }
        }
        Ok(None)
    }

    fn is_opaque(&self, dir: &OwnedFd) -> Result<bool, Errno> {
        match self.format {
            Format::Plain => Ok(false),
            Format::Overlay { userxattr } => is_opaque(dir.as_fd(), userxattr),
        }
    }

    fn reopen(&self, frame: &mut Frame) -> Result<(), Error> {
        if frame.open.is_some() {
            return Ok(());
        }
        let failed = |errno| Error::system("open", &frame.path, errno);
        let upper = reopen_dir(open_real(self.root.as_fd(), &frame.path).map_err(failed)?).map_err(failed)?;
        let mut lower = if frame.alone { Vec::new() } else { lowers::roots(self.lower).map_err(failed)? };
        for component in frame.path.split(|&byte| byte == b'/') {
            lower = match lowers::child(&lower, component, self.format).map_err(failed)? {
                Below::Directory(parts, _) => parts,
                _ => Vec::new(),
            };
        }
        frame.open = Some(Open { upper, lower });
        Ok(())
    }

    /// One name: writes what it is, if that is new; a directory is walked next.
    fn visit(&mut self, frame: &Frame, name: &[u8]) -> Result<Option<Frame>, Error> {
        let Some(dirs) = &frame.open else { return Ok(None) };
        let path = join(&frame.path, name);
        let failed = |operation| {
            let path = path.clone();
            move |errno| Error::system(operation, &path, errno)
        };
        let below = lowers::child(&dirs.lower, name, self.format).map_err(failed("look below"))?;
        let stat = match statat(&dirs.upper, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if self.format != Format::Plain && is_whiteout(&stat) => None,
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(failed("stat")(errno)),
        };
        let Some(stat) = stat else {
            if !matches!(below, Below::Nothing) {
                self.whiteout(&join(&frame.path, &[b".wh.", name].concat()))?;
            }
            return Ok(None);
        };
        if name.starts_with(b".wh.") {
            return Err(Error::invalid(&path, "in a layer, its name would mean that a file is gone"));
        }
        if is_dir(&stat) {
            return self.directory(dirs, name, path, below).map(Some);
        }
        self.file(dirs, name, path, &stat, below)?;
        Ok(None)
    }

    fn directory(&mut self, dirs: &Open, name: &[u8], path: Vec<u8>, below: Below) -> Result<Frame, Error> {
        let failed = |operation| {
            let path = path.clone();
            move |errno| Error::system(operation, &path, errno)
        };
        let upper = attributes::open_dir(dirs.upper.as_fd(), name).map_err(failed("open"))?;
        let stat = fstat(&upper).map_err(failed("stat"))?;
        self.check_whole(upper.as_fd(), &stat, &path)?;
        let alone = self.is_opaque(&upper).map_err(failed("getxattr"))?;
        let (lower, same) = match below {
            Below::Directory(parts, below) => {
                let same = same_attributes((upper.as_fd(), &stat), (parts[0].as_fd(), &below));
                (parts, same.map_err(failed("compare"))?)
            }
            _ => (Vec::new(), false),
        };
        if !same {
            self.give_dir(&path)?;
        }
        self.frame(path, Open { upper, lower }, alone)
    }

    fn file(
        &mut self,
        dirs: &Open,
        name: &[u8],
        path: Vec<u8>,
        stat: &Stat,
        below: Below,
    ) -> Result<(), Error> {
        let failed = |operation| {
            let path = path.clone();
            move |errno| Error::system(operation, &path, errno)
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Socket {
            return Ok(());
        }
        let upper = attributes::pin(dirs.upper.as_fd(), name).map_err(failed("open"))?;
        self.check_whole(upper.as_fd(), stat, &path)?;
        let same = match below {
            Below::Other(below, below_stat) => {
                same_file((upper.as_fd(), stat), (below.as_fd(), &below_stat)).map_err(failed("compare"))?
            }
            _ => false,
        };
        let inode = (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
        let Some(inode) = inode else {
            return if same { Ok(()) } else { self.give_file(&path, upper.as_fd(), stat, b"") };
        };
        if let Some(source) = self.sources.get(&inode).cloned() {
            return self.give_file(&path, upper.as_fd(), stat, &source);
        }
        if same {
            self.unchanged.entry(inode).or_default().push(path);
            return Ok(());
        }
        self.give_file(&path, upper.as_fd(), stat, b"")?;
        // Names that came before are of this file, too.
        for other in self.unchanged.remove(&inode).unwrap_or_default() {
            self.give_file(&other, upper.as_fd(), stat, &path)?;
        }
        self.sources.insert(inode, path);
        Ok(())
    }

    /// A file of an overlay may be without its data, and a directory elsewhere below.
    fn check_whole(&self, fd: BorrowedFd<'_>, stat: &Stat, path: &[u8]) -> Result<(), Error> {
        let Format::Overlay { userxattr } = self.format else { return Ok(()) };
        let attribute = attributes::incomplete_name(stat, userxattr);
        let value = attributes::value(FdPath::new(fd).as_cstr(), attribute.as_bytes());
        match value.map_err(|errno| Error::system("getxattr", path, errno))? {
            Some(_) => Err(Error::Incomplete { path: text(path), attribute }),
            None => Ok(()),
        }
    }

    fn mtime(&self, stat: &Stat) -> i64 {
        self.options.source_date_epoch.map_or(stat.st_mtime, |epoch| stat.st_mtime.min(epoch))
    }

    /// Writes the entries of directories that lead to `path`.
    fn give_parents(&mut self, path: &[u8]) -> Result<(), Error> {
        let (parent, _) = split(path);
        if parent.is_empty() || self.given.contains(parent) {
            return Ok(());
        }
        self.give_dir(parent)
    }

    fn give_dir(&mut self, path: &[u8]) -> Result<(), Error> {
        // From the top down, without recursion: trees may be deep.
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            if !self.given.contains(&path[..end]) {
                self.give_one_dir(&path[..end])?;
            }
        }
        Ok(())
    }

    fn give_one_dir(&mut self, path: &[u8]) -> Result<(), Error> {
        let failed = |errno| Error::system("open", path, errno);
        let dir = open_real(self.root.as_fd(), path).map_err(failed)?;
        let stat = fstat(&dir).map_err(failed)?;
        let xattrs = xattrs(dir.as_fd(), is_portable).map_err(failed)?;
        self.given.insert(path.to_vec());
        self.out.head(&Head {
            flag: b'5',
            path: &[path, b"/"].concat(),
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: self.mtime(&stat),
            xattrs: &xattrs,
            ..Head::default()
        })
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), Error> {
        self.give_parents(path)?;
        self.out.summary.whiteouts += 1;
        self.out.head(&Head { flag: b'0', path, ..Head::default() })
    }

    /// Writes a file, or a hard link to `source` if that is not empty.
    fn give_file(
        &mut self,
        path: &[u8],
        fd: BorrowedFd<'_>,
        stat: &Stat,
        source: &[u8],
    ) -> Result<(), Error> {
        self.give_parents(path)?;
        let mtime = self.mtime(stat);
        give(&mut self.out, &Node { path, fd, stat, source, mtime, short: Short::Refuse })
    }
}
