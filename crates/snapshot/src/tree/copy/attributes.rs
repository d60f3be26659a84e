use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod,
    fchown, fgetxattr, flistxattr, fsetxattr, fstat, lgetxattr, llistxattr, lsetxattr, utimensat,
};
use rustix::io::Errno;

/// The longest list of names, and the longest value, of extended attributes: XATTR_LIST_MAX, XATTR_SIZE_MAX.
const MAX_XATTR_BYTES: usize = 65_536;
/// What a first look at the names is given.
const XATTR_NAMES_BYTES: usize = 1024;

fn ids(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

/// Gives `to` owner, mode and those extended attributes of `from` that are `wanted`; both are open.
pub(crate) fn copy_attributes(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    wanted: &dyn Fn(&[u8]) -> bool,
) -> Result<(), Errno> {
    let (stat, found) = (fstat(from)?, fstat(to)?);
    // Each change is a transaction of the file system's journal, needed or not.
    if (stat.st_uid, stat.st_gid) != (found.st_uid, found.st_gid) {
        let (uid, gid) = ids(&stat);
        fchown(to, uid, gid)?;
    }
    // After the owner, which takes the set-user-id bits away, and the capabilities.
    if stat.st_mode != fstat(to)?.st_mode {
        fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    }
    each_name(&|buffer| flistxattr(from, buffer), &mut |name| {
        if !wanted(name.to_bytes()) {
            return Ok(());
        }
        let value = value(&|buffer| fgetxattr(from, name, buffer))?;
        tolerate(name, fsetxattr(to, name, &value, XattrFlags::empty()))
    })
}

/// Gives `name` in `to` what `name` in `from` has: of a symbolic link, or a file that is not to be opened.
pub(super) fn copy_attributes_at(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    stat: &Stat,
) -> Result<(), Errno> {
    let (uid, gid) = ids(stat);
    chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        chmodat(to, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())?;
    }
    // The calls for such files know paths only; a descriptor's link in /proc makes one that nobody can redirect.
    let (from, to) = (path_of(from, name)?, path_of(to, name)?);
    each_name(&|buffer| llistxattr(&*from, buffer), &mut |attribute| {
        let value = value(&|buffer| lgetxattr(&*from, attribute, buffer))?;
        tolerate(attribute, lsetxattr(&*to, attribute, &value, XattrFlags::empty()))
    })?;
    times(rustix::fs::CWD, &to, stat)
}

/// Gives `name` in `dir`, or `dir` itself for an empty name, the times of `stat`.
pub(super) fn copy_times(file: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    if name.is_empty() {
        return rustix::fs::futimens(file, &timestamps(stat));
    }
    times(file, name, stat)
}

fn times(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    utimensat(dir, name, &timestamps(stat), AtFlags::SYMLINK_NOFOLLOW)
}

fn timestamps(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as i64 };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

fn path_of(dir: BorrowedFd<'_>, name: &CStr) -> Result<std::ffi::CString, Errno> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    crate::root::c_name(&path)
}

/// Only who has the privilege can set these: inside a user namespace they stay behind.
fn tolerate(name: &CStr, result: Result<(), Errno>) -> Result<(), Errno> {
    let name = name.to_bytes();
    match result {
        Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP)
            if name.starts_with(b"security.") || name.starts_with(b"trusted.") =>
        {
            Ok(())
        }
        result => result,
    }
}

type Fill<'a> = &'a dyn Fn(&mut [u8]) -> Result<usize, Errno>;

fn each_name(list: Fill<'_>, each: &mut dyn FnMut(&CStr) -> Result<(), Errno>) -> Result<(), Errno> {
    let names = match filled(list, XATTR_NAMES_BYTES) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        names => names?,
    };
    for name in names.split_inclusive(|byte| *byte == 0) {
        each(CStr::from_bytes_with_nul(name).map_err(|_| Errno::INVAL)?)?;
    }
    Ok(())
}

fn value(get: Fill<'_>) -> Result<Vec<u8>, Errno> {
    filled(get, XATTR_NAMES_BYTES)
}

fn filled(fill: Fill<'_>, first: usize) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; first];
    let length = match fill(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.resize(MAX_XATTR_BYTES, 0);
            fill(&mut buffer)?
        }
        result => result?,
    };
    buffer.truncate(length);
    Ok(buffer)
}
