use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gantry_sys::Errno;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

/// Tells when a path may have come into being: inotify(7) on the deepest of its directories that exists.
///
/// A machine has few inotify instances for a user (128 by default): it exists only while somebody is waited for.
#[derive(Debug)]
pub(super) struct Watch {
    fd: OwnedFd,
    path: PathBuf,
    /// The number of the watch, and what is looked for in its directory.
    current: Option<(i32, PathBuf)>,
}

impl Watch {
    /// # Errors
    /// `EMFILE` and `ENOSPC` when the user's share is used up.
    pub(super) fn new(path: &Path) -> Result<Self, Errno> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut watch = Self { fd, path: path.to_owned(), current: None };
        watch.descend()?;
        Ok(watch)
    }

    /// Watches the deepest directory that exists. Looks again after each change: one may have appeared meanwhile.
    fn descend(&mut self) -> Result<(), Errno> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            // A socket is there before anybody listens to it; daemons set its mode after that.
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let mut name = self.path.clone();
        loop {
            let directory = name.parent().unwrap_or(Path::new("/")).to_owned();
            match inotify::add_watch(&self.fd, &directory, flags) {
                Ok(number) => {
                    let unchanged =
                        self.current.as_ref().is_some_and(|(old, seen)| (*old, seen) == (number, &name));
                    if let Some((old, _)) = self.current.replace((number, name.clone()))
                        && old != number
                    {
                        // It may be gone with its directory.
                        let _ = inotify::remove_watch(&self.fd, old);
                    }
                    if unchanged || name == self.path || !name.is_dir() {
                        return Ok(());
                    }
                    name = self.path.clone();
                }
                Err(Errno::NOENT | Errno::NOTDIR) if directory.parent().is_some() => name = directory,
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Takes what happened; whether the path may be there now.
    pub(super) fn fired(&mut self) -> bool {
        let mut space = [MaybeUninit::uninit(); 1024];
        let (mut fired, mut moved) = (false, false);
        let mut reader = inotify::Reader::new(&self.fd, &mut space);
        loop {
            match reader.next() {
                Ok(event) => {
                    let wanted = self.current.as_ref().and_then(|(_, path)| path.file_name());
                    let named = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    moved |= event.events().intersects(
                        ReadFlags::DELETE_SELF
                            | ReadFlags::MOVE_SELF
                            | ReadFlags::IGNORED
                            | ReadFlags::QUEUE_OVERFLOW,
                    );
                    fired |= named.is_some() && named == wanted;
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        if fired || moved {
            // Without a watch, only the next event tries again.
            let _ = self.descend();
        }
        (fired || moved) && self.path.exists()
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
