//! What a layer removes. It removes what is below, never what it wrote itself, whatever the order of its entries.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Mode, mknodat, statat};
use rustix::io::Errno;

use super::Whiteouts;
use super::entry::Applier;
use super::name::join;
use super::tree::open_real;
use crate::Error;
use crate::attributes::{self, is_dir, list, make_opaque};
use crate::remove::remove;

impl Applier<'_> {
    /// `.wh.<name>` in the current directory.
    pub(super) fn hide(&mut self, name: &[u8]) -> Result<(), Error> {
        let path = self.tree.current().join(name);
        let stat = match statat(self.tree.current().as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(Error::system("stat", &path, errno)),
        };
        match stat {
            Some(stat) if self.record.has_written(&path) => {
                return if is_dir(&stat) { self.hide_below_dir(path) } else { Ok(()) };
            }
            Some(_) => self.remove(name)?,
            None => {}
        }
        if let Whiteouts::Overlay { .. } = self.whiteouts {
            let made =
                mknodat(self.tree.current().as_fd(), name, FileType::CharacterDevice, Mode::empty(), 0);
            made.map_err(|errno| Error::system("mknod", &path, errno))?;
            self.applied.inodes += 1;
            self.record.wrote(&path);
        }
        Ok(())
    }

    /// `.wh..wh..opq` in the current directory.
    pub(super) fn hide_below(&mut self) -> Result<(), Error> {
        let path = self.tree.current().path.clone();
        self.hide_below_dir(path)
    }

    fn hide_below_dir(&mut self, path: Vec<u8>) -> Result<(), Error> {
        if self.record.is_over_a_tree() {
            self.purge(path.clone())?;
        }
        if let Whiteouts::Overlay { userxattr } = self.whiteouts {
            // The kernel does not look at the root's attribute.
            self.applied.implied.root_opaque |= path.is_empty();
            let dir = self.tree.reopen(&path)?;
            make_opaque(dir.as_fd(), userxattr).map_err(|errno| Error::system("setxattr", &path, errno))?;
        }
        Ok(())
    }

    /// Removes what this layer did not write, in a directory and in those that it did write.
    fn purge(&mut self, path: Vec<u8>) -> Result<(), Error> {
        let mut left = vec![path];
        while let Some(path) = left.pop() {
            let failed = |errno| Error::system("remove", &path, errno);
            let dir = self.tree.reopen(&path)?;
            let readable = attributes::reopen_dir(&dir.fd).map_err(failed)?;
            for name in list(readable.as_fd()).map_err(failed)? {
                let below = join(&path, &name);
                if !self.record.has_written(&below) {
                    remove(dir.as_fd(), &name).map_err(failed)?;
                    self.record.gone(&below);
                } else if open_real(dir.as_fd(), &name).is_ok() {
                    left.push(below);
                }
            }
        }
        self.tree.changed();
        Ok(())
    }
}
