use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::path::open_beneath;
use rustix::fs::{Mode, fstat, openat};
use rustix::io::Errno;

use super::DIRECTORY;

/// How many directories of one path are open at a time.
pub(super) const MAX_OPEN: usize = 64;

/// The directories from the root of a tree to where a walk is, of which the deepest are open.
///
/// A directory that was closed for the sake of the limit is opened again as its child's `..`; its identity is compared,
/// since somebody may have moved the child.
#[derive(Debug)]
pub(super) struct Stack {
    frames: Vec<Frame>,
    /// How many frames, from the root on, are closed.
    closed: usize,
}

#[derive(Debug)]
enum Frame {
    Open(OwnedFd),
    Closed { device: u64, inode: u64 },
}

impl Stack {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { frames: vec![Frame::Open(root)], closed: 0 }
    }

    /// The directory where the walk is.
    pub(super) fn top(&self) -> BorrowedFd<'_> {
        match self.frames.last() {
            Some(Frame::Open(fd)) => fd.as_fd(),
            // `ascend` opens what it uncovers, and never takes the root away.
            _ => unreachable!("the deepest directory is open"),
        }
    }

    /// Goes into a directory of the one where the walk is.
    ///
    /// # Errors
    /// `EXDEV` for another mount, `ELOOP` or `ENOTDIR` for what is no directory, and what openat2(2) gives.
    pub(super) fn descend(&mut self, name: &CStr) -> Result<(), Errno> {
        let fd = open_beneath(self.top(), name, DIRECTORY)?;
        if self.frames.len() - self.closed >= MAX_OPEN
            && let Some(frame) = self.frames.get_mut(self.closed)
        {
            if let Frame::Open(fd) = frame {
                let stat = fstat(&*fd)?;
                *frame = Frame::Closed { device: stat.st_dev, inode: stat.st_ino };
            }
            self.closed += 1;
        }
        self.frames.push(Frame::Open(fd));
        Ok(())
    }

    /// Goes back to the parent.
    ///
    /// # Errors
    /// `ESTALE` when the directory was moved meanwhile, and what openat(2) gives.
    pub(super) fn ascend(&mut self) -> Result<(), Errno> {
        let (child, rest) = self.frames.split_last().ok_or(Errno::STALE)?;
        if let (Some(Frame::Closed { device, inode }), Frame::Open(child)) = (rest.last(), child) {
            let parent = openat(child, c"..", DIRECTORY, Mode::empty())?;
            let stat = fstat(&parent)?;
            if (stat.st_dev, stat.st_ino) != (*device, *inode) {
                return Err(Errno::STALE);
            }
            let at = self.frames.len() - 2;
            self.frames[at] = Frame::Open(parent);
            self.closed = at;
        }
        self.frames.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::{mkdirat, renameat};

    use super::*;

    fn deep(levels: usize) -> (tempfile::TempDir, Stack) {
        let dir = tempfile::tempdir().unwrap();
        let mut stack = Stack::new(std::fs::File::open(dir.path()).unwrap().into());
        for _ in 0..levels {
            mkdirat(stack.top(), c"d", Mode::RWXU).unwrap();
            stack.descend(c"d").unwrap();
        }
        (dir, stack)
    }

    #[test]
    fn a_path_that_is_deeper_than_the_limit_is_walked_there_and_back() {
        let (dir, mut stack) = deep(MAX_OPEN * 3);
        let open = stack.frames.iter().filter(|frame| matches!(frame, Frame::Open(_))).count();
        assert!(open <= MAX_OPEN, "{open} are open");
        for _ in 0..MAX_OPEN * 3 {
            stack.ascend().unwrap();
        }
        assert_eq!(fstat(stack.top()).unwrap().st_ino, dir.path().metadata().unwrap().ino());
    }

    #[test]
    fn a_directory_that_was_moved_away_is_not_mistaken_for_its_parents_child() {
        let (dir, mut stack) = deep(MAX_OPEN + 2);
        let root = std::fs::File::open(dir.path()).unwrap();
        renameat(&root, c"d/d/d", &root, c"moved").unwrap();
        let result = (0..MAX_OPEN + 2).try_for_each(|_| stack.ascend());
        assert_eq!(result, Err(Errno::STALE));
    }
}
