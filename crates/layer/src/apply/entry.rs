//! One entry after another: what each becomes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Stat, Timestamps, Uid, XattrFlags, chownat, linkat, makedev, mkdirat,
    mknodat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::name::{Meaning, clean, join, meaning, split};
use super::record::Record;
use super::tree::{Dir, Tree, open_real};
use super::{Applied, ApplyOptions, DeferredLink, Devices, Replace, RootEntry, Target, Whiteouts, Xattrs};
use crate::Error;
use crate::archive::{Archive, Entry, EntryKind};
use crate::attributes::{self, is_dir, is_symlink, is_whiteout, list, timestamps};
use crate::error::text;
use crate::remove::remove;

pub(super) struct Applier<'a> {
    pub(super) options: &'a ApplyOptions,
    pub(super) whiteouts: Whiteouts,
    pub(super) tree: Tree,
    pub(super) record: Record,
    pub(super) applied: Applied,
    /// The clean form of [`ApplyOptions::base`].
    base: Vec<u8>,
    /// The ids of this thread: files are made with them.
    ids: (u32, u32),
}

impl<'a> Applier<'a> {
    pub(super) fn new(target: &Target<'a>, options: &'a ApplyOptions) -> Result<Self, Error> {
        let owner = match &options.id_map {
            Some(map) if options.same_owner => Some(map.owner(0, 0, b".")?),
            _ => options.owner,
        };
        let tree = Tree::new(target.root, target.whiteouts, owner)?;
        let names = attributes::reopen_dir(target.root).and_then(|root| list(root.as_fd()));
        let over_a_tree = !names.map_err(|errno| Error::system("read", b".", errno))?.is_empty();
        let mut applied = Applied::default();
        if let Whiteouts::Overlay { userxattr } = target.whiteouts {
            applied.implied.userxattr = userxattr;
        }
        Ok(Self {
            options,
            whiteouts: target.whiteouts,
            tree,
            // What was there is told from what comes only for removals.
            record: Record::new(&options.limits, over_a_tree && target.whiteouts != Whiteouts::None),
            applied,
            base: clean(&options.base, &options.limits)?,
            ids: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        })
    }

    pub(super) fn apply(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<(), Error> {
        self.record.count()?;
        self.applied.entries += 1;
        self.applied.bytes = self.applied.bytes.saturating_add(entry.size);
        let path = clean(&entry.path, &self.options.limits)?;
        if path.is_empty() {
            return self.root_entry(entry);
        }
        let meaning = if self.whiteouts == Whiteouts::None { Meaning::File } else { meaning(&path) };
        let device = matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        match meaning {
            Meaning::Invalid => return Err(Error::invalid(&entry.path, "invalid whiteout")),
            Meaning::Aufs => {
                self.applied.skipped += 1;
                return Ok(());
            }
            Meaning::File if device && self.options.devices != Devices::Create => {
                return self.no_device(&path);
            }
            _ => {}
        }
        let path = join(&self.base, &path);
        let (parent, name) = split(&path);
        self.tree.resolve(parent, &mut self.record)?;
        match meaning {
            Meaning::Whiteout(hidden) => self.hide(hidden),
            Meaning::Opaque => self.hide_below(),
            _ => self.make(entry, name, archive),
        }
    }

    fn no_device(&mut self, path: &[u8]) -> Result<(), Error> {
        if self.options.devices == Devices::Refuse {
            return Err(Error::invalid(path, "device nodes are not allowed"));
        }
        self.applied.skipped += 1;
        Ok(())
    }

    fn make(&mut self, entry: &Entry, name: &[u8], archive: &mut Archive<'_>) -> Result<(), Error> {
        let path = self.tree.current().join(name);
        match entry.kind {
            EntryKind::File => self.file(entry, name, archive)?,
            EntryKind::Directory => return self.directory(entry, name, &path),
            EntryKind::HardLink => self.hard_link(entry, name, &path)?,
            EntryKind::Symlink => self.symlink(entry, name, &path)?,
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                self.node(entry, name, &path)?
            }
        }
        self.applied.inodes += 1;
        self.record.wrote(&path);
        Ok(())
    }

    /// Makes something by `make`, after removing what is in its way.
    pub(super) fn replacing<T>(
        &mut self,
        name: &[u8],
        operation: &'static str,
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        match make(self.tree.current().as_fd()) {
            Err(Errno::EXIST) => {}
            result => {
                return result
                    .map_err(|errno| Error::system(operation, &self.tree.current().join(name), errno));
            }
        }
        self.make_way(name, EntryKind::File)?;
        make(self.tree.current().as_fd())
            .map_err(|errno| Error::system(operation, &self.tree.current().join(name), errno))
    }

