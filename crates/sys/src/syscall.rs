//! The raw call and its result, for the other modules.

use rustix::io::Errno;

/// Turns a libc-style result (-1 and `errno`) into a `Result`.
pub(crate) fn check(result: libc::c_long) -> Result<usize, Errno> {
    if result >= 0 {
        return Ok(result as usize);
    }
    // SAFETY: __errno_location has no precondition and returns the calling thread's errno, valid while it lives.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: the pointer is the calling thread's own, aligned and initialised.
    Err(Errno::from_raw_os_error(unsafe { *location }))
}

/// Ends the process at once, without destructors, handlers or buffers: _exit(2).
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes any status and does not return.
    unsafe { libc::_exit(status) }
}
