//! Copies of trees, with everything that a file has.

mod attributes;
mod content;

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, linkat, mkdirat, mknodat, openat, readlinkat, statat,
    symlinkat,
};
use rustix::io::Errno;

use super::entries;
use super::stack::Stack;
pub(crate) use attributes::copy_attributes;
use attributes::{copy_attributes_at, copy_times};
use content::Content;

/// A tree that is being copied to another on the same file system.
struct Copy {
    from: Stack,
    to: Stack,
    /// The root of the copy, for links.
    root: OwnedFd,
    /// Names from the root to where the copy is.
    path: Vec<CString>,
    /// Files with several links that were copied: where their first name is.
    linked: HashMap<(u64, u64), CString>,
    content: Content,
}

/// Copies the files below `from`, and the attributes of `from` itself, to the empty directory `to`: contents (shared
/// where the file system can, holes kept), links, devices, owners, modes, attributes and times.
///
/// # Errors
/// What reading or writing gives; `ENAMETOOLONG` for a hard link at a path that is too long.
pub(crate) fn copy(from: OwnedFd, to: OwnedFd) -> Result<(), Errno> {
    let mut copy = Copy {
        root: to.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))?,
        from: Stack::new(from),
        to: Stack::new(to),
        path: Vec::new(),
        linked: HashMap::new(),
        content: Content::default(),
    };
    let mut pending = vec![copy.directory()?];
    while let Some(children) = pending.last_mut() {
        if let Some(name) = children.pop() {
            copy.from.descend(&name)?;
            copy.to.descend(&name)?;
            copy.path.push(name);
            pending.push(copy.directory()?);
            continue;
        }
        pending.pop();
        // The directory is full: its times change no more.
        copy_attributes(copy.from.top(), copy.to.top(), &|_| true)?;
        copy_times(copy.to.top(), c"", &fstat(copy.from.top())?)?;
        if !pending.is_empty() {
            copy.from.ascend()?;
            copy.to.ascend()?;
            copy.path.pop();
        }
    }
    Ok(())
}

impl Copy {
    /// Copies what a directory has, and gives the directories in it, made and still empty.
    fn directory(&mut self) -> Result<Vec<CString>, Errno> {
        let mut names = Vec::new();
        entries(self.from.top(), &mut |name, _| {
            names.push(name.to_owned());
            Ok(())
        })?;
        let mut children = Vec::new();
        for name in names {
            let stat = statat(self.from.top(), &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                mkdirat(self.to.top(), &name, Mode::RWXU)?;
                children.push(name);
            } else {
                self.file(&name, &stat)?;
            }
        }
        Ok(children)
    }

    fn file(&mut self, name: &CStr, stat: &Stat) -> Result<(), Errno> {
        let identity = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.linked.get(&identity) {
            return linkat(&self.root, first, self.to.top(), name, AtFlags::empty());
        }
        let (from, to) = (self.from.top(), self.to.top());
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => regular(from, to, name, stat, &mut self.content)?,
            FileType::Symlink => {
                symlinkat(&*readlinkat(from, name, Vec::new())?, to, name)?;
                copy_attributes_at(from, to, name, stat)?;
            }
            kind => {
                mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?;
                copy_attributes_at(from, to, name, stat)?;
            }
        }
        if stat.st_nlink > 1 {
            let path = self.path.iter().map(|name| name.to_bytes()).chain([name.to_bytes()]);
            let path = path.collect::<Vec<_>>().join(&b'/');
            self.linked.insert(identity, crate::root::c_name(&path)?);
        }
        Ok(())
    }
}

fn regular(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    stat: &Stat,
    content: &mut Content,
) -> Result<(), Errno> {
    let common = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = openat(from, name, OFlags::RDONLY | OFlags::NONBLOCK | common, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | common;
    let target = openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
    content.copy(source.as_fd(), target.as_fd(), stat)?;
    copy_attributes(source.as_fd(), target.as_fd(), &|_| true)?;
    copy_times(target.as_fd(), c"", stat)
}

#[cfg(test)]
mod tests;
