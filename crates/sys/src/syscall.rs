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

/// The error that a message names by its number; `EIO` for a number that no error has, of which the type takes none.
pub fn received_errno(number: i32) -> Errno {
    const MAX_ERRNO: i32 = 4095;
    if (1..=MAX_ERRNO).contains(&number) { Errno::from_raw_os_error(number) } else { Errno::IO }
}

/// Ends the process at once, without destructors, handlers or buffers: _exit(2).
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes any status and does not return.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_no_error_has_are_i_o_errors() {
        assert_eq!(received_errno(17), Errno::EXIST);
        assert_eq!(received_errno(4095).raw_os_error(), 4095);
        for number in [0, -17, 4096, 65_536 - 17, i32::MIN, i32::MAX] {
            assert_eq!(received_errno(number), Errno::IO, "{number}");
        }
    }
}
