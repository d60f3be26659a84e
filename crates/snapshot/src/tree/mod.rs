//! Trees of files that a container made: as deep, as wide and as odd as it liked.
//!
//! Everything goes by descriptor, never follows a link, and never enters another mount. The number of descriptors is
//! bounded however deep a tree is.

mod copy;
mod delete;
mod stack;
mod usage;

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, RawDir, fchmod, fstat, mkdirat, openat};
use rustix::io::Errno;

pub(crate) use copy::{copy, copy_attributes};
pub(crate) use delete::{Budget, delete};
pub(crate) use usage::usage;

/// What one getdents64(2) reads at most.
const DIRECTORY_BUFFER_BYTES: usize = 32 * 1024;
/// How a directory is opened to be read.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Calls `each` for every entry of a directory but `.` and `..`, with its type where the file system tells it.
fn entries(
    dir: BorrowedFd<'_>,
    each: &mut dyn FnMut(&CStr, FileType) -> Result<(), Errno>,
) -> Result<(), Errno> {
    // Opened anew: a descriptor's position is shared by all who read it.
    let own = openat(dir, c".", DIRECTORY, Mode::empty())?;
    let mut buffer = Vec::with_capacity(DIRECTORY_BUFFER_BYTES);
    let mut entries = RawDir::new(own, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            each(name, entry.file_type())?;
        }
    }
    Ok(())
}

/// Makes an empty directory of a mode that the process's mask does not narrow, and opens it.
pub(crate) fn make_directory(dir: BorrowedFd<'_>, name: &str, mode: u32) -> Result<OwnedFd, Errno> {
    mkdirat(dir, name, Mode::from_raw_mode(mode))?;
    let made = openat(dir, name, DIRECTORY, Mode::empty())?;
    if fstat(&made)?.st_mode & 0o7777 != mode {
        fchmod(&made, Mode::from_raw_mode(mode))?;
    }
    Ok(made)
}

/// Calls `each` for the name of every entry of a directory.
pub(crate) fn names(dir: BorrowedFd<'_>, each: &mut dyn FnMut(&CStr)) -> Result<(), Errno> {
    entries(dir, &mut |name, _| {
        each(name);
        Ok(())
    })
}
