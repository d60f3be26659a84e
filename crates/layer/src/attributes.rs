//! Attributes of files, through descriptors: reading, setting, copying.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::path::FdPath;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::archive::Time;

/// Names and values of extended attributes.
pub(crate) type XattrList = Vec<(Vec<u8>, Vec<u8>)>;

/// XATTR_SIZE_MAX and XATTR_LIST_MAX.
const XATTR_BYTES: usize = 1 << 16;

/// The attribute that makes a directory of an overlay hide what is below.
pub(crate) fn opaque_name(userxattr: bool) -> &'static str {
    if userxattr { "user.overlay.opaque" } else { "trusted.overlay.opaque" }
}

/// The attribute by which a file of an overlay has no data of its own, or a directory is elsewhere below.
pub(crate) fn incomplete_name(stat: &Stat, userxattr: bool) -> &'static str {
    match (is_dir(stat), userxattr) {
        (true, false) => "trusted.overlay.redirect",
        (true, true) => "user.overlay.redirect",
        (false, false) => "trusted.overlay.metacopy",
        (false, true) => "user.overlay.metacopy",
    }
}

/// Whether an attribute is overlayfs's own, or of the kind that only the host's administrator may set.
pub(crate) fn is_privileged(name: &[u8]) -> bool {
    name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.")
}

/// Whether an attribute says something about a file, and not about the host that it is on: labels and hashes of the
/// host's security modules do not travel.
pub(crate) fn is_portable(name: &[u8]) -> bool {
    name == b"security.capability"
        || name.starts_with(b"user.") && !is_privileged(name)
        || name.starts_with(b"system.posix_acl_")
}

pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(crate) fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

pub(crate) fn is_symlink(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

pub(crate) fn mtime(stat: &Stat) -> Time {
    Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 }
}

pub(crate) fn timespec(time: Time) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) }
}

/// Access and change times as containerd sets them: what was read was read at least when it was changed.
pub(crate) fn timestamps(mtime: Time, atime: Option<Time>) -> Timestamps {
    let last_access = timespec(atime.map_or(mtime, |atime| atime.max(mtime)));
    Timestamps { last_access, last_modification: timespec(mtime) }
}

/// Opens `name` in `dir` for nothing but to name it: whatever it is, and if it is a link, the link.
pub(crate) fn pin(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

pub(crate) fn open_dir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// The names and values of a file's attributes for which `wanted` is true, in order. `fd` may be an `O_PATH` one.
pub(crate) fn xattrs(fd: BorrowedFd<'_>, wanted: impl Fn(&[u8]) -> bool) -> Result<XattrList, Errno> {
    let path = FdPath::new(fd);
    let mut list = Vec::new();
    for name in names(path.as_cstr())? {
        if wanted(&name)
            && let Some(value) = value(path.as_cstr(), &name)?
        {
            list.push((name, value));
        }
    }
    list.sort();
    Ok(list)
}

fn names(path: &std::ffi::CStr) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = vec![0; 256];
    let length = loop {
        match rustix::fs::listxattr(path, &mut buffer[..]) {
            Err(Errno::RANGE) if buffer.len() < XATTR_BYTES => buffer.resize(XATTR_BYTES, 0),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            length => break length?,
        }
    };
    let names = buffer[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

/// The value of one attribute; `None` if the file has none of that name.
pub(crate) fn value(path: &std::ffi::CStr, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match rustix::fs::getxattr(path, name, &mut buffer[..]) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            Err(Errno::RANGE) if buffer.len() < XATTR_BYTES => buffer.resize(XATTR_BYTES, 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether the directory of an overlay's layer hides what is below. `dir` is open for reading.
pub(crate) fn is_opaque(dir: BorrowedFd<'_>, userxattr: bool) -> Result<bool, Errno> {
    let mut value = [0; 2];
    match rustix::fs::fgetxattr(dir, opaque_name(userxattr), &mut value[..]) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Makes the directory of an overlay's layer hide what is below. `dir` may be an `O_PATH` one.
pub(crate) fn make_opaque(dir: BorrowedFd<'_>, userxattr: bool) -> Result<(), Errno> {
    rustix::fs::setxattr(FdPath::new(dir).as_cstr(), opaque_name(userxattr), b"y", XattrFlags::empty())
}

/// Changes the permissions of what `fd`, maybe an `O_PATH` one, is open on; a symbolic link has none.
pub(crate) fn chmod(fd: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    // fchmodat2(2) would do, but is of Linux 6.6.
    rustix::fs::chmod(FdPath::new(fd).as_cstr(), Mode::from_raw_mode(mode & 0o7777))
}

pub(crate) fn chown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)
}

pub(crate) fn set_times(fd: BorrowedFd<'_>, times: &Timestamps) -> Result<(), Errno> {
    rustix::fs::utimensat(fd, c"", times, AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)
}

/// The first attribute list that is not wanted goes, then those of the second come.
pub(crate) fn replace_xattrs(
    fd: BorrowedFd<'_>,
    old: &[(Vec<u8>, Vec<u8>)],
    new: &[(Vec<u8>, Vec<u8>)],
) -> Result<(), Errno> {
    let path = FdPath::new(fd);
    for (name, _) in old {
        if !new.iter().any(|(wanted, _)| wanted == name) {
            match rustix::fs::removexattr(path.as_cstr(), &name[..]) {
                Ok(()) | Err(Errno::NODATA) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    for pair in new {
        if !old.contains(pair) {
            rustix::fs::setxattr(path.as_cstr(), &pair.0[..], &pair.1, XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// Gives `to` the owner, attributes, mode and times of `from`; both may be `O_PATH`.
pub(crate) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(from)?;
    chown(to, stat.st_uid, stat.st_gid)?;
    if !is_symlink(&stat) {
        let wanted = |name: &[u8]| !is_privileged(name);
        let (old, new) = (xattrs(to, wanted)?, xattrs(from, wanted)?);
        replace_xattrs(to, &old, &new)?;
        chmod(to, stat.st_mode)?;
    }
    let last_access = Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ };
    set_times(to, &Timestamps { last_access, last_modification: timespec(mtime(&stat)) })
}

/// The names in a directory, in order, but for `.` and `..`.
pub(crate) fn list(dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A descriptor of the same directory that can be read, where `dir` may be an `O_PATH` one.
pub(crate) fn reopen_dir(dir: impl AsFd) -> Result<OwnedFd, Errno> {
    open_dir(dir.as_fd(), b".")
}
