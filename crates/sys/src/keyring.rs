//! Session keyrings: keyrings(7).

use std::ffi::CStr;

use rustix::io::Errno;

use crate::syscall::check;

/// Replaces the caller's session keyring by a new one of this name: KEYCTL_JOIN_SESSION_KEYRING of keyctl(2).
///
/// Gives back the keyring's serial number.
///
/// # Errors
/// `ENOSYS` without CONFIG_KEYS; `EDQUOT` when the user has no quota left; `EPERM`, `EACCES`.
pub fn join_session(name: &CStr) -> Result<i32, Errno> {
    const JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: the kernel reads a string that ends with NUL.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) })
        .map(|serial| serial as i32)
}

/// The permission bits of a key: KEYCTL_DESCRIBE of keyctl(2).
pub fn permissions(serial: i32) -> Result<u32, Errno> {
    const DESCRIBE: i32 = 6;
    let mut text = [0u8; 256];
    // SAFETY: the kernel writes at most the length given into a live buffer.
    let len =
        check(unsafe { libc::syscall(libc::SYS_keyctl, DESCRIBE, serial, text.as_mut_ptr(), text.len()) })?;
    // "type;uid;gid;perm;description"
    let text = &text[..len.min(text.len())];
    let field = text.split(|&b| b == b';').nth(3).unwrap_or_default();
    let digit = |b: &u8| char::from(*b).to_digit(16);
    field.iter().try_fold(0u32, |value, b| Some(value << 4 | digit(b)?)).ok_or(Errno::INVAL)
}

/// Sets the permission bits of a key: KEYCTL_SETPERM of keyctl(2).
pub fn set_permissions(serial: i32, permissions: u32) -> Result<(), Errno> {
    const SETPERM: i32 = 5;
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, serial, permissions) }).map(drop)
}
