//! Whether a file is the one below, as far as a layer can tell.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::path::FdPath;
use rustix::fs::{FileType, Mode, OFlags, Stat, readlinkat};
use rustix::io::Errno;

use crate::attributes::{is_portable, mtime, xattrs};
use crate::copy::next_data;

/// Compared at once.
const BUFFER_BYTES: usize = 128 << 10;

/// Whether mode, owner and attributes are the same. Both may be `O_PATH`.
pub(crate) fn same_attributes(
    (a, a_stat): (BorrowedFd<'_>, &Stat),
    (b, b_stat): (BorrowedFd<'_>, &Stat),
) -> Result<bool, Errno> {
    let plain = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
    Ok(plain(a_stat) == plain(b_stat) && xattrs(a, is_portable)? == xattrs(b, is_portable)?)
}

/// Whether two files that are no directories are the same: where times are whole seconds, as those of unpacked layers are,
/// the content decides, else the time does.
pub(crate) fn same_file(
    (a, a_stat): (BorrowedFd<'_>, &Stat),
    (b, b_stat): (BorrowedFd<'_>, &Stat),
) -> Result<bool, Errno> {
    if (a_stat.st_dev, a_stat.st_ino) == (b_stat.st_dev, b_stat.st_ino) {
        return Ok(true);
    }
    let kind = FileType::from_raw_mode(a_stat.st_mode);
    let device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    if a_stat.st_size != b_stat.st_size
        || device && a_stat.st_rdev != b_stat.st_rdev
        || mtime(a_stat) != mtime(b_stat)
        || !same_attributes((a, a_stat), (b, b_stat))?
    {
        return Ok(false);
    }
    if mtime(a_stat).nanoseconds != 0 {
        return Ok(true);
    }
    match kind {
        FileType::Symlink => Ok(readlinkat(a, c"", Vec::new())? == readlinkat(b, c"", Vec::new())?),
        FileType::RegularFile => same_content(a, b, a_stat.st_size as u64),
        _ => Ok(true),
    }
}

/// Opens a pinned file for reading.
pub(crate) fn open(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::open(FdPath::new(file).as_cstr(), flags, Mode::empty())
}

fn same_content(a: BorrowedFd<'_>, b: BorrowedFd<'_>, size: u64) -> Result<bool, Errno> {
    if size == 0 {
        return Ok(true);
    }
    let (a, b) = (open(a)?, open(b)?);
    let (mut a_buffer, mut b_buffer) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    let mut at = 0;
    while at < size {
        // What is a hole in both is the same.
        let next = [next_data(a.as_fd(), at, size)?, next_data(b.as_fd(), at, size)?];
        let Some(start) = next.iter().flatten().map(|&(start, _)| start).min() else { return Ok(true) };
        let wanted = BUFFER_BYTES.min(usize::try_from(size - start).unwrap_or(usize::MAX));
        let count = read_full(a.as_fd(), &mut a_buffer[..wanted], start)?;
        if count != read_full(b.as_fd(), &mut b_buffer[..wanted], start)?
            || a_buffer[..count] != b_buffer[..count]
        {
            return Ok(false);
        }
        if count == 0 {
            break;
        }
        at = start + count as u64;
    }
    Ok(true)
}

fn read_full(file: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(file, &mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}
