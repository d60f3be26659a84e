//! Attributes of the calling process, and waiting for others.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::syscall::check;

fn prctl(option: i32, value: u64) -> Result<(), Errno> {
    // SAFETY: the options used here take integers only, and unused arguments are zero as they demand.
    check(unsafe { libc::prctl(option, value, 0u64, 0u64, 0u64) }.into()).map(drop)
}

/// Sets whether others of the same user may trace the process and open its /proc files: PR_SET_DUMPABLE of prctl(2).
pub fn set_dumpable(dumpable: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into())
}

/// Gives up, for ever, gaining privileges by execve(2): PR_SET_NO_NEW_PRIVS of prctl(2).
pub fn set_no_new_privs() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Makes the process the parent of its orphaned descendants: PR_SET_CHILD_SUBREAPER of prctl(2).
pub fn set_child_subreaper() -> Result<(), Errno> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Asks for `signal` when the parent thread ends: PR_SET_PDEATHSIG of prctl(2).
pub fn set_parent_death_signal(signal: i32) -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, signal as u64)
}

/// Sets the real, effective and saved user id of the calling thread: setresuid(2), without glibc's broadcast to threads.
pub fn set_uid(uid: u32) -> Result<(), Errno> {
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Sets the real, effective and saved group id of the calling thread: setresgid(2).
pub fn set_gid(gid: u32) -> Result<(), Errno> {
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Sets the ids by which the calling thread makes and reaches files: setfsuid(2), setfsgid(2). Leaving 0 takes the effective
/// capabilities over files away, which stay permitted: capabilities(7).
///
/// # Errors
/// `EPERM` where the kernel left an id as it was, which it does not say.
///
/// # Privilege
/// `CAP_SETUID`, `CAP_SETGID`.
pub fn set_file_system_ids(uid: u32, gid: u32) -> Result<(), Errno> {
    for (call, id) in [(libc::SYS_setfsgid, gid), (libc::SYS_setfsuid, uid)] {
        // SAFETY: takes an integer only.
        check(unsafe { libc::syscall(call, id) })?;
        // It gives the id before, and does not take this one, which is none.
        // SAFETY: the same.
        let now = check(unsafe { libc::syscall(call, u32::MAX) })?;
        if now as u32 != id {
            return Err(Errno::PERM);
        }
    }
    Ok(())
}

/// Sets the supplementary groups of the calling thread: setgroups(2).
///
/// # Errors
/// `EPERM` without `CAP_SETGID` or where the user namespace denies it.
pub fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the pointer and the length describe one live slice of 32-bit ids, which is what the kernel reads.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// The supplementary groups of the calling thread: getgroups(2).
pub fn groups() -> Result<Vec<u32>, Errno> {
    // SAFETY: with size 0 nothing is written.
    let len = check(unsafe { libc::syscall(libc::SYS_getgroups, 0, std::ptr::null_mut::<u32>()) })?;
    let mut groups = vec![0u32; len];
    // SAFETY: the buffer has room for the number of ids that is given.
    let len = check(unsafe { libc::syscall(libc::SYS_getgroups, groups.len(), groups.as_mut_ptr()) })?;
    groups.truncate(len);
    Ok(groups)
}

/// Sets a resource limit of a process (0: the caller): prlimit(2).
///
/// # Errors
/// `EPERM` for raising a hard limit without `CAP_SYS_RESOURCE` in the initial user namespace; `EINVAL`.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads one rlimit64 and, with a null pointer, writes none.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    })
    .map(drop)
}

/// Sets the NIS domain name: setdomainname(2); needs `CAP_SYS_ADMIN` over the UTS namespace.
pub fn set_domainname(name: &[u8]) -> Result<(), Errno> {
    // SAFETY: the pointer and the length describe one live slice.
    check(unsafe { libc::syscall(libc::SYS_setdomainname, name.as_ptr(), name.len()) }).map(drop)
}

/// Marks every descriptor from `first` on close-on-exec: close_range(2) with CLOSE_RANGE_CLOEXEC, Linux 5.11.
///
/// # Errors
/// `ENOSYS` before 5.9, `EINVAL` before 5.11.
pub fn cloexec_from(first: u32) -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: takes integers only; marking a descriptor does not close it under anyone's feet.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Closes every descriptor of a clone child but the standard streams and those of `keep`, which it sorts: close_range(2),
/// Linux 5.9.
///
/// The owners in the child's copy of the memory are never dropped: it ends by execve(2) or _exit(2).
pub fn close_others(keep: &mut [i32]) -> Result<(), Errno> {
    keep.sort_unstable();
    let mut first = 3u32;
    for &fd in keep.iter().filter(|&&fd| fd >= 3) {
        let fd = fd as u32;
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: takes integers only; the caller's owners of these descriptors are never dropped, as stated above.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Marks one descriptor close-on-exec by number, for kernels without [`cloexec_from`]: fcntl(2) F_SETFD.
pub fn set_cloexec_raw(fd: i32) -> Result<(), Errno> {
    // SAFETY: F_SETFD takes an integer; it changes a flag of the descriptor and nothing of the memory.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }.into()).map(drop)
}

/// Whether the process has the descriptor from whoever executed it: fcntl(2) F_GETFD.
///
/// One that it opened itself is close-on-exec.
pub fn is_inherited(fd: i32) -> bool {
    // SAFETY: F_GETFD takes no argument and reads the flags of the descriptor.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into());
    flags.is_ok_and(|flags| flags & libc::FD_CLOEXEC as usize == 0)
}

/// Clears close-on-exec of a descriptor by number: fcntl(2) F_SETFD.
pub fn clear_cloexec_raw(fd: i32) -> Result<(), Errno> {
    // SAFETY: F_SETFD takes an integer; it changes a flag of the descriptor and nothing of the memory.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }.into()).map(drop)
}

/// Takes ownership of a descriptor that the program was executed with, and sets close-on-exec: fcntl(2).
///
/// For the start of a program: each number may be taken once, before the program has opened anything itself.
///
/// # Errors
/// `EBADF` when it was not handed over; `EINVAL` for the standard streams, which are everybody's.
pub fn take_inherited(fd: i32) -> Result<OwnedFd, Errno> {
    if fd < 3 {
        return Err(Errno::INVAL);
    }
    set_cloexec_raw(fd)?;
    // SAFETY: the number is open, and belongs to nobody in this program: it was given by whoever executed it, and is
    // taken once, as stated above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes `fd` also the descriptor number `target` (without close-on-exec), whoever owned that number: dup2(2).
///
/// For a clone child that is about to exec, and for the numbers 0 to 2, which no owner of this workspace closes.
pub fn dup_onto(fd: BorrowedFd<'_>, target: i32) -> Result<(), Errno> {
    if fd.as_raw_fd() == target {
        return clear_cloexec_raw(target);
    }
    // SAFETY: takes integers only; the caller gives up what `target` was, as stated above.
    check(unsafe { libc::syscall(libc::SYS_dup3, fd.as_raw_fd(), target, 0) }).map(drop)
}

/// Closes a descriptor in a clone child, whose copy of the owner is never dropped: close(2).
pub fn abandon(fd: BorrowedFd<'_>) {
    // SAFETY: takes an integer only. The owner is in the parent; its copy here is forgotten with the process's memory
    // at execve(2) or _exit(2), so nobody closes the number again.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Renames the calling thread: PR_SET_NAME of prctl(2), at most 15 bytes.
pub fn set_name(name: &CStr) -> Result<(), Errno> {
    // SAFETY: the kernel reads a string that ends with NUL, at most 16 bytes of it.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0u64, 0u64, 0u64) }.into()).map(drop)
}

/// Sets the execution domain: personality(2).
pub fn set_personality(persona: u64) -> Result<(), Errno> {
    // SAFETY: takes an integer only.
    check(unsafe { libc::syscall(libc::SYS_personality, persona) }).map(drop)
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By exit(2), with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The status as shells and runtimes report it: 128 and the signal's number for a signal.
    pub fn status(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// Which children [`wait`] waits for.
#[derive(Debug, Clone, Copy)]
pub enum Wait<'a> {
    /// The one of this descriptor, waiting until it ends: waitid(2) P_PIDFD, Linux 5.4.
    Child(BorrowedFd<'a>),
    /// Any that has ended already; `ECHILD` when there are no children.
    AnyEnded,
}

/// Reaps a child: waitid(2). `Ok(None)` for [`Wait::AnyEnded`] when none has ended.
///
/// # Errors
/// `ECHILD` when there is no such child.
pub fn wait(which: Wait<'_>) -> Result<Option<(i32, Exit)>, Errno> {
    let (kind, id, options) = match which {
        Wait::Child(fd) => (libc::P_PIDFD, fd.as_raw_fd() as u32, libc::WEXITED),
        Wait::AnyEnded => (libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG),
    };
    loop {
        // SAFETY: siginfo_t is plain data for which all zeros are valid.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is writable and outlives the call.
        match check(unsafe { libc::waitid(kind, id, &raw mut info, options | libc::__WALL) }.into()) {
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
            Ok(_) => {}
        }
        // SAFETY: waitid filled the SIGCHLD member, or left the zeros, which are valid for it.
        let pid = unsafe { info.si_pid() };
        if pid == 0 {
            return Ok(None);
        }
        // SAFETY: as above.
        let status = unsafe { info.si_status() };
        let exit = if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) };
        return Ok(Some((pid, exit)));
    }
}

/// Waits for a child by its id and reaps it: wait4(2). Gives back its peak resident memory in KiB, too.
///
/// # Errors
/// `ECHILD` when there is no such child.
pub fn wait_with_usage(pid: i32) -> Result<(Exit, u64), Errno> {
    let mut status: libc::c_int = 0;
    // SAFETY: rusage is plain data for which all zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both results are writable and outlive the call.
        match check(unsafe { libc::wait4(pid, &raw mut status, libc::__WALL, &raw mut usage) }.into()) {
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    let signaled = libc::WIFSIGNALED(status);
    let exit =
        if signaled { Exit::Signal(libc::WTERMSIG(status)) } else { Exit::Code(libc::WEXITSTATUS(status)) };
    Ok((exit, usage.ru_maxrss.unsigned_abs()))
}

/// Reaps the children that have ended, but for the process `but`, whose status somebody else wants: waitid(2).
pub fn reap_others(but: i32) {
    loop {
        // SAFETY: siginfo_t is plain data for which all zeros are valid.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
        // SAFETY: `info` is writable and outlives the call.
        let result = check(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) }.into());
        // SAFETY: waitid filled the SIGCHLD member, or left the zeros, which are valid for it.
        let pid = unsafe { info.si_pid() };
        // The kernel shows the same child again until it is reaped; ours is reaped by its descriptor.
        if result.is_err() || pid == 0 || pid == but {
            return;
        }
        // SAFETY: `info` is writable and outlives the call.
        let _ = check(
            unsafe { libc::waitid(libc::P_PID, pid as u32, &raw mut info, libc::WEXITED | libc::__WALL) }
                .into(),
        );
    }
}

/// Sends a signal by number to a process: kill(2).
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes integers only.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Sends a signal by number to the process of a pidfd: pidfd_send_signal(2), Linux 5.1.
///
/// # Errors
/// `ESRCH` when the process was reaped; `EPERM`; `EINVAL` for no signal.
pub fn pidfd_kill(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: with a null siginfo the kernel reads no memory of ours.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// How the process of a pidfd has ended, for whoever is not its parent: PIDFD_GET_INFO of ioctl_pidfd(2) with
/// `PIDFD_INFO_EXIT`, Linux 6.15; only once its parent has reaped it.
///
/// # Errors
/// `ENOTTY`, `EINVAL` before that kernel; `ESRCH` where nothing is known.
pub fn exit_of(pidfd: BorrowedFd<'_>) -> Result<Option<Exit>, Errno> {
    /// `struct pidfd_info` in its first version.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroupid: u64,
        pid: u32,
        tgid: u32,
        ppid: u32,
        ids: [u32; 8],
        exit_code: i32,
    }
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    // _IOWR(0xff, 11, struct pidfd_info)
    const PIDFD_GET_INFO: libc::c_ulong =
        3 << 30 | (size_of::<Info>() as libc::c_ulong) << 16 | 0xff << 8 | 11;
    let mut info = Info { mask: PIDFD_INFO_EXIT, ..Info::default() };
    // SAFETY: the kernel reads and writes at most the size that the request's number has, of a live structure.
    check(unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) }.into())?;
    if info.mask & PIDFD_INFO_EXIT == 0 {
        return Ok(None);
    }
    let status = info.exit_code;
    let signaled = libc::WIFSIGNALED(status);
    Ok(Some(if signaled {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Code(libc::WEXITSTATUS(status))
    }))
}

/// Bounds the number of heaps that glibc makes for threads: mallopt(3), `M_ARENA_MAX`. Each thread that finds the others' in use
/// makes one of its own, up to eight a processor, and what is free in one is of no use to the others. Elsewhere it does nothing.
pub fn limit_arenas(count: i32) {
    #[cfg(target_env = "gnu")]
    // SAFETY: has no precondition.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, count)
    };
    #[cfg(not(target_env = "gnu"))]
    let _ = count;
}

/// Gives free memory of the heap back to the kernel: malloc_trim(3). It locks each heap in turn. Elsewhere it does nothing.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: has no precondition; it touches only what the allocator knows to be free.
    unsafe {
        libc::malloc_trim(0)
    };
}
