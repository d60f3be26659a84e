//! The root of a container that shares the runtime's mount namespace.
//!
//! Its mounts are the host's. The root is bound over itself, as runc does it, so that all of them hang below one mount,
//! which goes when the container does; runc leaves it to whoever made the bundle.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use gantry_sys::Errno;
use gantry_sys::features::{Feature, has};
use gantry_sys::mount::{MountAttr, Scope, mount_setattr};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};

use crate::error::Error;
use crate::plan::options::MS_PRIVATE;

/// A root that is bound over itself, until it is kept.
#[derive(Debug)]
pub(crate) struct HostRoot {
    path: PathBuf,
    mount: u64,
    armed: bool,
}

impl HostRoot {
    /// Binds `path` over itself.
    pub(crate) fn bind(path: &Path) -> Result<Self, Error> {
        let named = |call: &str| Error::io(format!("root.path: {call} {}", path.display()));
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, path, flags).map_err(named("open_tree"))?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, c"", CWD, path, flags).map_err(named("move_mount"))?;
        let mount = mount_id(path).map_err(named("statx"));
        // From here on there is something to undo.
        let root = HostRoot { path: path.to_owned(), mount: *mount.as_ref().unwrap_or(&0), armed: true };
        mount?;
        if has(Feature::MountSetattr) {
            // What is mounted in the container is not told to the namespaces that the host shares mounts with.
            let attr = MountAttr { propagation: MS_PRIVATE, ..MountAttr::default() };
            mount_setattr(tree.as_fd(), &attr, Scope::Tree).map_err(named("mount_setattr"))?;
        }
        Ok(root)
    }

    /// The mount's number, by which [`release`] knows it again.
    pub(crate) fn mount(&self) -> u64 {
        self.mount
    }

    /// Leaves the mount to the container.
    pub(crate) fn keep(mut self) {
        self.armed = false;
    }
}

impl Drop for HostRoot {
    fn drop(&mut self) {
        if self.armed {
            let _ = unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        }
    }
}

/// Unmounts the root of a container that is gone, unless somebody has done it: then what is there is not ours.
pub(crate) fn release(path: &Path, mount: u64) -> Result<(), Error> {
    if mount_id(path).ok() != Some(mount) {
        return Ok(());
    }
    match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::io(format!("unmount {}", path.display()))(errno)),
    }
}

/// The number of the mount that a path is in: statx(2), Linux 5.8.
fn mount_id(path: &Path) -> Result<u64, Errno> {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID)?;
    Ok(found.stx_mnt_id)
}
