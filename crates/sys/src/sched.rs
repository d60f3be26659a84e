//! Scheduling of processors, I/O and memory.

use rustix::io::Errno;

use crate::syscall::check;

/// `struct sched_attr` of sched_setattr(2), up to the utilisation hints.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SchedAttr {
    /// The structure's size; [`set_scheduler`] fills it.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Niceness.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// Nanoseconds.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// Sets the scheduling policy of a process (0: the caller): sched_setattr(2), Linux 3.14.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE`; `EINVAL`; `EBUSY` for deadlines that do not fit.
pub fn set_scheduler(pid: i32, attr: &SchedAttr) -> Result<(), Errno> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: the kernel reads `size` bytes of a live structure.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attr, 0) }).map(drop)
}

/// Sets the I/O class (1 real time, 2 best effort, 3 idle) and priority of the caller: ioprio_set(2).
///
/// # Errors
/// `EPERM` for the real-time class without `CAP_SYS_ADMIN` or `CAP_SYS_NICE`; `EINVAL`.
pub fn set_io_priority(class: i32, priority: i32) -> Result<(), Errno> {
    const WHO_PROCESS: i32 = 1;
    const CLASS_SHIFT: i32 = 13;
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, class << CLASS_SHIFT | priority) })
        .map(drop)
}

/// Sets the CPUs on which a process (0: the caller) may run, a bit each: sched_setaffinity(2).
///
/// # Errors
/// `EINVAL` when none of them is usable.
pub fn set_affinity(pid: i32, mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: the pointer and the length in bytes describe one live slice.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, size_of_val(mask), mask.as_ptr()) })
        .map(drop)
}

/// Lets a process run on every CPU that its cpuset allows, whatever its parent was confined to.
///
/// # Errors
/// As [`set_affinity`].
pub fn reset_affinity(pid: i32) -> Result<(), Errno> {
    /// A bit for each of 8192 CPUs, the most that Linux is built for; it passes over those that there are not.
    const ALL: [u64; 128] = [u64::MAX; 128];
    set_affinity(pid, &ALL)
}

/// Sets the NUMA policy of the caller: set_mempolicy(2). `nodes` is a bit a node.
///
/// # Errors
/// `EINVAL` for a mode that does not fit the nodes; `EPERM`, `ENOSYS`.
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<(), Errno> {
    // The kernel takes one bit less than it is told.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let pointer = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the kernel reads the words of a live slice, or none.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}

/// Gives the calling process a core-scheduling cookie of its own, which its children inherit: only they share a core at a
/// time. PR_SCHED_CORE of prctl(2), Linux 5.14 with CONFIG_SCHED_CORE.
///
/// # Errors
/// `EINVAL` where the kernel lacks it, `ENODEV` where the processors have one thread a core.
pub fn create_core_cookie() -> Result<(), Errno> {
    const PR_SCHED_CORE: libc::c_int = 62;
    const CREATE: libc::c_ulong = 1;
    const THREAD_GROUP: libc::c_ulong = 1;
    // SAFETY: takes integers only; 0 is the caller.
    check(unsafe { libc::prctl(PR_SCHED_CORE, CREATE, 0u64, THREAD_GROUP, 0u64) }.into()).map(drop)
}
