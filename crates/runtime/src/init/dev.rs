//! What the runtime puts into /dev, and the copying of directories.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::Errno;
use gantry_sys::features::{Feature, has};
use gantry_sys::mount::{ATTR_NOEXEC, ATTR_NOSUID, device_number};
use gantry_sys::path::{Missing, ensure, make_dirs};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, Uid, chownat, fchmod, fstat, mkdirat, mknodat, openat,
    readlinkat, statat, symlinkat, unlinkat,
};

use super::attach::{change_propagation, chown, clone_tree, place, remount};
use super::{At, Fault, Init, Step};
use crate::plan::options::{Attributes, MS_PRIVATE, Propagation};
use crate::plan::rootfs::{DevicePlan, RootfsPlan};

/// Links in /dev: runtime-linux.md, Dev symbolic links.
const LINKS: [(&CStr, &CStr); 4] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
];
/// How deep [`copy_entries`] goes.
const MAX_COPY_DEPTH: u32 = 64;

impl Init<'_> {
    /// Opens the container's /dev: a directory of the root, or of a file system mounted there, but no link to elsewhere
    /// (CVE-2026-41579).
    pub(super) fn open_dev(&self, root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dev = match openat(root, c"dev", flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                mkdirat(root, c"dev", Mode::from_raw_mode(0o755))?;
                openat(root, c"dev", flags, Mode::empty())?
            }
            dev => dev?,
        };
        match FileType::from_raw_mode(fstat(&dev)?.st_mode) {
            FileType::Directory => Ok(dev),
            FileType::Symlink => Err(Errno::LOOP),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Makes the device nodes and links.
    pub(super) fn fill_dev(
        &self,
        root: BorrowedFd<'_>,
        dev: BorrowedFd<'_>,
        plan: &RootfsPlan,
    ) -> Result<(), Fault> {
        for (index, device) in plan.devices.iter().enumerate() {
            make_device(root, dev, device).at_index(Step::Device, index)?;
        }
        for (target, name) in LINKS {
            make_link(dev, target, name).at(Step::DevLink)?;
        }
        if statat(rustix::fs::CWD, c"/proc/kcore", AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            make_link(dev, c"/proc/kcore", c"core").at(Step::DevLink)?;
        }
        // A node there belongs to the host's terminals.
        match unlinkat(dev, c"ptmx", AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).at(Step::DevLink),
        }
        make_link(dev, c"pts/ptmx", c"ptmx").at(Step::DevLink)
    }
}

fn make_link(dev: BorrowedFd<'_>, target: &CStr, name: &CStr) -> Result<(), Errno> {
    match symlinkat(target, dev, name) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

fn make_device(root: BorrowedFd<'_>, dev: BorrowedFd<'_>, device: &DevicePlan) -> Result<(), Errno> {
    let parent;
    let (dir, name) = match &device.name {
        Some(name) => (dev, name.as_c_str()),
        None => {
            let path = device.path.as_bytes();
            let slash = path.iter().rposition(|&b| b == b'/').unwrap_or(0);
            parent = make_dirs(root, &path[..slash])?;
            let name = &device.path.as_bytes_with_nul()[slash + 1..];
            (parent.as_fd(), CStr::from_bytes_with_nul(name).map_err(|_| Errno::INVAL)?)
        }
    };
    if let Some(tree) = &device.bind {
        return bind_device(dir, name, tree);
    }
    let kind = FileType::from_raw_mode(device.mode);
    let number = device_number(device.major, device.minor);
    match mknodat(dir, name, kind, Mode::from_raw_mode(device.mode & 0o7777), number) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            // What is there, from the image, must be the same node and no link to another (CVE-2026-88265).
            let same = FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == number;
            return if same { Ok(()) } else { Err(Errno::EXIST) };
        }
        // Not even root may make nodes in a user namespace, or without CAP_MKNOD.
        Err(Errno::PERM) => return bind_host_device(dir, name, device),
        Err(errno) => return Err(errno),
    }
    // The umask is 0 while the root is made, so that the node has its mode.
    if (device.uid, device.gid) != (0, 0) {
        let owner = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
        chownat(dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn bind_host_device(dir: BorrowedFd<'_>, name: &CStr, device: &DevicePlan) -> Result<(), Errno> {
    use rustix::mount::{OpenTreeFlags, open_tree};
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(rustix::fs::CWD, device.path.as_c_str(), flags)?;
    bind_device(dir, name, &tree)
}

/// Binds the host's node over an empty file.
fn bind_device(dir: BorrowedFd<'_>, name: &CStr, tree: &OwnedFd) -> Result<(), Errno> {
    let target = empty_file(dir, name)?;
    // A tree attaches once; a plan may be followed twice only by different children.
    let copy = clone_tree(tree.as_fd(), false);
    let node = copy.as_ref().map_or(tree.as_fd(), |copy| copy.as_fd());
    place(node, target.as_fd())?;
    if has(Feature::MountSetattr) {
        return Ok(());
    }
    // What the parent did to the detached tree where it could.
    change_propagation(node, Propagation { kind: MS_PRIVATE, recursive: false })?;
    remount(node, Attributes { set: ATTR_NOSUID | ATTR_NOEXEC, clear: 0 })
}

/// Opens a file of `dir` as a mount's target, making it where it is missing, never through a link (CVE-2026-88264).
pub(super) fn empty_file(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let file = openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::Symlink => Err(Errno::LOOP),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Ok(file),
    }
}

/// Copies the entries of `from` into `to`: files, directories, links and nodes, with their owners and modes.
pub(super) fn copy_entries(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> Result<(), Errno> {
    if depth >= MAX_COPY_DEPTH {
        return Err(Errno::NAMETOOLONG);
    }
    let dir = openat(from, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        copy_entry(dir.as_fd(), to, name, depth)?;
    }
    Ok(())
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: u32) -> Result<(), Errno> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match kind {
        FileType::Directory => {
            mkdirat(to, name, mode)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let (source, copy) =
                (openat(from, name, flags, Mode::empty())?, openat(to, name, flags, Mode::empty())?);
            chown(to, name, &stat)?;
            fchmod(&copy, mode)?;
            copy_entries(source.as_fd(), copy.as_fd(), depth + 1)
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let source = openat(from, name, flags, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = openat(to, name, flags, Mode::from_raw_mode(0o600))?;
            while rustix::fs::sendfile(&copy, &source, None, 1 << 20)? > 0 {}
            chown(to, name, &stat)?;
            fchmod(&copy, mode)
        }
        FileType::Symlink => {
            symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
            chown(to, name, &stat)
        }
        // Sockets have nobody behind them in a copy.
        FileType::Socket | FileType::Unknown => Ok(()),
        node => {
            mknodat(to, name, node, mode, stat.st_rdev)?;
            chown(to, name, &stat)
        }
    }
}

/// Makes the working directory, where the root has none, as docker's users expect.
pub(super) fn make_cwd(root: BorrowedFd<'_>, cwd: &CStr) -> Result<(), Errno> {
    match ensure(root, cwd, Missing::Directory) {
        // Read-only, or not ours to make: chdir(2) will tell.
        Ok(_) | Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}
