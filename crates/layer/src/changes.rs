//! What is different in a tree from what is below it: docker's `diff`.
//!
//! Files count as in layers (see `diff/compare.rs`). A directory is changed if its owner, mode or attributes are, or if something
//! in it is; what is in a new directory is new, and a directory that is gone is named alone. The root has no line.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::path::FdPath;
use rustix::fs::{AtFlags, Stat, fstat, statat};
use rustix::io::Errno;

use crate::apply::name::{join, split};
use crate::apply::tree::open_real;
use crate::attributes::{self, is_dir, is_opaque, is_whiteout, list, pin, reopen_dir};
use crate::diff::compare::{same_attributes, same_file};
use crate::error::text;
use crate::lowers::{self, Below, Format};
use crate::{Error, Limits};

/// Directories above the current one whose descriptors are kept. Those of deeper ones are opened again.
const MAX_OPEN: usize = 16;
/// What a change costs beyond the bytes of its name.
const CHANGE_OVERHEAD: usize = 64;

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is another one, or something in it is.
    Modified,
    /// It was not there.
    Added,
    /// It is gone.
    Deleted,
}

/// A file that is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// Its name from the root, with a slash before it.
    pub path: Vec<u8>,
}

/// The differences of two trees as they are seen, ordered by names. What `is_none` says is none is not among them.
///
/// # Errors
/// What the kernel refuses; ResourceExhausted for more than `limits` have memory for.
pub fn changes(
    lower: Option<BorrowedFd<'_>>,
    upper: BorrowedFd<'_>,
    limits: &Limits,
    is_none: &dyn Fn(&Change) -> bool,
) -> Result<Vec<Change>, Error> {
    let lower: Vec<_> = lower.into_iter().collect();
    Compare::new(upper, &lower, Format::Plain, limits, is_none)?.run()
}

/// What the upper directory of an overlay changes in its `lower` ones, nearest first, ordered by names, but for what
/// `is_none` says is none. It may be in use.
///
/// # Errors
/// FailedPrecondition for an upper directory with `redirect_dir` or `metacopy`; else as [`changes`].
pub fn changes_overlay(
    upper: BorrowedFd<'_>,
    lower: &[BorrowedFd<'_>],
    userxattr: bool,
    limits: &Limits,
    is_none: &dyn Fn(&Change) -> bool,
) -> Result<Vec<Change>, Error> {
    Compare::new(upper, lower, Format::Overlay { userxattr }, limits, is_none)?.run()
}

struct Compare<'a> {
    root: OwnedFd,
    lower: &'a [BorrowedFd<'a>],
    format: Format,
    limits: &'a Limits,
    is_none: &'a dyn Fn(&Change) -> bool,
    found: BTreeMap<Vec<u8>, ChangeKind>,
    bytes: usize,
}

/// A directory that is being compared.
struct Frame {
    path: Vec<u8>,
    names: Vec<Vec<u8>>,
    next: usize,
    /// It hides what is below.
    opaque: bool,
    open: Option<Open>,
}

struct Open {
    upper: OwnedFd,
    lower: Vec<OwnedFd>,
}

