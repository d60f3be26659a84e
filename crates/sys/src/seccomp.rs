//! seccomp(2): loading a filter, and asking what the kernel supports.

use crate::Errno;
use crate::syscall::check;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The most instructions that the kernel takes: `BPF_MAXINSNS`.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// One instruction of classic BPF: `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// Class, size, mode and operation.
    pub code: u16,
    /// How many instructions to skip when the comparison holds.
    pub jump_true: u8,
    /// How many to skip when it does not.
    pub jump_false: u8,
    /// The operand: a value, an offset into `struct seccomp_data`, or a distance.
    pub k: u32,
}

/// What a filter can answer, without its 16 bits of data: `SECCOMP_RET_*`.
pub mod action {
    /// Kills the process.
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    /// Kills the thread.
    pub const KILL_THREAD: u32 = 0;
    /// Sends `SIGSYS`.
    pub const TRAP: u32 = 0x0003_0000;
    /// Fails the call with the errno in the data.
    pub const ERRNO: u32 = 0x0005_0000;
    /// Asks the holder of the notification descriptor.
    pub const NOTIFY: u32 = 0x7fc0_0000;
    /// Tells the tracer, with the data as the event's message.
    pub const TRACE: u32 = 0x7ff0_0000;
    /// Lets the call through and logs it.
    pub const LOG: u32 = 0x7ffc_0000;
    /// Lets the call through.
    pub const ALLOW: u32 = 0x7fff_0000;
}

/// How a filter is loaded: `SECCOMP_FILTER_FLAG_*`.
pub mod flag {
    /// Applies the filter to all threads of the process.
    pub const TSYNC: u32 = 1 << 0;
    /// Logs every answer but `ALLOW`.
    pub const LOG: u32 = 1 << 1;
    /// Leaves speculative store bypass alone. Linux 4.17.
    pub const SPEC_ALLOW: u32 = 1 << 2;
    /// Returns a notification descriptor. Linux 5.0.
    pub const NEW_LISTENER: u32 = 1 << 3;
    /// Lets `TSYNC` and `NEW_LISTENER` be used together. Linux 5.7.
    pub const TSYNC_ESRCH: u32 = 1 << 4;
    /// Only fatal signals interrupt a call whose notification was received. Linux 5.19.
    pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

/// The sizes of the kernel's notification structures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationSizes {
    /// Bytes of `struct seccomp_notif`.
    pub notification: usize,
    /// Bytes of `struct seccomp_notif_resp`.
    pub response: usize,
    /// Bytes of `struct seccomp_data`.
    pub data: usize,
}

/// `struct sock_fprog`, for a call that is made from a list.
#[repr(C)]
pub(crate) struct FilterProgram(libc::sock_fprog);

impl FilterProgram {
    /// Points to `program`, which must stay where it is.
    pub(crate) fn new(program: &[Instruction]) -> Result<Self, Errno> {
        if program.is_empty() || program.len() > MAX_INSTRUCTIONS {
            return Err(Errno::INVAL);
        }
        Ok(Self(libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut().cast() }))
    }
}

const SET_MODE_FILTER: libc::c_ulong = 1;
const GET_ACTION_AVAIL: libc::c_ulong = 2;
const GET_NOTIF_SIZES: libc::c_ulong = 3;

/// Installs `program` on the calling thread, and returns the notification descriptor for [`flag::NEW_LISTENER`].
///
/// seccomp(2), `SECCOMP_SET_MODE_FILTER`, Linux 3.17; needs `no_new_privs` or `CAP_SYS_ADMIN` in the thread's user
/// namespace. Allocates nothing and takes no lock, so that it may be called in a clone child. The descriptor is
/// close-on-exec.
///
/// # Errors
/// `EACCES` without the privilege; `EINVAL` for a program that is empty, too long or invalid, or for an unknown flag;
/// `ESRCH` if `TSYNC` and `TSYNC_ESRCH` meet a thread with a diverging filter; `EBUSY` if there is a listener already.
pub fn load(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    let header = FilterProgram::new(program)?;
    // SAFETY: seccomp(2) reads one `sock_fprog` and the `len` instructions behind `filter`. Both outlive the call, it
    // only reads through the pointer, and `Instruction` has the layout of `sock_filter`.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            libc::c_ulong::from(flags),
            std::ptr::from_ref(&header),
        )
    };
    match check(answer)? {
        // With TSYNC and without TSYNC_ESRCH, the id of a thread that could not be synchronised.
        thread if flags & flag::TSYNC != 0 && flags & flag::NEW_LISTENER == 0 && thread > 0 => {
            Err(Errno::SRCH)
        }
        descriptor if flags & flag::NEW_LISTENER != 0 => {
            // SAFETY: with NEW_LISTENER the answer is a new descriptor, which nothing else owns.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) }))
        }
        _ => Ok(None),
    }
}

