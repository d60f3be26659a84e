//! Unpacks what a container gives, and never outside of the destination.
//!
//! The archive is the container's: its names, links and modes are those of an adversary. Every entry has to begin with the
//! name that was asked for; every path is resolved beneath the destination's descriptor (openat2(2), `RESOLVE_BENEATH`),
//! without magic links, so that a link that an entry made leads no later entry out (CVE-2018-15664, CVE-2019-14271,
//! CVE-2024-1753 in kind). What stands in the way is unlinked, never written through. There are no devices, and without
//! `--archive` no set-id bits: the files are ours then.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown,
    futimens, linkat, mkdirat, mknodat, openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use tar::{Archive, EntryType, Header};

use super::place::Place;

/// The most entries of an archive.
const MAX_ENTRIES: usize = 10_000_000;
/// The longest path of an entry, in bytes.
const MAX_PATH: usize = 4096;
const SET_ID: u32 = 0o6000;

/// Whose the files will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// As the archive says.
    Kept,
    /// The one's who runs this.
    Ours,
}

/// An extraction that has its destination open.
pub(super) struct Extraction {
    root: OwnedFd,
    /// What entries begin with; none if they are what is in it.
    base: Option<String>,
    /// What stands in its place.
    name: Option<String>,
    ownership: Ownership,
    /// Directories get their modes and times when everything is in them.
    directories: Vec<(PathBuf, u32, i64, (u64, u64))>,
}

