use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};
use rustix::io::Errno;

use super::entries;
use super::stack::Stack;
use crate::Usage;

/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

#[derive(Default)]
struct Count {
    usage: Usage,
    /// Inodes with several links that were counted.
    linked: HashSet<(u64, u64)>,
}

impl Count {
    fn add(&mut self, stat: &Stat, is_directory: bool) {
        if stat.st_nlink > 1 && !is_directory && !self.linked.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        self.usage.inodes += 1;
        self.usage.size += u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK_BYTES;
    }
}

/// Counts the blocks and inodes of a tree, its root included. Files that go or come meanwhile may count or not.
///
/// # Errors
/// `ESTALE` when directories were moved about meanwhile, and what reading gives.
pub(crate) fn usage(root: OwnedFd) -> Result<Usage, Errno> {
    let mut count = Count::default();
    count.add(&fstat(&root)?, true);
    let mut stack = Stack::new(root);
    let mut pending = vec![directory(&stack, &mut count)?];
    while let Some(children) = pending.last_mut() {
        let Some(name) = children.pop() else {
            pending.pop();
            if !pending.is_empty() {
                stack.ascend()?;
            }
            continue;
        };
        match stack.descend(&name) {
            Ok(()) => pending.push(directory(&stack, &mut count)?),
            // Gone, replaced, or not a file of the snapshot but a mount on it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(count.usage)
}

/// Counts what a directory has, and gives the directories in it.
fn directory(stack: &Stack, count: &mut Count) -> Result<Vec<CString>, Errno> {
    let mut children = Vec::new();
    let dir = stack.top();
    entries(dir, &mut |name, _| {
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        count.add(&stat, is_directory);
        if is_directory {
            children.push(name.to_owned());
        }
        Ok(())
    })?;
    Ok(children)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    use super::*;

    fn count(path: &Path) -> Usage {
        usage(fs::File::open(path).unwrap().into()).unwrap()
    }

    #[test]
    fn hard_links_count_once_and_holes_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/file"), vec![1; 10_000]).unwrap();
        fs::hard_link(root.join("a/file"), root.join("a/b/link")).unwrap();
        symlink("/etc", root.join("link")).unwrap();
        fs::File::create(root.join("hole")).unwrap().set_len(1 << 30).unwrap();
        let blocks = |name: &str| root.join(name).symlink_metadata().unwrap().blocks() * 512;
        let size = ["", "a", "a/b", "a/file", "link", "hole"].map(blocks).iter().sum::<u64>();
        assert_eq!(count(root), Usage { size, inodes: 6 });
    }

    #[test]
    fn an_empty_directory_is_one_inode() {
        assert_eq!(count(tempfile::tempdir().unwrap().path()).inodes, 1);
    }
}
