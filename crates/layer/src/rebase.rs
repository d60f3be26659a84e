//! What a layer leaves to those below it, done when they are known.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, linkat, mkdirat, mknodat, openat, statat, symlinkat,
};
use rustix::io::Errno;

use crate::apply::name::{join, split};
use crate::apply::tree::open_real;
use crate::attributes::{self, is_dir, is_opaque, list, make_opaque, reopen_dir};
use crate::copy::copy_data;
use crate::error::text;
use crate::lowers::{self, Below, Format, visible};
use crate::{DeferredLink, Error, Implied};

/// Finishes the layer in `root`, which [`crate::apply`] made, on top of `lower`: overlay-format directories, nearest first.
///
/// Directories that the archive only implied get the mode, owner, attributes and time of what is visible below; hard links
/// to files of lower layers are made, and their targets copied up. It may be done again after it was interrupted. A layer
/// whose [`Implied::is_empty`] is false needs it even if nothing is below.
///
/// # Errors
/// InvalidArgument for a link to nothing; what the kernel refuses.
pub fn rebase(root: BorrowedFd<'_>, lower: &[BorrowedFd<'_>], implied: &Implied) -> Result<(), Error> {
    let rebase = Rebase { root, lower, userxattr: implied.userxattr };
    let mut made = HashSet::new();
    for link in &implied.links {
        rebase.link(link, &mut made)?;
    }
    if implied.root_opaque {
        rebase.hide_root()?;
    }
    // The children first: nothing that is done in a directory changes its time after it was set.
    for path in implied.directories.iter().rev() {
        rebase.directory(path)?;
    }
    Ok(())
}

struct Rebase<'a> {
    root: BorrowedFd<'a>,
    lower: &'a [BorrowedFd<'a>],
    userxattr: bool,
}

