//! Programs: execve(2).

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::io::Errno;

use crate::syscall::check;

/// Strings in the form that execve(2) wants, made before the clone so that the child need not allocate.
#[derive(Debug)]
pub struct StringArray {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl StringArray {
    /// Keeps `strings` in their order.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect();
        Self { strings, pointers }
    }

    /// Where the pointers begin, the last of which is null.
    pub(crate) fn address(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// Replaces the program of the process: execve(2). Returns only what went wrong.
pub fn execve(path: &CStr, argv: &StringArray, envp: &StringArray) -> Errno {
    // SAFETY: both arrays end with a null pointer, and their strings are owned by the arrays, hence alive.
    let result = unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    check(result.into()).err().unwrap_or(Errno::NOEXEC)
}

/// Replaces the program of the process by that of a descriptor: execveat(2), Linux 3.19.
pub(crate) fn execveat(fd: BorrowedFd<'_>, argv: &StringArray, envp: &StringArray, flags: u32) -> Errno {
    // SAFETY: both arrays end with a null pointer, and their strings are owned by the arrays, hence alive.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
            flags,
        )
    };
    check(result).err().unwrap_or(Errno::NOEXEC)
}
