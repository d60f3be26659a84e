//! Signals: signal(7).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::syscall::check;

/// The size of the kernel's signal set, in bytes.
const SET_BYTES: usize = 8;
/// The highest signal number: SIGRTMAX.
pub const MAX_SIGNAL: i32 = 64;

/// Blocks the signals of `mask` (bit n-1 is signal n) and no others, and gives back what was blocked: sigprocmask(2).
pub fn set_blocked(mask: u64) -> Result<u64, Errno> {
    let mut old = 0u64;
    // SAFETY: the kernel reads and writes one 64-bit set each.
    check(unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, &raw mut old, SET_BYTES)
    })?;
    Ok(old)
}

/// Sets the disposition of every signal to its default: sigaction(2).
///
/// execve(2) resets handlers but keeps ignored signals, and Rust's start-up ignores SIGPIPE.
pub fn default_all() {
    #[repr(C)]
    struct KernelAction {
        handler: usize,
        flags: u64,
        restorer: usize,
        mask: u64,
    }
    let action = KernelAction { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    for signal in 1..=MAX_SIGNAL {
        // SAFETY: the kernel reads one action, whose default disposition runs no code of ours. SIGKILL and SIGSTOP
        // give EINVAL, which does not matter.
        let _ = check(unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const action,
                std::ptr::null_mut::<KernelAction>(),
                SET_BYTES,
            )
        });
    }
}

/// Sets one signal's disposition to its default: sigaction(2).
pub fn default_one(signal: i32) {
    // SAFETY: the default disposition runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Ignores one signal, which programs that are executed inherit: sigaction(2).
pub fn ignore(signal: i32) {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// A descriptor from which the (blocked) signals of `mask` are read: signalfd(2), close-on-exec and non-blocking.
pub fn signalfd(mask: u64) -> Result<OwnedFd, Errno> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the kernel reads one 64-bit set.
    let fd = check(unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const mask, SET_BYTES, flags) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Reads the number of one signal; `None` when none is pending.
pub fn read_signal(fd: BorrowedFd<'_>) -> Result<Option<i32>, Errno> {
    // SAFETY: signalfd_siginfo is plain data for which all zeros are valid.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the length given into a live structure.
    let read = unsafe { libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size_of_val(&info)) };
    match check(read as libc::c_long) {
        Ok(_) => Ok(Some(info.ssi_signo as i32)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
