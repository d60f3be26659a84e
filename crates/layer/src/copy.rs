//! Copying a file's data, holes as holes.

use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, copy_file_range, ftruncate, seek};
use rustix::io::Errno;

/// Copied at once where the kernel cannot do it.
const BUFFER_BYTES: usize = 128 << 10;

/// The next piece with data in it at or after `at`; `None` if there is only a hole before `size`.
pub(crate) fn next_data(file: BorrowedFd<'_>, at: u64, size: u64) -> Result<Option<(u64, u64)>, Errno> {
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // The file system knows of no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
        Err(errno) => return Err(errno),
    };
    let end = match seek(file, SeekFrom::Hole(start)) {
        Ok(end) => end.min(size),
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NXIO) => size,
        Err(errno) => return Err(errno),
    };
    Ok((start < end).then_some((start, end)))
}

/// Copies `size` bytes to an empty file.
pub(crate) fn copy_data(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Result<(), Errno> {
    let mut at = 0;
    while at < size {
        let Some((start, end)) = next_data(from, at, size)? else { break };
        copy_range(from, to, start, end)?;
        at = end;
    }
    ftruncate(to, size)
}

fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> Result<(), Errno> {
    let (mut from_at, mut to_at) = (start, start);
    while to_at < end {
        let left = usize::try_from(end - to_at).unwrap_or(usize::MAX);
        match copy_file_range(from, Some(&mut from_at), to, Some(&mut to_at), left) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                return copy_by_hand(from, to, to_at, end);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn copy_by_hand(from: BorrowedFd<'_>, to: BorrowedFd<'_>, mut at: u64, end: u64) -> Result<(), Errno> {
    let mut buffer = vec![0; BUFFER_BYTES];
    while at < end {
        let wanted = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let count = rustix::io::pread(from, &mut buffer[..wanted], at)?;
        if count == 0 {
            return Ok(());
        }
        let mut piece = &buffer[..count];
        while !piece.is_empty() {
            let written = rustix::io::pwrite(to, piece, at)?;
            piece = &piece[written..];
            at += written as u64;
        }
    }
    Ok(())
}
