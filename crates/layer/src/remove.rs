//! Removal of whole trees below a descriptor, of any depth, with few descriptors open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, RenameFlags, renameat_with, unlinkat};
use rustix::io::Errno;

use crate::attributes::{open_dir, reopen_dir};

/// Directories that are open at the same time. What lies deeper is moved up first.
const MAX_OPEN: usize = 32;

/// Removes `name` in `dir`, whatever it is; it may be gone already. Links are never followed.
pub(crate) fn remove(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    if unlink_or_rmdir(dir, name)? {
        return Ok(());
    }
    empty(open_dir(dir, name)?)?;
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

/// Removes a file or an empty directory; false if it is a directory with something in it.
fn unlink_or_rmdir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Removes everything in a directory.
fn empty(top: OwnedFd) -> Result<(), Errno> {
    let mut open = vec![(top, Vec::new())];
    let mut moved = 0u64;
    while let Some((dir, _)) = open.last() {
        let Some(full) = clear_until_full(dir.as_fd())? else {
            let name = open.pop().map(|(_, name)| name).unwrap_or_default();
            if let Some((parent, _)) = open.last() {
                unlink_or_rmdir(parent.as_fd(), &name)?;
            }
            continue;
        };
        if open.len() < MAX_OPEN {
            let child = open_dir(dir.as_fd(), &full)?;
            open.push((child, full));
        } else {
            move_up(dir.as_fd(), &full, open[0].0.as_fd(), &mut moved)?;
        }
    }
    Ok(())
}

/// Removes what can be removed in a directory, up to the first subdirectory with something in it.
fn clear_until_full(dir: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
    for entry in rustix::fs::Dir::new(reopen_dir(dir)?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && !unlink_or_rmdir(dir, name)? {
            return Ok(Some(name.to_vec()));
        }
    }
    Ok(None)
}

fn move_up(from: BorrowedFd<'_>, name: &[u8], to: BorrowedFd<'_>, moved: &mut u64) -> Result<(), Errno> {
    loop {
        *moved += 1;
        let new = format!(".removed-{moved}");
        match renameat_with(from, name, to, new.as_bytes(), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

    #[test]
    fn a_tree_of_thousands_of_levels_goes_with_few_descriptors() {
        let temp = tempfile::tempdir().unwrap();
        let top = openat(CWD, temp.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let mut dir = top.try_clone().unwrap();
        for _ in 0..4000 {
            mkdirat(&dir, "d", Mode::RWXU).unwrap();
            openat(&dir, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
            dir = open_dir(dir.as_fd(), b"d").unwrap();
        }
        remove(top.as_fd(), b"d").unwrap();
        remove(top.as_fd(), b"f").unwrap();
        remove(top.as_fd(), b"gone").unwrap();
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("kept"), "").unwrap();
        std::fs::create_dir(temp.path().join("d")).unwrap();
        std::os::unix::fs::symlink(outside.path(), temp.path().join("d/link")).unwrap();
        let top = openat(CWD, temp.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        remove(top.as_fd(), b"d").unwrap();
        assert!(outside.path().join("kept").exists() && !temp.path().join("d").exists());
    }
}
