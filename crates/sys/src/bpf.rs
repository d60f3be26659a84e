//! bpf(2) for programs that are attached to cgroups, as device filters are.
//!
//! All of it needs `CAP_BPF` or `CAP_SYS_ADMIN` (and `CAP_NET_ADMIN` to attach) in the initial user namespace.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::Errno;
use crate::syscall::check;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// `BPF_OBJ_NAME_LEN`.
const NAME_BYTES: usize = 16;

/// One instruction: `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high ones.
    pub registers: u8,
    /// Of a jump or a memory access.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME_BYTES],
}

#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// As long as the kernel's: from 6.17 until 7.2 it writes `revision` whatever size it is told.
#[repr(C)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// Loads a program that decides on access to devices, under the licence Apache-2.0, which allows it no helper that is
/// for the GPL only.
///
/// bpf(2) `BPF_PROG_LOAD`, type `BPF_PROG_TYPE_CGROUP_DEVICE` of Linux 4.15. `name` is cut to 15 bytes.
///
/// # Errors
/// `EPERM` without privilege, and before Linux 5.11 also when `RLIMIT_MEMLOCK` is reached; `EACCES` and `EINVAL` from
/// the verifier; `E2BIG` for a program that is too long; `EAGAIN` when a signal came.
pub fn load_device_program(program: &[Instruction], name: &CStr) -> Result<OwnedFd, Errno> {
    const LICENSE: &CStr = c"Apache-2.0";
    let mut prog_name = [0; NAME_BYTES];
    for (to, from) in prog_name[..NAME_BYTES - 1].iter_mut().zip(name.to_bytes()) {
        *to = *from;
    }
    let mut attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        insns: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
    };
    // SAFETY: the attribute is the prefix of `union bpf_attr` for this command; the instructions and the licence that
    // it points to live until the call returns, and the kernel only reads them.
    let fd = unsafe { bpf(PROG_LOAD, &mut attr) }?;
    // SAFETY: the kernel gave this process a new descriptor, which nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a device program to a cgroup of the unified hierarchy, beside those of others.
///
/// bpf(2) `BPF_PROG_ATTACH` with `BPF_F_ALLOW_MULTI`; with `replace`, in the place of that program and at once
/// (`BPF_F_REPLACE`, Linux 5.6).
///
/// # Errors
/// `EPERM` without privilege or where an ancestor's program forbids others; `ENOENT` if `replace` is not attached;
/// `E2BIG` with 64 programs.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut attr = AttachAttr {
        target_fd: number(cgroup),
        attach_bpf_fd: number(program),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI | replace.map_or(0, |_| F_REPLACE),
        replace_bpf_fd: replace.map_or(0, number),
    };
    // SAFETY: the attribute is the prefix of `union bpf_attr` for this command, and points to nothing.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// Detaches a device program from a cgroup: bpf(2) `BPF_PROG_DETACH`.
///
/// # Errors
/// `ENOENT` if it is not attached.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = AttachAttr {
        target_fd: number(cgroup),
        attach_bpf_fd: number(program),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    // SAFETY: as for attaching.
    unsafe { bpf(PROG_DETACH, &mut attr) }.map(drop)
}

/// Lists the ids of the device programs that are attached to a cgroup itself, and returns how many there are.
///
/// bpf(2) `BPF_PROG_QUERY`, Linux 4.15.
///
/// # Errors
/// `ENOSPC` if there are more than `ids` takes.
pub fn query_device_programs(cgroup: BorrowedFd<'_>, ids: &mut [u32]) -> Result<usize, Errno> {
    let mut attr = QueryAttr {
        target_fd: number(cgroup),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: u32::try_from(ids.len()).unwrap_or(u32::MAX),
        padding: 0,
        prog_attach_flags: 0,
        link_ids: 0,
        link_attach_flags: 0,
        revision: 0,
    };
    // SAFETY: the attribute is the prefix of `union bpf_attr` for this command; the kernel writes at most `prog_cnt`
    // ids to `ids`, which is borrowed exclusively until the call returns.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    Ok((attr.prog_cnt as usize).min(ids.len()))
}

/// Opens a program by its id: bpf(2) `BPF_PROG_GET_FD_BY_ID`, Linux 4.13.
///
/// # Errors
/// `ENOENT` if it is gone; `EPERM` without `CAP_SYS_ADMIN`; `EACCES` if a security module hides it.
pub fn program_by_id(id: u32) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct IdAttr {
        prog_id: u32,
        next_id: u32,
        open_flags: u32,
    }
    let mut attr = IdAttr { prog_id: id, next_id: 0, open_flags: 0 };
    // SAFETY: the attribute is the prefix of `union bpf_attr` for this command, and points to nothing.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }?;
    // SAFETY: the kernel gave this process a new descriptor, which nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An open descriptor is never negative.
fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// bpf(2).
///
/// # Safety
/// `T` is a prefix of the part of `union bpf_attr` that belongs to `command`, without uninitialised bytes, and what it
/// points to is valid for what the command does with it.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> Result<RawFd, Errno> {
    // SAFETY: the caller vouches for the attribute, and its size is that of its type.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    check(result).map(|fd| fd as RawFd)
}
