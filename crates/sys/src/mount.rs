//! Mounts by descriptor: what rustix's `mount` lacks.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::syscall::check;

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub attr_set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub attr_clr: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE` or 0.
    pub propagation: u64,
    /// The user namespace of `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
}

/// How far [`mount_setattr`] reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The mount alone.
    Mount,
    /// The mount and everything below it.
    Tree,
}

/// Read-only.
pub const ATTR_RDONLY: u64 = 0x1;
/// Ignore set-user-id and set-group-id bits, and file capabilities.
pub const ATTR_NOSUID: u64 = 0x2;
/// Refuse device files.
pub const ATTR_NODEV: u64 = 0x4;
/// Refuse to execute.
pub const ATTR_NOEXEC: u64 = 0x8;
/// The field of access times: `attr_clr` must have all of it when one of the next is set.
pub const ATTR_ATIME: u64 = 0x70;
/// Update access times now and then: the default.
pub const ATTR_RELATIME: u64 = 0x0;
/// Never update access times.
pub const ATTR_NOATIME: u64 = 0x10;
/// Always update access times.
pub const ATTR_STRICTATIME: u64 = 0x20;
/// Never update access times of directories.
pub const ATTR_NODIRATIME: u64 = 0x80;
/// Map ids through a user namespace.
pub const ATTR_IDMAP: u64 = 0x10_0000;
/// Do not follow symbolic links: Linux 5.14.
pub const ATTR_NOSYMFOLLOW: u64 = 0x20_0000;

/// Changes the attributes of `mount`, and of everything below it for [`Scope::Tree`].
///
/// mount_setattr(2), Linux 5.12; needs `CAP_SYS_ADMIN` over the mount's user namespace.
///
/// # Errors
/// `ENOSYS` before 5.12; `EINVAL` if the file system cannot be id-mapped; `EPERM` for a locked attribute.
pub fn mount_setattr(mount: BorrowedFd<'_>, attr: &MountAttr, scope: Scope) -> Result<(), Errno> {
    const AT_RECURSIVE: i32 = 0x8000;
    let flags = libc::AT_EMPTY_PATH | if scope == Scope::Tree { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a string that ends with NUL, and the kernel reads the size given of a live structure.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const *attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// The device number of a node, as mknod(2) takes it.
pub fn device_number(major: u32, minor: u32) -> u64 {
    libc::makedev(major, minor)
}
