//! What tells that a log was written to, or rotated: inotify(7).
//!
//! A machine has few instances of it for a user (128 by default), and watches for them: where there is none, the log is
//! looked at again and again instead.

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Events that are read at once, of which each of the directory's has a name.
const BUFFER_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    /// The log's own watch; none if there could not be one.
    file: Option<i32>,
}

impl Watch {
    /// Watches the directory of a log for files that come into being there, under another name, too.
    pub(super) fn new(path: &Path) -> Result<Self, Errno> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let events = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, directory.unwrap_or(Path::new(".")), events)?;
        Ok(Self { inotify, file: None })
    }

    /// Watches this file for writes from now on, and no other.
    pub(super) fn file(&mut self, file: &File) {
        // By its descriptor: its name may be another file's by now.
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        let added = inotify::add_watch(&self.inotify, name, WatchFlags::MODIFY).ok();
        if let Some(last) = self.file.filter(|last| Some(*last) != added) {
            let _ = inotify::remove_watch(&self.inotify, last);
        }
        self.file = added;
    }

    /// Takes the events out: whether one of them may be a rotation.
    pub(super) fn drain(&mut self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut is_suspect = self.file.is_none();
        while let Ok(event) = events.next() {
            // An overflow is of no watch.
            is_suspect |= Some(event.wd()) != self.file || event.events().contains(ReadFlags::QUEUE_OVERFLOW);
        }
        is_suspect
    }

    /// Whether writes go unheard.
    pub(super) fn is_blind(&self) -> bool {
        self.file.is_none()
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
