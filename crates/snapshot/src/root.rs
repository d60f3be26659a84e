//! A driver's directory: numbers, and what is being made or removed.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, open, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::tree::{self, Budget};
use crate::{Error, SnapshotNumber};

/// How many files one call of [`Root::collect`] deletes at most.
pub(crate) const COLLECT_FILES: u64 = 16_384;
/// Read, search and enter: nobody but the owner.
const PRIVATE: Mode = Mode::RWXU;
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What an entry of the directory is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Snapshot(SnapshotNumber),
    New(SnapshotNumber),
    Trash(SnapshotNumber),
}

impl Entry {
    fn parse(name: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(name).ok()?;
        let (make, digits): (fn(SnapshotNumber) -> Self, _) = match text.split_once('-') {
            None => (Self::Snapshot, text),
            Some(("new", digits)) => (Self::New, digits),
            Some(("trash", digits)) => (Self::Trash, digits),
            Some(_) => return None,
        };
        // Only what we write ourselves: no sign, no leading zero.
        let ours = digits == "0" || digits.bytes().next().is_some_and(|first| (b'1'..=b'9').contains(&first));
        let number = digits.parse::<u64>().ok().filter(|_| ours)?;
        Some(make(SnapshotNumber(number)))
    }

    fn name(self) -> String {
        match self {
            Self::Snapshot(number) => number.to_string(),
            Self::New(number) => format!("new-{number}"),
            Self::Trash(number) => format!("trash-{number}"),
        }
    }

    fn number(self) -> SnapshotNumber {
        match self {
            Self::Snapshot(number) | Self::New(number) | Self::Trash(number) => number,
        }
    }
}

/// A driver's directory.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    fd: OwnedFd,
    trash: Mutex<Trash>,
}

/// Removed snapshots whose files are still there.
#[derive(Debug, Default)]
struct Trash {
    /// Whether what an earlier process left has been looked for.
    scanned: bool,
    queue: VecDeque<SnapshotNumber>,
}

