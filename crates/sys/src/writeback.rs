//! Dirty pages on their way to the disk, before anybody waits for them.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::syscall::check;

/// Starts the writing of dirty pages of `length` bytes from `offset` on, and does not wait for its end: sync_file_range(2)
/// with `SYNC_FILE_RANGE_WRITE`, Linux 2.6.17.
///
/// Nothing is promised: no metadata is written, and no cache of the disk flushed. It saves time for an fdatasync(2) that
/// comes later. It may wait for room in the queue of the disk.
///
/// # Errors
/// `ESPIPE` for what is no file, directory or block device; `EINVAL` for a range that no file has; `EIO`, `ENOSPC` as
/// from a write.
pub fn start_writeback(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), Errno> {
    let range = (i64::try_from(offset), i64::try_from(length));
    let (Ok(offset), Ok(length)) = range else { return Err(Errno::INVAL) };
    // SAFETY: takes integers only, and the descriptor is open for as long as it is borrowed.
    let result =
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    check(result.into()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn writeback_starts_on_files_only() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"dirty").expect("room");
        start_writeback(file.as_fd(), 0, 5).expect("written");
        assert_eq!(start_writeback(file.as_fd(), u64::MAX, 5), Err(Errno::INVAL));
        let (reader, _writer) = rustix::pipe::pipe().expect("a pipe");
        assert_eq!(start_writeback(reader.as_fd(), 0, 5), Err(Errno::SPIPE));
    }
}
