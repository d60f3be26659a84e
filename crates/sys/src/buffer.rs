//! Memory that goes back to the kernel while its owner has no use for it: mmap(2), madvise(2).
//!
//! For buffers of long-lived processes, where an allocator keeps what was once touched.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use rustix::io::Errno;

use crate::syscall::check;

/// Zeroed anonymous memory of a fixed size. A page of it exists only from its first use until [`Self::release`].
#[derive(Debug)]
pub struct Buffer {
    start: NonNull<u8>,
    len: usize,
}

impl Buffer {
    /// Maps `len` bytes: mmap(2).
    ///
    /// # Errors
    /// `EINVAL` for length 0; `ENOMEM`.
    pub fn new(len: usize) -> Result<Self, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: with no address given, the kernel chooses a place where nothing is mapped.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            check(-1)?;
        }
        Ok(Self { start: NonNull::new(start.cast()).ok_or(Errno::NOMEM)?, len })
    }

    /// Gives every page back; the content is zeros afterwards: MADV_DONTNEED of madvise(2).
    pub fn release(&mut self) {
        // SAFETY: the range is this mapping, of which the exclusive borrow shows that nobody has a reference.
        unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_DONTNEED) };
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is `len` readable bytes, zeroed by the kernel, and lives as long as `self`; who writes
        // has borrowed `self` exclusively.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and the exclusive borrow of `self` makes the slice the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone and nobody has a reference into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_memory_is_zero_and_usable() {
        let mut buffer = Buffer::new(100_000).unwrap();
        assert_eq!(buffer.len(), 100_000);
        buffer[99_999] = 7;
        assert_eq!(buffer[99_999], 7);
        buffer.release();
        assert!(buffer.iter().all(|&byte| byte == 0));
        buffer[0] = 1;
        assert_eq!(buffer[0], 1);
    }

    #[test]
    fn no_buffer_is_empty() {
        assert_eq!(Buffer::new(0).unwrap_err(), Errno::INVAL);
    }
}
