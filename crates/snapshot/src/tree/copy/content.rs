use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, Stat, copy_file_range, ftruncate, ioctl_ficlone, seek};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

/// How much is copied through memory at a time, where the kernel cannot copy by itself.
const COPY_BUFFER_BYTES: usize = 128 * 1024;
/// How much the kernel is asked to copy at a time.
const MAX_RANGE_BYTES: u64 = 1 << 30;

/// Copies the contents of files the best way that the file system knows.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The file system does not share blocks between files.
    no_clone: bool,
    /// The kernel does not copy between files of this file system.
    no_range: bool,
    buffer: Vec<u8>,
}

impl Content {
    pub(super) fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        stat: &Stat,
    ) -> Result<(), Errno> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size == 0 {
            return Ok(());
        }
        if !self.no_clone {
            match ioctl_ficlone(to, from) {
                Ok(()) => return Ok(()),
                Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV | Errno::NOSYS) => self.no_clone = true,
                // A single file may refuse: one without copy-on-write on btrfs, or a swap file.
                Err(Errno::INVAL | Errno::TXTBSY | Errno::PERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        // A hole at the end is left by the size alone.
        ftruncate(to, size)?;
        let mut at = 0;
        while at < size {
            let Some((start, end)) = next_data(from, at, size)? else { break };
            self.range(from, to, start, end)?;
            at = end;
        }
        Ok(())
    }

    fn range(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> Result<(), Errno> {
        let mut at = start;
        while at < end && !self.no_range {
            let (mut source, mut target) = (at, at);
            let length = (end - at).min(MAX_RANGE_BYTES) as usize;
            match copy_file_range(from, Some(&mut source), to, Some(&mut target), length) {
                // The file is shorter than it said: nobody writes to what is copied, but a size may lie.
                Ok(0) => return Ok(()),
                Ok(copied) => at += copied as u64,
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::BADF) => {
                    self.no_range = true;
                }
                Err(errno) => return Err(errno),
            }
        }
        self.through_memory(from, to, at, end)
    }

    fn through_memory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        mut at: u64,
        end: u64,
    ) -> Result<(), Errno> {
        while at < end {
            self.buffer.resize(COPY_BUFFER_BYTES, 0);
            let wanted = (end - at).min(COPY_BUFFER_BYTES as u64) as usize;
            let read = retry_on_intr(|| pread(from, &mut self.buffer[..wanted], at))?;
            if read == 0 {
                break;
            }
            let mut written = 0;
            while written < read {
                written += retry_on_intr(|| pwrite(to, &self.buffer[written..read], at + written as u64))?;
            }
            at += read as u64;
        }
        Ok(())
    }
}

/// The next part of a file that is no hole.
fn next_data(file: BorrowedFd<'_>, at: u64, size: u64) -> Result<Option<(u64, u64)>, Errno> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(start) => {
            let end = seek(file, SeekFrom::Hole(start))?;
            Ok(Some((start, end.min(size))).filter(|(start, end)| start < end))
        }
        // Nothing but a hole follows.
        Err(Errno::NXIO) => Ok(None),
        // The file system knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some((at, size))),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::fstat;

    use super::*;

    fn check(content: &mut Content) {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let mut file = File::create(&from).unwrap();
        file.write_all(&vec![1; 300_000]).unwrap();
        file.seek(SeekFrom::Start(50 << 20)).unwrap();
        file.write_all(b"end").unwrap();
        file.set_len(100 << 20).unwrap();
        let (source, target) = (File::open(&from).unwrap(), File::create(&to).unwrap());
        content.copy(source.as_fd(), target.as_fd(), &fstat(&source).unwrap()).unwrap();
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20, "holes were filled");
    }

    #[test]
    fn contents_and_holes_are_kept_by_every_way_to_copy() {
        check(&mut Content::default());
        check(&mut Content { no_clone: true, ..Content::default() });
        check(&mut Content { no_clone: true, no_range: true, ..Content::default() });
    }
}