impl Root {
    /// Opens the directory at `path`, after making it with mode 0700 where it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let io = |action| Error::io(action, path);
        if let Some(parent) = path.parent() {
            make_parents(parent)?;
        }
        match rustix::fs::mkdir(path, PRIVATE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(io("make")(errno)),
        }
        let fd = open(path, DIRECTORY, Mode::empty()).map_err(io("open"))?;
        Ok(Self { path: path.to_owned(), fd, trash: Mutex::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Where `name` of a snapshot lies.
    pub(crate) fn path_of(&self, number: SnapshotNumber, name: &str) -> PathBuf {
        self.path.join(number.to_string()).join(name)
    }

    /// Opens `name` of a snapshot.
    pub(crate) fn open_part(&self, number: SnapshotNumber, name: &str) -> Result<OwnedFd, Error> {
        match openat(&self.fd, format!("{number}/{name}"), DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => Err(Error::NoDirectory { number }),
            result => result.map_err(Error::io("open", self.path_of(number, name))),
        }
    }

    /// Makes a snapshot's directory: `fill` is given it empty, under a name that says it is not finished.
    pub(crate) fn make(
        &self,
        number: SnapshotNumber,
        fill: impl FnOnce(BorrowedFd<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let new = Entry::New(number);
        let result = self.make_new(new, fill);
        if result.is_err() {
            // Best effort: what stays behind is found by its name, at the next start or clean-up.
            let _ = self.discard(new);
        }
        result
    }

    fn make_new(
        &self,
        new: Entry,
        fill: impl FnOnce(BorrowedFd<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (name, path) = (new.name(), self.path.join(new.name()));
        mkdirat(&self.fd, name.as_str(), PRIVATE).map_err(Error::io("make", &path))?;
        let dir =
            openat(&self.fd, name.as_str(), DIRECTORY, Mode::empty()).map_err(Error::io("open", &path))?;
        fill(dir.as_fd())?;
        let finished = Entry::Snapshot(new.number()).name();
        renameat(&self.fd, name.as_str(), &self.fd, finished.as_str()).map_err(Error::io("finish", path))
    }

    /// Renames an entry to trash. `false` if there is none.
    fn discard(&self, entry: Entry) -> Result<bool, Error> {
        let (number, name) = (entry.number(), entry.name());
        let trash = Entry::Trash(number).name();
        match renameat(&self.fd, name.as_str(), &self.fd, trash.as_str()) {
            Ok(()) => {
                self.trash().queue.push_back(number);
                Ok(true)
            }
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(Error::io("remove", self.path.join(name))(errno)),
        }
    }

    pub(crate) fn remove(&self, numbers: &[SnapshotNumber]) -> Result<(), Error> {
        let mut result = Ok(());
        for number in numbers {
            let removed = self.discard(Entry::Snapshot(*number));
            result = result.and(removed.map(drop));
        }
        result
    }

    pub(crate) fn cleanup(
        &self,
        known: &dyn Fn(SnapshotNumber) -> bool,
    ) -> Result<Vec<SnapshotNumber>, Error> {
        let mut orphans = Vec::new();
        self.scan(&mut |entry| {
            if !matches!(entry, Entry::Trash(_)) && !known(entry.number()) {
                orphans.push(entry);
            }
        })?;
        let mut result = Ok(());
        for entry in &orphans {
            result = result.and(self.discard(*entry).map(drop));
        }
        result.map(|()| orphans.into_iter().map(Entry::number).collect())
    }

    /// Makes durable what was written to the file system of a snapshot.
    pub(crate) fn sync(&self, number: SnapshotNumber) -> Result<(), Error> {
        let path = self.path.join(number.to_string());
        let dir = match openat(&self.fd, number.to_string(), DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => return Err(Error::NoDirectory { number }),
            dir => dir.map_err(Error::io("open", &path))?,
        };
        // A layer is thousands of small files: one pass over the file system's log beats as many flushes.
        rustix::fs::syncfs(dir).map_err(Error::io("make durable", path))
    }

    pub(crate) fn highest(&self) -> Result<Option<SnapshotNumber>, Error> {
        let mut highest = None;
        self.scan(&mut |entry| highest = highest.max(Some(entry.number())))?;
        Ok(highest)
    }

    /// Deletes files in the trash; gives how many.
    pub(crate) fn collect(&self) -> Result<u64, Error> {
        let mut budget = Budget::new(COLLECT_FILES);
        let (mut result, mut failed) = (Ok(()), Vec::new());
        self.find_trash()?;
        while !budget.is_spent() {
            let Some(number) = self.trash().queue.pop_front() else { break };
            match self.delete(number, &mut budget) {
                Ok(true) => {}
                Ok(false) => self.trash().queue.push_front(number),
                Err(error) => {
                    failed.push(number);
                    result = result.and(Err(error));
                }
            }
        }
        self.trash().queue.extend(failed);
        result.map(|()| budget.spent())
    }

    /// Deletes one removed snapshot; `false` if the budget did not suffice.
    fn delete(&self, number: SnapshotNumber, budget: &mut Budget) -> Result<bool, Error> {
        let name = Entry::Trash(number).name();
        let path = self.path.join(&name);
        let dir = match openat(&self.fd, name.as_str(), DIRECTORY, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(true),
            Err(errno) => return Err(Error::io("open", path)(errno)),
        };
        if !tree::delete(dir, budget).map_err(Error::io("delete files of", &path))? {
            return Ok(false);
        }
        unlinkat(&self.fd, name.as_str(), AtFlags::REMOVEDIR).map_err(Error::io("delete", path))?;
        budget.spend();
        Ok(true)
    }

    /// Looks once for what an earlier process removed and did not delete.
    fn find_trash(&self) -> Result<(), Error> {
        if self.trash().scanned {
            return Ok(());
        }
        let mut found = Vec::new();
        self.scan(&mut |entry| {
            if let Entry::Trash(number) = entry {
                found.push(number);
            }
        })?;
        let mut trash = self.trash();
        found.retain(|number| !trash.queue.contains(number));
        trash.queue.extend(found);
        trash.scanned = true;
        Ok(())
    }

    fn scan(&self, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        tree::names(self.fd(), &mut |name: &CStr| {
            if let Some(entry) = Entry::parse(name.to_bytes()) {
                each(entry);
            }
        })
        .map_err(Error::io("read", &self.path))
    }

    fn trash(&self) -> MutexGuard<'_, Trash> {
        // The queue is whole after each call: a panic elsewhere does not spoil it.
        self.trash.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_parents(path: &Path) -> Result<(), Error> {
    std::fs::DirBuilder::new().recursive(true).create(path).map_err(|error| {
        let source = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Error::Io { action: "make", path: path.to_owned(), source }
    })
}

/// A name for the kernel.
pub(crate) fn c_name(name: &[u8]) -> Result<CString, Errno> {
    CString::new(name).map_err(|_| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_entries() {
        let check = |name: &str, expect| assert_eq!(Entry::parse(name.as_bytes()), expect, "{name}");
        let seven = SnapshotNumber(7);
        check("7", Some(Entry::Snapshot(seven)));
        check("new-7", Some(Entry::New(seven)));
        check("trash-7", Some(Entry::Trash(seven)));
        for other in
            ["", "0x1", "00", "07", "+7", "-7", "new-", "new-07", "old-7", "7.bak", "99999999999999999999"]
        {
            check(other, None);
        }
        assert_eq!(Entry::parse(b"\xff"), None);
    }
}
