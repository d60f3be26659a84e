//! Namespaces: namespaces(7).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::syscall::check;

/// Moves the caller into a namespace, or with a pidfd and several `CLONE_NEW*` flags into several at once.
///
/// setns(2); pidfds since Linux 5.8. Needs `CAP_SYS_ADMIN` over the target, and for a mount namespace `CAP_SYS_CHROOT`.
/// A pid namespace takes effect for children only.
///
/// # Errors
/// `EINVAL` when the descriptor is of another type, or for a user namespace that the caller is in already; `EPERM`.
pub fn setns(fd: BorrowedFd<'_>, flags: u64) -> Result<(), Errno> {
    // SAFETY: takes integers only. The workspace's callers are single-threaded and share no file system attributes.
    check(unsafe { libc::setns(fd.as_raw_fd(), flags as i32) }.into()).map(drop)
}

/// The kind of the namespace that a descriptor refers to, as its `CLONE_NEW*` flag: NS_GET_NSTYPE of ioctl_ns(2),
/// Linux 4.11. Unlike the name behind `/proc/self/fd`, it tells one of a namespace that is bound to a path, too.
///
/// # Errors
/// `ENOTTY` for a descriptor of something else.
pub fn kind(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the request takes no argument and touches no memory of the caller.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) }.into()).map(|flag| flag as u64)
}

/// Moves the caller into new namespaces: unshare(2). Pid and time namespaces take effect for children only.
///
/// # Errors
/// `EPERM`; `ENOSPC` at a limit; `EINVAL` for a user namespace in a process with threads.
pub fn unshare(flags: u64) -> Result<(), Errno> {
    let allowed = (libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWUTS) as u64
        | crate::clone::CLONE_NEWTIME;
    if flags & !allowed != 0 {
        return Err(Errno::INVAL);
    }
    // SAFETY: takes integers only; the flags were checked above to be namespaces.
    check(unsafe { libc::unshare(flags as i32) }.into()).map(drop)
}
