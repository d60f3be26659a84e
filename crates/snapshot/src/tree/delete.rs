use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, chmodat, unlinkat};
use rustix::io::Errno;

use super::entries;
use super::stack::Stack;

/// How many files may be deleted.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    spent: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, spent: 0 }
    }

    pub(crate) fn spend(&mut self) {
        self.spent += 1;
    }

    pub(crate) fn spent(&self) -> u64 {
        self.spent
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.spent >= self.limit
    }
}

/// A directory on the way: its name in its parent, and the directories in it that are still there.
struct Level {
    name: CString,
    children: Vec<CString>,
}

/// Deletes everything below a directory; `false` when the budget did not suffice.
///
/// # Errors
/// The first; everything else is deleted all the same. `EXDEV` or `EBUSY` where something is mounted.
pub(crate) fn delete(root: OwnedFd, budget: &mut Budget) -> Result<bool, Errno> {
    let mut failure = None;
    let mut stack = Stack::new(root);
    let children = files(stack.top(), budget, &mut failure)?;
    let mut levels = vec![Level { name: CString::default(), children }];
    while let Some(level) = levels.last_mut() {
        if budget.is_spent() {
            return failure.map_or(Ok(false), Err);
        }
        if let Some(name) = level.children.pop() {
            match enter(&mut stack, &name) {
                Ok(()) => {
                    let children = files(stack.top(), budget, &mut failure)?;
                    levels.push(Level { name, children });
                }
                Err(Errno::NOENT) => {}
                Err(errno) => failure = failure.or(Some(errno)),
            }
            continue;
        }
        let Some(done) = levels.pop().filter(|_| !levels.is_empty()) else { break };
        stack.ascend()?;
        remove(stack.top(), &done.name, AtFlags::REMOVEDIR, budget, &mut failure);
    }
    failure.map_or(Ok(true), Err)
}

/// Deletes the files of a directory, and gives the directories in it.
fn files(
    dir: BorrowedFd<'_>,
    budget: &mut Budget,
    failure: &mut Option<Errno>,
) -> Result<Vec<CString>, Errno> {
    let mut children = Vec::new();
    // Entries that are deleted while the directory is read make none of the others be missed.
    entries(dir, &mut |name, kind| {
        if budget.is_spent() {
            return Ok(());
        }
        let is_directory = kind == FileType::Directory
            || (kind == FileType::Unknown && unlinkat(dir, name, AtFlags::empty()) == Err(Errno::ISDIR));
        if is_directory {
            children.push(name.to_owned());
        } else {
            remove(dir, name, AtFlags::empty(), budget, failure);
        }
        Ok(())
    })?;
    Ok(children)
}

fn remove(
    dir: BorrowedFd<'_>,
    name: &CStr,
    flags: AtFlags,
    budget: &mut Budget,
    failure: &mut Option<Errno>,
) {
    budget.spend();
    match unlinkat(dir, name, flags) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => *failure = failure.or(Some(errno)),
    }
}

fn enter(stack: &mut Stack, name: &CStr) -> Result<(), Errno> {
    match stack.descend(name) {
        // Without root's privileges a directory of mode 0 is closed to its owner, too.
        Err(Errno::ACCESS) => {
            chmodat(stack.top(), name, Mode::RWXU, AtFlags::empty())?;
            stack.descend(name)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::mkdirat;

    use super::*;

    fn open(path: &std::path::Path) -> OwnedFd {
        fs::File::open(path).unwrap().into()
    }

    #[test]
    fn what_lies_behind_a_link_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, other) = (dir.path().join("tree"), dir.path().join("other"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "kept").unwrap();
        symlink(&other, tree.join("a/link")).unwrap();
        fs::hard_link(other.join("file"), tree.join("file")).unwrap();
        assert_eq!(delete(open(&tree), &mut Budget::new(100)), Ok(true));
        assert_eq!(fs::read_dir(&tree).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(other.join("file")).unwrap(), "kept");
    }

    #[test]
    fn a_tree_larger_than_the_budget_goes_in_turns() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..50 {
            fs::create_dir(dir.path().join(n.to_string())).unwrap();
            fs::write(dir.path().join(n.to_string()).join("file"), "").unwrap();
        }
        let (mut turns, mut total) = (0, 0);
        loop {
            let mut budget = Budget::new(7);
            let done = delete(open(dir.path()), &mut budget).unwrap();
            total += budget.spent();
            turns += 1;
            if done {
                break;
            }
        }
        assert_eq!(total, 100);
        assert!(turns >= 100 / 7, "{turns}");
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let mut at = open(dir.path());
        for _ in 0..1100 {
            mkdirat(&at, c"dir", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, c"dir", super::super::DIRECTORY, Mode::empty()).unwrap();
        }
        drop(at);
        assert_eq!(delete(open(dir.path()), &mut Budget::new(u64::MAX)), Ok(true));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
