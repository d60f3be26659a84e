//! The file that a log is written to.

use std::fs::DirBuilder;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use memchr::memrchr;
use rustix::fs::{FileType, Mode, OFlags, fstat, ftruncate, open};
use rustix::io::{Errno, pread, write};

use crate::{Error, local, query::tail};

/// Docker's and containerd's permissions of logs.
const PERMISSIONS: u32 = 0o640;
/// Those of directories that are missing.
const DIRECTORY_PERMISSIONS: u32 = 0o755;

/// An open log. Each write appends, wherever the file's end is.
#[derive(Debug)]
pub(crate) struct File {
    fd: OwnedFd,
    /// How long the file is by our own count.
    pub(crate) size: u64,
    records: Records,
    /// How many bytes are still to be written of a record of which a part is in the file.
    rest: usize,
}

/// How records are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Records {
    /// Each ends with a line feed.
    Lines,
    /// Each has its length before it and after it.
    Framed,
}

/// A write that did not get through.
#[derive(Debug)]
pub(crate) struct Short {
    /// How many bytes are in the file, up to the end of a record where the file could be repaired.
    pub(crate) written: usize,
    pub(crate) errno: Errno,
}

impl File {
    /// Opens or makes the log, and the directories above it.
    pub(crate) fn open(path: &Path, records: Records) -> Result<Self, Error> {
        let fail = |action| move |errno| Error::File { action, path: path.to_owned(), errno };
        // What is no file is found out before anybody waits for a FIFO's reader.
        let flags = OFlags::RDWR
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC
            | OFlags::NONBLOCK
            | OFlags::NOCTTY;
        let mode = Mode::from_raw_mode(PERMISSIONS);
        let fd = match open(path, flags, mode) {
            Err(Errno::NOENT) => {
                make_parents(path).map_err(fail("making the directory of"))?;
                open(path, flags, mode)
            }
            result => result,
        }
        .map_err(fail("opening"))?;
        let status = fstat(&fd).map_err(fail("looking at"))?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(Error::NotAFile(path.to_owned()));
        }
        Ok(Self { fd, size: u64::try_from(status.st_size).unwrap_or(0), records, rest: 0 })
    }

    /// Takes away what a writer left of a record that died, where the record cannot be ended.
    pub(crate) fn mend(&mut self, path: &Path) -> Result<(), Error> {
        if self.records == Records::Lines {
            return Ok(());
        }
        let fail = |errno| Error::File { action: "looking at", path: path.to_owned(), errno };
        let end = tail::framed_end(&self.fd, self.size).map_err(fail)?;
        if end < self.size {
            ftruncate(&self.fd, end).map_err(fail)?;
            self.size = end;
        }
        Ok(())
    }

    /// Whether the file ends amid a line: whoever wrote it died.
    pub(crate) fn is_torn(&self) -> bool {
        let mut last = [0u8; 1];
        let read = self.records == Records::Lines
            && self.size > 0
            && matches!(pread(&self.fd, &mut last, self.size - 1), Ok(1));
        read && last[0] != b'\n'
    }

    /// Appends whole records. When not all fit, the part of a record that did is taken away again.
    pub(crate) fn append(&mut self, records: &[u8]) -> Result<(), Short> {
        let mut written = 0;
        while written < records.len() {
            match write(&self.fd, &records[written..]) {
                Ok(0) => return Err(self.shorten(records, written, Errno::IO)),
                Ok(len) => {
                    written += len;
                    self.size += len as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.shorten(records, written, errno)),
            }
        }
        self.rest = 0;
        Ok(())
    }

    fn shorten(&mut self, records: &[u8], written: usize, errno: Errno) -> Short {
        if written < self.rest {
            // Of that record, a part was written before, and could not be taken away.
            self.rest -= written;
            return Short { written, errno };
        }
        let whole = self.whole_len(&records[..written]);
        let torn = (written - whole) as u64;
        if torn == 0 {
            self.rest = 0;
            return Short { written, errno };
        }
        // Not by our own count: somebody else may have truncated the file. Nobody else appends to it.
        let end = fstat(&self.fd).map(|status| u64::try_from(status.st_size).unwrap_or(0));
        let repaired = end.and_then(|end| ftruncate(&self.fd, end.saturating_sub(torn)));
        if repaired.is_err() {
            // The next write goes on amid the record.
            if self.records == Records::Framed {
                let len = local::record_len(&records[whole..]).unwrap_or(0);
                self.rest = len.saturating_sub(written - whole);
            }
            return Short { written, errno };
        }
        self.rest = 0;
        self.size = self.size.saturating_sub(torn);
        Short { written: whole, errno }
    }

    /// How many of these bytes, which are the next to be written, end records.
    fn whole_len(&self, bytes: &[u8]) -> usize {
        match self.records {
            Records::Lines => memrchr(b'\n', bytes).map_or(0, |at| at + 1),
            Records::Framed => self.rest + local::whole_len(&bytes[self.rest..]),
        }
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn make_parents(path: &Path) -> Result<(), Errno> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let made = DirBuilder::new().recursive(true).mode(DIRECTORY_PERMISSIONS).create(parent);
    made.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// `path` with something after its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