    /// Removes what is in the way of something new.
    fn make_way(&mut self, name: &[u8], comes: EntryKind) -> Result<(), Error> {
        if self.options.replace == Replace::SameKind {
            let dir = self.tree.current();
            let word = |is_directory| if is_directory { "directory" } else { "non-directory" };
            let comes = comes == EntryKind::Directory;
            match statat(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_dir(&stat) != comes => {
                    let (path, there) = (text(&dir.join(name)), word(is_dir(&stat)));
                    return Err(Error::Overwrite { path, there, comes: word(comes) });
                }
                // Somebody else made way meanwhile.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::system("stat", &dir.join(name), errno)),
            }
        }
        self.remove(name)
    }

    /// Removes a name in the current directory, and all that is below it.
    pub(super) fn remove(&mut self, name: &[u8]) -> Result<(), Error> {
        let dir = self.tree.current();
        let path = dir.join(name);
        remove(dir.as_fd(), name).map_err(|errno| Error::system("remove", &path, errno))?;
        self.record.gone(&path);
        self.tree.changed();
        Ok(())
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != EntryKind::Directory || self.options.root_entry == RootEntry::Ignore {
            return Ok(());
        }
        let base = std::mem::take(&mut self.base);
        self.tree.resolve(&base, &mut self.record)?;
        self.base = base;
        let dir = self.tree.current();
        let path = dir.path.clone();
        let fd = attributes::reopen_dir(dir.as_fd()).map_err(|errno| Error::system("open", &path, errno))?;
        self.attributes(entry, fd.as_fd(), &path, true)?;
        self.record.given(&path, timestamps(entry.mtime, entry.atime))
    }