impl<'a> Compare<'a> {
    fn new(
        root: BorrowedFd<'_>,
        lower: &'a [BorrowedFd<'a>],
        format: Format,
        limits: &'a Limits,
        is_none: &'a dyn Fn(&Change) -> bool,
    ) -> Result<Self, Error> {
        let root = reopen_dir(root).map_err(|errno| Error::system("open", b".", errno))?;
        Ok(Self { root, lower, format, limits, is_none, found: BTreeMap::new(), bytes: 0 })
    }

    fn run(mut self) -> Result<Vec<Change>, Error> {
        let failed = |errno| Error::system("open", b".", errno);
        let lower = lowers::roots(self.lower).map_err(failed)?;
        let upper = reopen_dir(&self.root).map_err(failed)?;
        let mut frames = vec![self.frame(Vec::new(), Open { upper, lower })?];
        while let Some(frame) = frames.last_mut() {
            let Some(name) = frame.names.get(frame.next).cloned() else {
                frames.pop();
                continue;
            };
            frame.next += 1;
            self.reopen(frame)?;
            if let Some(child) = self.visit(frame, &name)? {
                let deep = frames.len() > MAX_OPEN;
                if let (true, Some(frame)) = (deep, frames.last_mut()) {
                    frame.open = None;
                }
                frames.push(child);
            }
        }
        let mut changes: Vec<_> = self.found.into_iter().collect();
        // By components: `a/b` comes before `a-b`.
        changes.sort_by(|(a, _), (b, _)| a.split(|&byte| byte == b'/').cmp(b.split(|&byte| byte == b'/')));
        Ok(changes
            .into_iter()
            .map(|(path, kind)| Change { kind, path: [b"/", &path[..]].concat() })
            .collect())
    }

    fn frame(&self, path: Vec<u8>, open: Open) -> Result<Frame, Error> {
        let failed = |errno| Error::system("read", &path, errno);
        let opaque = match self.format {
            Format::Plain => false,
            Format::Overlay { userxattr } => is_opaque(open.upper.as_fd(), userxattr).map_err(failed)?,
        };
        let mut names = list(open.upper.as_fd()).map_err(failed)?;
        if self.format == Format::Plain || opaque {
            for dir in &open.lower {
                names.extend(list(dir.as_fd()).map_err(failed)?);
            }
            names.sort_unstable();
            names.dedup();
        }
        Ok(Frame { path, names, next: 0, opaque, open: Some(open) })
    }

    fn reopen(&self, frame: &mut Frame) -> Result<(), Error> {
        if frame.open.is_some() {
            return Ok(());
        }
        let failed = |errno| Error::system("open", &frame.path, errno);
        let upper = reopen_dir(open_real(self.root.as_fd(), &frame.path).map_err(failed)?).map_err(failed)?;
        let mut lower = lowers::roots(self.lower).map_err(failed)?;
        for component in frame.path.split(|&byte| byte == b'/') {
            lower = match lowers::child(&lower, component, self.format).map_err(failed)? {
                Below::Directory(parts, _) => parts,
                _ => Vec::new(),
            };
        }
        frame.open = Some(Open { upper, lower });
        Ok(())
    }

    fn visit(&mut self, frame: &Frame, name: &[u8]) -> Result<Option<Frame>, Error> {
        let Some(dirs) = &frame.open else { return Ok(None) };
        let path = join(&frame.path, name);
        let failed = |operation| {
            let path = path.clone();
            move |errno| Error::system(operation, &path, errno)
        };
        let below = lowers::child(&dirs.lower, name, self.format).map_err(failed("look below"))?;
        let pinned = match pin(dirs.upper.as_fd(), name) {
            // In a plain tree and in an opaque directory, what is not there is gone; in others, nothing is said of it.
            Err(Errno::NOENT) => None,
            pinned => Some(pinned.map_err(failed("open"))?),
        };
        let stat = pinned.as_ref().map(fstat).transpose().map_err(failed("stat"))?;
        let (Some(pinned), Some(stat)) = (pinned, stat.filter(|stat| !self.hides(stat))) else {
            let was_listed = self.format == Format::Plain || frame.opaque || self.is_hidden(dirs, name)?;
            if was_listed && !matches!(below, Below::Nothing) {
                self.note(path, ChangeKind::Deleted)?;
            }
            return Ok(None);
        };
        self.check_whole(pinned.as_fd(), &stat, &path)?;
        if is_dir(&stat) {
            return self.directory(&pinned, &stat, path, below).map(Some);
        }
        let same = match &below {
            Below::Nothing => return self.note(path, ChangeKind::Added).map(|()| None),
            Below::Directory(..) => false,
            Below::Other(file, below) => {
                same_file((pinned.as_fd(), &stat), (file.as_fd(), below)).map_err(failed("compare"))?
            }
        };
        if !same {
            self.note(path, ChangeKind::Modified)?;
        }
        Ok(None)
    }

    fn hides(&self, stat: &Stat) -> bool {
        self.format != Format::Plain && is_whiteout(stat)
    }

    /// Whether there is a whiteout of that name.
    fn is_hidden(&self, dirs: &Open, name: &[u8]) -> Result<bool, Error> {
        match statat(&dirs.upper, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(self.hides(&stat)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(Error::system("stat", name, errno)),
        }
    }

    fn directory(
        &mut self,
        pinned: &OwnedFd,
        stat: &Stat,
        path: Vec<u8>,
        below: Below,
    ) -> Result<Frame, Error> {
        let failed = |operation| {
            let path = path.clone();
            move |errno| Error::system(operation, &path, errno)
        };
        let (lower, kind) = match below {
            Below::Nothing => (Vec::new(), Some(ChangeKind::Added)),
            // What is in a directory that came instead of a file is new.
            Below::Other(..) => (Vec::new(), Some(ChangeKind::Modified)),
            Below::Directory(parts, below) => {
                let same = same_attributes((pinned.as_fd(), stat), (parts[0].as_fd(), &below));
                let kind = (!same.map_err(failed("compare"))?).then_some(ChangeKind::Modified);
                (parts, kind)
            }
        };
        if let Some(kind) = kind {
            self.note(path.clone(), kind)?;
        }
        let upper = reopen_dir(pinned).map_err(failed("open"))?;
        self.frame(path, Open { upper, lower })
    }

    /// Writes a change down, and that the directories on the way to it are changed.
    fn note(&mut self, path: Vec<u8>, kind: ChangeKind) -> Result<(), Error> {
        let change = Change { kind, path: [b"/", &path[..]].concat() };
        if (self.is_none)(&change) {
            return Ok(());
        }
        let mut parent = split(&path).0;
        while !parent.is_empty() && !self.found.contains_key(parent) {
            self.insert(parent.to_vec(), ChangeKind::Modified)?;
            parent = split(parent).0;
        }
        self.insert(path, kind)
    }

    fn insert(&mut self, path: Vec<u8>, kind: ChangeKind) -> Result<(), Error> {
        self.bytes += path.len() + CHANGE_OVERHEAD;
        let limit = self.limits.names_bytes;
        if self.bytes > limit {
            return Err(Error::Limit { what: "bytes of names of changes", limit: limit as u64 });
        }
        self.found.insert(path, kind);
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
}