/// Whether the kernel knows `action`, one of [`action`].
///
/// seccomp(2), `SECCOMP_GET_ACTION_AVAIL`, Linux 4.14; no privilege.
///
/// # Errors
/// `ENOSYS` without seccomp; `EINVAL` before 4.14. An unknown action is no error.
pub fn action_available(action: u32) -> Result<bool, Errno> {
    // SAFETY: GET_ACTION_AVAIL reads the u32 behind the pointer, which outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            GET_ACTION_AVAIL,
            libc::c_ulong::from(0u32),
            std::ptr::from_ref(&action),
        )
    };
    match check(answer) {
        Ok(_) => Ok(true),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether the kernel knows all of `flags`, some of [`flag`]; installs nothing.
///
/// seccomp(2), `SECCOMP_SET_MODE_FILTER` with a null program: the kernel checks the flags first (`EINVAL`) and the
/// pointer next (`EFAULT`). No privilege. `WAIT_KILLABLE_RECV` is only valid with `NEW_LISTENER`.
pub fn flags_available(flags: u32) -> bool {
    let none: *const libc::sock_fprog = std::ptr::null();
    // SAFETY: the null program makes the call fail before it changes anything.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, libc::c_ulong::from(flags), none) };
    matches!(check(answer), Err(Errno::FAULT))
}

/// The sizes of the structures of the notification descriptor's ioctls.
///
/// seccomp(2), `SECCOMP_GET_NOTIF_SIZES`, Linux 5.0; no privilege.
///
/// # Errors
/// `EINVAL` before 5.0; `ENOSYS` without seccomp.
pub fn notification_sizes() -> Result<NotificationSizes, Errno> {
    let mut sizes = MaybeUninit::<libc::seccomp_notif_sizes>::zeroed();
    // SAFETY: GET_NOTIF_SIZES writes one `seccomp_notif_sizes`, for which there is room.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, GET_NOTIF_SIZES, libc::c_ulong::from(0u32), sizes.as_mut_ptr())
    };
    check(answer)?;
    // SAFETY: three u16, all bits of which are valid; they were zeroed and then written by the kernel.
    let sizes = unsafe { sizes.assume_init() };
    Ok(NotificationSizes {
        notification: sizes.seccomp_notif.into(),
        response: sizes.seccomp_notif_resp.into(),
        data: sizes.seccomp_data.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruction_has_the_layout_of_sock_filter() {
        assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
        assert_eq!(align_of::<Instruction>(), align_of::<libc::sock_filter>());
        assert_eq!(std::mem::offset_of!(Instruction, k), std::mem::offset_of!(libc::sock_filter, k));
    }

    #[test]
    fn empty_and_oversized_programs_are_invalid() {
        assert_eq!(load(&[], 0).unwrap_err(), Errno::INVAL);
        let long = vec![Instruction::default(); MAX_INSTRUCTIONS + 1];
        assert_eq!(load(&long, 0).unwrap_err(), Errno::INVAL);
    }

    #[test]
    fn probing_knows_the_kernel() {
        assert_eq!(action_available(action::ALLOW), Ok(true));
        assert_eq!(action_available(0x1234_0000), Ok(false));
        assert!(flags_available(flag::LOG));
        assert!(!flags_available(1 << 30));
        assert!(flags_available(flag::WAIT_KILLABLE_RECV | flag::NEW_LISTENER));
    }

    #[test]
    fn notifications_have_sizes() {
        let sizes = notification_sizes().unwrap();
        assert_eq!(sizes.data, 64);
        assert!(sizes.notification >= 80 && sizes.response >= 24);
    }
}
