//! Processes: clone3(2).
//!
//! The child runs in a copy of the memory (never `CLONE_VM`), so what it does cannot corrupt the parent. It runs with
//! whatever locks other threads held at the time: the parent must be single-threaded, or the child must neither
//! allocate nor lock. Children here end by execve(2) or [`crate::syscall::exit_now`].

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::syscall::{check, exit_now};

/// A child process.
#[derive(Debug)]
pub struct Child {
    /// Its process id, in the caller's pid namespace.
    pub pid: i32,
    /// Its descriptor: it never names another process, whatever becomes of the id.
    pub pidfd: OwnedFd,
}

/// What [`spawn`] makes.
#[derive(Debug, Default, Clone, Copy)]
pub struct CloneArgs<'a> {
    /// `CLONE_NEW*`, `CLONE_PARENT`; others are refused.
    pub flags: u64,
    /// The cgroup v2 directory in which the child starts: `CLONE_INTO_CGROUP`, Linux 5.7.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// `CLONE_NEWTIME`, which shares its value with the exit signal's bits and is for clone3 and unshare alone.
pub const CLONE_NEWTIME: u64 = 0x80;
/// `CLONE_PARENT`: the child's parent is the caller's parent.
pub const CLONE_PARENT: u64 = libc::CLONE_PARENT as u64;
/// `CLONE_INTO_CGROUP`, clone3 alone.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const ALLOWED: u64 = (libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS
    | libc::CLONE_PARENT) as u64
    | CLONE_NEWTIME;

/// Makes a child process that runs `child` and exits with the status that it returns.
///
/// clone3(2), Linux 5.3; `CLONE_PIDFD` 5.2. Namespaces other than the user namespace need `CAP_SYS_ADMIN`.
///
/// # Errors
/// `EINVAL` for flags that do not go together; `ENOSPC` at a limit of namespaces; `EPERM`; `ENOSYS` where a seccomp
/// filter hides clone3; with a cgroup `EBUSY`, `EOPNOTSUPP` and what writing to its `cgroup.procs` gives.
pub fn spawn(args: &CloneArgs<'_>, child: impl FnOnce() -> i32) -> Result<Child, Errno> {
    if args.flags & !ALLOWED != 0 {
        return Err(Errno::INVAL);
    }
    let mut pidfd: libc::c_int = -1;
    // With CLONE_PARENT the kernel wants no signal of ours: the child has its new parent's.
    let exit_signal = if args.flags & CLONE_PARENT == 0 { libc::SIGCHLD as u64 } else { 0 };
    let raw = libc::clone_args {
        flags: args.flags
            | libc::CLONE_PIDFD as u64
            | if args.cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        pidfd: &raw mut pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: args.cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: `raw` is a complete clone_args of the size given; `pidfd` outlives the call. Without CLONE_VM and with
    // no stack the child returns here on a copy of this stack, as after fork(2).
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const raw, size_of_val(&raw)) })?;
    if pid == 0 {
        exit_now(child());
    }
    // SAFETY: the kernel stored a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid: pid as i32, pidfd })
}