    fn directory(&mut self, entry: &Entry, name: &[u8], path: &[u8]) -> Result<(), Error> {
        let failed = |operation| move |errno| Error::system(operation, path, errno);
        let parent = self.tree.current().as_fd();
        let mut merges = false;
        let mut hides = false;
        match mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("stat"))?;
                merges = is_dir(&stat);
                if !merges {
                    // What was in the way hid what is below it; so does what comes instead.
                    hides = true;
                    self.make_way(name, EntryKind::Directory)?;
                    mkdirat(self.tree.current().as_fd(), name, Mode::RWXU).map_err(failed("mkdir"))?;
                }
            }
            Err(errno) => return Err(failed("mkdir")(errno)),
        }
        let fd = attributes::open_dir(self.tree.current().as_fd(), name).map_err(failed("open"))?;
        if let (true, Whiteouts::Overlay { userxattr }) = (hides, self.whiteouts) {
            attributes::make_opaque(fd.as_fd(), userxattr).map_err(failed("setxattr"))?;
        }
        self.attributes(entry, fd.as_fd(), path, merges)?;
        self.applied.inodes += u64::from(!merges);
        self.record.wrote(path);
        self.record.given(path, timestamps(entry.mtime, entry.atime))?;
        let dir = Dir::new(fd, path.to_vec())?;
        self.tree.descend(name, dir);
        Ok(())
    }

    /// Owner, extended attributes and mode of what is open; `merges` if it was there before.
    fn attributes(
        &mut self,
        entry: &Entry,
        fd: BorrowedFd<'_>,
        path: &[u8],
        merges: bool,
    ) -> Result<(), Error> {
        if let Some((uid, gid)) = self.owner(entry, path)? {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::fchown(fd, uid, gid).map_err(|errno| Error::system("chown", path, errno))?;
        }
        if merges {
            let old = attributes::xattrs(fd, attributes::is_portable);
            let old = old.map_err(|errno| Error::system("listxattr", path, errno))?;
            attributes::replace_xattrs(fd, &old, &[])
                .map_err(|errno| Error::system("removexattr", path, errno))?;
        }
        self.xattrs(entry, fd, path)?;
        let mode = Mode::from_raw_mode(entry.mode);
        rustix::fs::fchmod(fd, mode).map_err(|errno| Error::system("chmod", path, errno))
    }

    /// Who the entry belongs to on disk, if that is to be set.
    pub(super) fn owner(&self, entry: &Entry, path: &[u8]) -> Result<Option<(u32, u32)>, Error> {
        if self.options.owner.is_some() || !self.options.same_owner {
            return Ok(self.options.owner);
        }
        let map = self.options.id_map.as_ref();
        map.map_or(Ok((entry.uid, entry.gid)), |map| map.owner(entry.uid, entry.gid, path)).map(Some)
    }

    /// As [`Applier::owner`], but nothing if what is made in the current directory belongs to them anyway: the directory's
    /// group comes first, since a set-group-id directory or a `grpid` mount gives its own.
    pub(super) fn new_owner(&self, entry: &Entry, path: &[u8]) -> Result<Option<(u32, u32)>, Error> {
        let owner = self.owner(entry, path)?;
        Ok(owner.filter(|&owner| owner != self.ids || self.tree.current().gid != owner.1))
    }

    /// Sets the attributes that the policy lets through. `fd` may be an `O_PATH` one.
    pub(super) fn xattrs(&mut self, entry: &Entry, fd: BorrowedFd<'_>, path: &[u8]) -> Result<(), Error> {
        for (name, value) in &entry.xattrs {
            let wanted = match self.options.xattrs {
                Xattrs::Keep => !attributes::is_privileged(name),
                Xattrs::CapabilityOnly => name == b"security.capability",
                Xattrs::Drop => false,
            };
            if !wanted {
                self.applied.skipped_xattrs += 1;
                continue;
            }
            let at = gantry_sys::path::FdPath::new(fd);
            match rustix::fs::setxattr(at.as_cstr(), &name[..], value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => self.applied.skipped_xattrs += 1,
                // Only files and directories can have them: xattr(7).
                Err(Errno::PERM) if name.starts_with(b"user.") => self.applied.skipped_xattrs += 1,
                Err(Errno::PERM) if !self.options.same_owner => self.applied.skipped_xattrs += 1,
                Err(errno) => return Err(Error::system("setxattr", path, errno)),
            }
        }
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry, name: &[u8], path: &[u8]) -> Result<(), Error> {
        check_target(entry, self.options.limits.path_bytes)?;
        self.replacing(name, "symlink", |dir| symlinkat(&entry.link[..], dir, name))?;
        let dir = self.tree.current().as_fd();
        if let Some((uid, gid)) = self.new_owner(entry, path)? {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| Error::system("chown", path, errno))?;
        }
        if !entry.xattrs.is_empty() {
            let fd = attributes::pin(dir, name).map_err(|errno| Error::system("open", path, errno))?;
            self.xattrs(entry, fd.as_fd(), path)?;
        }
        let times = timestamps(entry.mtime, entry.atime);
        utimensat(self.tree.current().as_fd(), name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| Error::system("utimensat", path, errno))
    }

    fn node(&mut self, entry: &Entry, name: &[u8], path: &[u8]) -> Result<(), Error> {
        let kind = match entry.kind {
            EntryKind::CharDevice => FileType::CharacterDevice,
            EntryKind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let (major, minor) = entry.device;
        // What Linux can express: 12 and 20 bits.
        if major >= 1 << 12 || minor >= 1 << 20 {
            return Err(Error::invalid(path, "device out of range"));
        }
        let overlay = matches!(self.whiteouts, Whiteouts::Overlay { .. });
        if overlay && kind == FileType::CharacterDevice && (major, minor) == (0, 0) {
            self.applied.disguised_whiteouts += 1;
        }
        let device = if kind == FileType::Fifo { 0 } else { makedev(major, minor) };
        self.replacing(name, "mknod", |dir| mknodat(dir, name, kind, Mode::RUSR, device))?;
        let fd = self.pin(name, path)?;
        self.pinned_attributes(entry, fd, path)
    }

    fn pin(&self, name: &[u8], path: &[u8]) -> Result<OwnedFd, Error> {
        attributes::pin(self.tree.current().as_fd(), name).map_err(|errno| Error::system("open", path, errno))
    }

    /// All attributes of something that cannot be opened, or that has another name.
    fn pinned_attributes(&mut self, entry: &Entry, fd: OwnedFd, path: &[u8]) -> Result<(), Error> {
        let failed = |operation| move |errno| Error::system(operation, path, errno);
        let stat = rustix::fs::fstat(&fd).map_err(failed("stat"))?;
        if let Some((uid, gid)) =
            self.owner(entry, path)?.filter(|&owner| owner != (stat.st_uid, stat.st_gid))
        {
            attributes::chown(fd.as_fd(), uid, gid).map_err(failed("chown"))?;
        }
        self.xattrs(entry, fd.as_fd(), path)?;
        if !is_symlink(&stat) {
            attributes::chmod(fd.as_fd(), entry.mode).map_err(failed("chmod"))?;
        }
        let times = timestamps(entry.mtime, entry.atime);
        attributes::set_times(fd.as_fd(), &times).map_err(failed("utimensat"))
    }

    fn hard_link(&mut self, entry: &Entry, name: &[u8], path: &[u8]) -> Result<(), Error> {
        check_target(entry, self.options.limits.path_bytes)?;
        let target = join(&self.base, &clean(&entry.link, &self.options.limits)?);
        let (parent, target_name) = split(&target);
        let found = self.find(parent, target_name).map_err(|errno| Error::system("stat", &target, errno))?;
        let Some((dir, stat)) = found else { return self.defer(name, path, target) };
        if is_dir(&stat) {
            return Err(Error::invalid(path, "hard link to a directory"));
        }
        if stat.st_nlink >= self.options.limits.links as _ {
            return Err(Error::Limit { what: "names of a file", limit: self.options.limits.links });
        }
        let flags = AtFlags::empty();
        let current = self.tree.current().as_fd();
        match linkat(&dir, target_name, current, name, flags) {
            Ok(()) => {}
            Err(Errno::EXIST) if same_file(&stat, current, name) => {}
            Err(Errno::EXIST) => {
                self.make_way(name, EntryKind::HardLink)?;
                match linkat(&dir, target_name, self.tree.current().as_fd(), name, flags) {
                    // What was removed was what the target was in.
                    Err(Errno::NOENT) => return Err(missing(path, &target)),
                    result => result.map_err(|errno| Error::system("link", path, errno))?,
                }
            }
            Err(errno) => return Err(Error::system("link", path, errno)),
        }
        let fd = self.pin(name, path)?;
        self.pinned_attributes(entry, fd, path)
    }

    /// The target of a hard link, if it is here: links on the way are followed inside the root.
    fn find(&self, parent: &[u8], name: &[u8]) -> Result<Option<(OwnedFd, Stat)>, Errno> {
        use gantry_sys::path::open_in_root;
        use rustix::fs::OFlags;
        let parent = std::ffi::CString::new(if parent.is_empty() { b"/" } else { parent })
            .map_err(|_| Errno::INVAL)?;
        let dir = match open_in_root(self.tree.root(), &parent, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            dir => dir?,
        };
        let name = if name.is_empty() { b"." } else { name };
        match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((dir, stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
        .map(|found| found.filter(|(_, stat)| !self.is_hidden(stat)))
    }

    fn is_hidden(&self, stat: &Stat) -> bool {
        matches!(self.whiteouts, Whiteouts::Overlay { .. }) && is_whiteout(stat)
    }

    /// The target may be in a layer below.
    fn defer(&mut self, name: &[u8], path: &[u8], target: Vec<u8>) -> Result<(), Error> {
        if !matches!(self.whiteouts, Whiteouts::Overlay { .. }) {
            return Err(missing(path, &target));
        }
        self.remove(name)?;
        self.record.keep(path.len() + target.len())?;
        self.applied.implied.links.push(DeferredLink { path: path.to_vec(), target });
        Ok(())
    }

    /// Directories get their times, now that nothing changes in them any more.
    pub(super) fn finish(mut self) -> Result<Applied, Error> {
        for (path, record) in std::mem::take(&mut self.record.dirs) {
            if record.implied {
                self.applied.implied.directories.push(path);
                self.applied.inodes += 1;
            } else if let Some(times) = record.times {
                self.set_times(&path, &times)?;
            }
        }
        Ok(self.applied)
    }

    fn set_times(&self, path: &[u8], times: &Timestamps) -> Result<(), Error> {
        let set = if path.is_empty() {
            attributes::set_times(self.tree.root(), times)
        } else {
            match open_real(self.tree.root(), path) {
                Ok(dir) => attributes::set_times(dir.as_fd(), times),
                // It became something else meanwhile, which has its own.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(errno) => Err(errno),
            }
        };
        set.map_err(|errno| Error::system("utimensat", path, errno))
    }
}

fn missing(path: &[u8], target: &[u8]) -> Error {
    Error::MissingTarget { path: text(path), target: text(target) }
}

fn same_file(stat: &Stat, dir: BorrowedFd<'_>, name: &[u8]) -> bool {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|other| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino))
}

fn check_target(entry: &Entry, limit: usize) -> Result<(), Error> {
    if entry.link.len() > limit {
        return Err(Error::Limit { what: "bytes in a link", limit: limit as u64 });
    }
    if entry.link.is_empty() { Err(Error::invalid(&entry.path, "a link to nothing")) } else { Ok(()) }
}