impl Rebase<'_> {
    fn below(&self, path: &[u8]) -> Result<Below, Error> {
        visible(self.root, self.lower, path, self.userxattr)
            .map_err(|errno| Error::system("look below", path, errno))
    }

    /// Gives an implied directory what it has below.
    fn directory(&self, path: &[u8]) -> Result<(), Error> {
        let dir = match open_real(self.root, path) {
            // It became something else.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            dir => dir.map_err(|errno| Error::system("open", path, errno))?,
        };
        // `visible` says nothing of a directory that hides what is below.
        if let Below::Directory(parts, _) = self.below(path)? {
            attributes::copy(parts[0].as_fd(), dir.as_fd())
                .map_err(|errno| Error::system("copy up", path, errno))?;
        }
        Ok(())
    }

    /// Makes a hard link whose target is below.
    fn link(&self, link: &DeferredLink, made: &mut HashSet<Vec<u8>>) -> Result<(), Error> {
        let (parent, name) = split(&link.path);
        let dir = match self.open(parent) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            dir => dir.map_err(|errno| Error::system("open", parent, errno))?,
        };
        if exists(&dir, name).map_err(|errno| Error::system("stat", &link.path, errno))? {
            // A later entry came instead of it, or this is done a second time.
            return Ok(());
        }
        let missing = || Error::MissingTarget { path: text(&link.path), target: text(&link.target) };
        let failed = |errno| Error::system("copy up", &link.path, errno);
        let kept = Times::of(&dir).map_err(failed)?;
        let below = self.below(&link.target)?;
        let has_target = self.has(&link.target).map_err(failed)?;
        match below {
            // The archive has a later file of that name: the link is to the one before.
            Below::Other(file, stat) if has_target && !made.contains(&link.target) => {
                copy_up(&file, &stat, &dir, name).map_err(failed)?;
            }
            Below::Other(file, stat) => {
                if !has_target {
                    self.copy_up_path(&link.target, &file, &stat)?;
                    made.insert(link.target.clone());
                }
                self.link_here(&link.target, &dir, name).map_err(failed)?;
            }
            // Another link that was made here, or a file that comes later in the archive.
            _ if has_target => self.link_here(&link.target, &dir, name).map_err(failed)?,
            _ => return Err(missing()),
        }
        made.insert(link.path.clone());
        kept.restore(&dir).map_err(failed)
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        if path.is_empty() { reopen_dir(self.root) } else { open_real(self.root, path) }
    }

    /// Whether this layer has a file of that name.
    fn has(&self, path: &[u8]) -> Result<bool, Errno> {
        let (parent, name) = split(path);
        match self.open(parent) {
            Ok(dir) => match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Ok(!attributes::is_whiteout(&stat) && !is_dir(&stat)),
                Err(Errno::NOENT) => Ok(false),
                Err(errno) => Err(errno),
            },
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn link_here(&self, target: &[u8], dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        let (parent, target) = split(target);
        linkat(self.open(parent)?, target, dir, name, AtFlags::empty())
    }

    /// Copies a file up to the same name in this layer, with the directories on the way, as overlayfs would.
    fn copy_up_path(&self, path: &[u8], file: &OwnedFd, stat: &Stat) -> Result<(), Error> {
        let failed = |errno| Error::system("copy up", path, errno);
        let (parent, name) = split(path);
        let mut dir = reopen_dir(self.root).map_err(failed)?;
        let mut done = Vec::new();
        for component in parent.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
            done = join(&done, component);
            match mkdirat(&dir, component, Mode::RWXU) {
                Ok(()) => {
                    let new = attributes::open_dir(dir.as_fd(), component).map_err(failed)?;
                    if let Below::Directory(parts, _) = self.below(&done)? {
                        attributes::copy(parts[0].as_fd(), new.as_fd()).map_err(failed)?;
                    }
                    dir = new;
                }
                Err(Errno::EXIST) => {
                    dir = attributes::open_dir(dir.as_fd(), component).map_err(failed)?;
                }
                Err(errno) => return Err(failed(errno)),
            }
        }
        let kept = Times::of(&dir).map_err(failed)?;
        copy_up(file, stat, &dir, name).map_err(failed)?;
        kept.restore(&dir).map_err(failed)
    }

    /// overlayfs reads no opaque attribute of a layer's root: what is below there is hidden name by name.
    fn hide_root(&self) -> Result<(), Error> {
        let failed = |errno| Error::system("hide", b".", errno);
        let root = reopen_dir(self.root).map_err(failed)?;
        let kept = Times::of(&root).map_err(failed)?;
        let format = Format::Overlay { userxattr: self.userxattr };
        let lower = lowers::roots(self.lower).map_err(failed)?;
        for dir in &lower {
            for name in list(dir.as_fd()).map_err(failed)? {
                let failed = |errno| Error::system("hide", &name, errno);
                if matches!(lowers::child(&lower, &name, format).map_err(failed)?, Below::Nothing) {
                    continue;
                }
                self.hide(&root, &name).map_err(failed)?;
            }
        }
        kept.restore(&root).map_err(failed)
    }

    fn hide(&self, root: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        match mknodat(root, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        match attributes::open_dir(root.as_fd(), name) {
            Ok(dir) if is_opaque(dir.as_fd(), self.userxattr)? => Ok(()),
            Ok(dir) => make_opaque(dir.as_fd(), self.userxattr),
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

/// The times of a directory in which something is made that its entry knew of already.
struct Times(Stat);

impl Times {
    fn of(dir: &OwnedFd) -> Result<Self, Errno> {
        rustix::fs::fstat(dir).map(Self)
    }

    fn restore(&self, dir: &OwnedFd) -> Result<(), Errno> {
        let atime = crate::Time { seconds: self.0.st_atime, nanoseconds: self.0.st_atime_nsec as u32 };
        attributes::set_times(dir.as_fd(), &attributes::timestamps(attributes::mtime(&self.0), Some(atime)))
    }
}

fn exists(dir: &OwnedFd, name: &[u8]) -> Result<bool, Errno> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Makes `name` in `dir` a copy of `file`, which is pinned.
pub(crate) fn copy_up(file: &OwnedFd, stat: &Stat, dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let path = gantry_sys::path::FdPath::new(file.as_fd());
            let from = rustix::fs::open(path.as_cstr(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let to = openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
            copy_data(from.as_fd(), to.as_fd(), stat.st_size as u64)?;
        }
        FileType::Symlink => symlinkat(rustix::fs::readlinkat(file, c"", Vec::new())?, dir, name)?,
        kind => mknodat(dir, name, kind, Mode::RUSR, stat.st_rdev)?,
    }
    attributes::copy(file.as_fd(), attributes::pin(dir.as_fd(), name)?.as_fd())
}