impl Extraction {
    pub(super) fn new(place: &Place, base: Option<String>, ownership: Ownership) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&place.dir, flags, Mode::empty())
            .with_context(|| format!("{} cannot be opened", place.dir.display()))?;
        Ok(Self { root, base, name: place.name.clone(), ownership, directories: Vec::new() })
    }

    pub(super) fn run(mut self, archive: impl Read) -> Result<()> {
        let mut archive = Archive::new(archive);
        for (count, entry) in archive.entries().context("the archive cannot be read")?.enumerate() {
            ensure!(count < MAX_ENTRIES, "the archive has more than {MAX_ENTRIES} entries");
            let mut entry = entry.context("the archive is damaged")?;
            let name = entry.path_bytes().into_owned();
            let path = self.path(&name)?;
            let link = entry.link_name_bytes().map(|link| link.into_owned());
            let header = entry.header().clone();
            let shown = String::from_utf8_lossy(&name).into_owned();
            self.entry(&path, &header, link.as_deref(), &mut entry).with_context(|| shown)?;
        }
        // The deepest first: a directory that cannot be written any more is not written any more.
        self.directories.reverse();
        for (path, mode, time, ids) in std::mem::take(&mut self.directories) {
            let Ok(dir) = self.open(&path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW) else {
                continue;
            };
            self.finish(dir.as_fd(), mode, time, ids)?;
        }
        Ok(())
    }

    /// An entry's path below the destination.
    fn path(&self, name: &[u8]) -> Result<PathBuf> {
        let shown = || String::from_utf8_lossy(name).into_owned();
        ensure!(
            name.len() <= MAX_PATH && !name.contains(&0),
            "the archive has the impossible path {:?}",
            shown()
        );
        let mut parts = Vec::new();
        for part in Path::new(OsStr::from_bytes(name)).components() {
            match part {
                Component::Normal(part) => parts.push(part),
                Component::CurDir | Component::RootDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    bail!("the archive has the path {:?}, which leads out", shown());
                }
            }
        }
        let rest = match &self.base {
            Some(base) => {
                let (first, rest) = parts.split_first().unzip();
                ensure!(
                    first.is_some_and(|first| *first == OsStr::new(base)),
                    "the archive has {:?}, which was not asked for",
                    shown()
                );
                rest.unwrap_or_default()
            }
            None => parts.as_slice(),
        };
        Ok(self.name.iter().map(OsStr::new).chain(rest.iter().copied()).collect())
    }

    fn entry(
        &mut self,
        path: &Path,
        header: &Header,
        link: Option<&[u8]>,
        data: &mut impl Read,
    ) -> Result<()> {
        let mode = header.mode().unwrap_or(0) & 0o7777;
        let mode = if self.ownership == Ownership::Ours { mode & !SET_ID } else { mode };
        let time = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
        let ids = (header.uid().unwrap_or(0), header.gid().unwrap_or(0));
        let kind = header.entry_type();
        if path.as_os_str().is_empty() {
            // The destination itself is there already.
            ensure!(kind.is_dir(), "the archive is no directory");
            return Ok(());
        }
        let parent = self.parent(path)?;
        let name = path.file_name().context("no name")?;
        match kind {
            EntryType::Directory => {
                self.directory(&parent, name)?;
                self.directories.push((path.to_owned(), mode, time, ids));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                clear(&parent, name)?;
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat2(&parent, name, flags, Mode::from_raw_mode(0o600), beneath())?;
                let mut file = File::from(file);
                io::copy(data, &mut file)?;
                self.finish(file.as_fd(), mode, time, ids)?;
            }
            EntryType::Symlink => {
                let target = link.context("a link without a target")?;
                clear(&parent, name)?;
                symlinkat(OsStr::from_bytes(target), &parent, name)?;
                self.finish_link(&parent, name, time, ids)?;
            }
            EntryType::Link => {
                let target = self.path(link.context("a link without a target")?)?;
                let target_parent = self.parent(&target)?;
                let target_name = target.file_name().context("a link to nothing")?;
                clear(&parent, name)?;
                linkat(&target_parent, target_name, &parent, name, AtFlags::empty())?;
            }
            EntryType::Fifo => {
                clear(&parent, name)?;
                mknodat(&parent, name, FileType::Fifo, Mode::from_raw_mode(mode & 0o777), 0)?;
                self.finish_link(&parent, name, time, ids)?;
            }
            EntryType::Char | EntryType::Block => {
                bail!("a device: none is made here, whatever a container says");
            }
            // What describes others was read with them.
            _ => {}
        }
        Ok(())
    }

    /// The directory that a path is in, made if it is not there.
    fn parent(&self, path: &Path) -> Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::PATH;
        let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
            return Ok(self.root.try_clone()?);
        };
        match self.open(parent, flags) {
            Err(Errno::NOENT) => {}
            result => {
                return result.with_context(|| format!("{} leads out of the destination", parent.display()));
            }
        }
        let above = self.parent(parent)?;
        self.directory(&above, parent.file_name().context("no name")?)?;
        Ok(self.open(parent, flags)?)
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), beneath())
    }

    /// A directory that is there stays; what is none is in the way.
    fn directory(&self, parent: &OwnedFd, name: &OsStr) -> Result<()> {
        match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let status = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                let is_dir = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
                ensure!(
                    is_dir,
                    "cannot overwrite non-directory {:?} with a directory",
                    name.display().to_string()
                );
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn finish(&self, file: BorrowedFd<'_>, mode: u32, time: i64, ids: (u64, u64)) -> Result<()> {
        if let Some((uid, gid)) = self.owner(ids) {
            fchown(file, Some(uid), Some(gid)).context("the owner cannot be set")?;
        }
        // After the owner, whose change takes set-id bits away.
        fchmod(file, Mode::from_raw_mode(mode))?;
        futimens(file, &times(time))?;
        Ok(())
    }

    fn finish_link(&self, parent: &OwnedFd, name: &OsStr, time: i64, ids: (u64, u64)) -> Result<()> {
        if let Some((uid, gid)) = self.owner(ids) {
            chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .context("the owner cannot be set")?;
        }
        utimensat(parent, name, &times(time), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn owner(&self, (uid, gid): (u64, u64)) -> Option<(Uid, Gid)> {
        let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        match (self.ownership, id(uid), id(gid)) {
            (Ownership::Kept, Some(uid), Some(gid)) => Some((Uid::from_raw(uid), Gid::from_raw(gid))),
            _ => None,
        }
    }
}

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS
}

/// Unlinks what stands in the way of a file; a directory is left, and an error.
fn clear(parent: &OwnedFd, name: &OsStr) -> Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            bail!("cannot overwrite directory {:?} with non-directory", name.display().to_string())
        }
        Err(error) => Err(error.into()),
    }
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Tar(tar::Builder<Vec<u8>>);

    impl Tar {
        fn new() -> Self {
            Self(tar::Builder::new(Vec::new()))
        }

        fn add(mut self, kind: EntryType, name: &str, link: &str, data: &[u8]) -> Self {
            let mut header = Header::new_gnu();
            // Not by the library's setters: they refuse what an adversary writes.
            let bytes = header.as_old_mut();
            bytes.name[..name.len()].copy_from_slice(name.as_bytes());
            bytes.linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(0o4755);
            header.set_size(data.len() as u64);
            header.set_cksum();
            self.0.append(&header, data).unwrap();
            self
        }

        fn extract(self, dir: &Path, name: Option<&str>) -> Result<()> {
            let place = Place { dir: dir.into(), name: name.map(str::to_owned) };
            let extraction = Extraction::new(&place, Some("b".into()), Ownership::Ours)?;
            extraction.run(self.0.into_inner().unwrap().as_slice())
        }
    }

    /// A directory with a destination in it, and something beside that no archive may change.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("into")).unwrap();
        fs::write(dir.path().join("outside"), "safe").unwrap();
        let into = dir.path().join("into");
        (dir, into)
    }

    fn is_safe(dir: &tempfile::TempDir) -> bool {
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.len() == 2 && fs::read_to_string(dir.path().join("outside")).unwrap() == "safe"
    }

    #[test]
    fn a_tree_is_unpacked_under_its_new_name() {
        let (dir, into) = place();
        let tar = Tar::new()
            .add(EntryType::Directory, "b/", "", b"")
            .add(EntryType::Regular, "b/f", "", b"hello")
            .add(EntryType::Symlink, "b/l", "../../outside", b"")
            .add(EntryType::Link, "b/h", "b/f", b"");
        tar.extract(&into, Some("n")).unwrap();
        assert_eq!(fs::read_to_string(into.join("n/h")).unwrap(), "hello");
        assert_eq!(fs::read_link(into.join("n/l")).unwrap(), Path::new("../../outside"));
        let mode = fs::metadata(into.join("n/f")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "no set-id bit");
        assert!(is_safe(&dir));
    }

    /// CVE-2018-15664 in kind: a link first, then something through it.
    #[test]
    fn nothing_is_written_through_a_link_that_leads_out() {
        for target in ["..", "../", "/tmp", "../into/..", "/proc/self/cwd"] {
            let (dir, into) = place();
            let tar = Tar::new()
                .add(EntryType::Directory, "b", "", b"")
                .add(EntryType::Symlink, "b/l", target, b"")
                .add(EntryType::Regular, "b/l/outside", "", b"bad");
            assert!(tar.extract(&into, None).is_err() || is_safe(&dir), "{target}");
            let tar = Tar::new().add(EntryType::Symlink, "b", target, b"").add(
                EntryType::Regular,
                "b/outside",
                "",
                b"bad",
            );
            let _ = tar.extract(&into, Some("x"));
            assert!(is_safe(&dir), "{target}");
        }
    }

    #[test]
    fn what_stands_in_the_way_is_replaced_and_not_written_through() {
        let (dir, into) = place();
        std::os::unix::fs::symlink("../outside", into.join("b")).unwrap();
        Tar::new().add(EntryType::Regular, "b", "", b"new").extract(&into, Some("b")).unwrap();
        assert_eq!(fs::read_to_string(into.join("b")).unwrap(), "new");
        assert!(is_safe(&dir));
        // An entry that a link of the same archive has the name of.
        let tar = Tar::new().add(EntryType::Symlink, "b", "../outside", b"").add(
            EntryType::Regular,
            "b",
            "",
            b"again",
        );
        tar.extract(&into, Some("b")).unwrap();
        assert!(is_safe(&dir));
    }

    #[test]
    fn hard_links_lead_nowhere_else() {
        for target in ["../outside", "b/../../outside", "/etc/passwd", "outside", "b/l/outside"] {
            let (dir, into) = place();
            let tar = Tar::new()
                .add(EntryType::Directory, "b", "", b"")
                .add(EntryType::Symlink, "b/l", "../..", b"")
                .add(EntryType::Link, "b/h", target, b"");
            assert!(tar.extract(&into, Some("b")).is_err(), "{target}");
            assert!(is_safe(&dir));
        }
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        for name in ["../b", "b/../../outside", "other", "/etc/x", ".bashrc", "b/../.."] {
            let (dir, into) = place();
            assert!(
                Tar::new().add(EntryType::Regular, name, "", b"bad").extract(&into, None).is_err(),
                "{name}"
            );
            assert!(is_safe(&dir) && fs::read_dir(&into).unwrap().next().is_none());
        }
    }

    #[test]
    fn there_are_no_devices() {
        let (_dir, into) = place();
        assert!(Tar::new().add(EntryType::Char, "b", "", b"").extract(&into, Some("b")).is_err());
    }

    #[test]
    fn directories_and_files_do_not_replace_each_other() {
        let (_dir, into) = place();
        fs::create_dir(into.join("b")).unwrap();
        assert!(Tar::new().add(EntryType::Regular, "b", "", b"x").extract(&into, Some("b")).is_err());
        fs::write(into.join("c"), "").unwrap();
        assert!(Tar::new().add(EntryType::Directory, "b", "", b"").extract(&into, Some("c")).is_err());
    }
}
