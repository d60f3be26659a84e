//! Paths that the container cannot read or write, and kernel parameters.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::Errno;
use gantry_sys::features::{Feature, has};
use gantry_sys::mount::{ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, MountAttr, Scope, mount_setattr};
use gantry_sys::path::{open_beneath, open_in_root};
use rustix::fs::{OFlags, fstatfs};

use super::attach::{PROC_SUPER_MAGIC, clone_tree, detached, place, remount};
use super::{At, Fault, Init, Step};
use crate::plan::mounts::{Parameter, is_directory};
use crate::plan::options::Attributes;
use crate::plan::rootfs::RootfsPlan;

/// Makes paths read-only, with whatever is mounted below them.
pub(super) fn readonly(root: BorrowedFd<'_>, plan: &RootfsPlan) -> Result<(), Fault> {
    for (index, path) in plan.readonly_paths.iter().enumerate() {
        match open_in_root(root, path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            opened => readonly_one(opened.at_index(Step::ReadonlyPath, index)?)
                .at_index(Step::ReadonlyPath, index)?,
        }
    }
    Ok(())
}

fn readonly_one(path: OwnedFd) -> Result<(), Errno> {
    let tree = clone_tree(path.as_fd(), true)?;
    let attr = MountAttr { attr_set: ATTR_RDONLY, ..MountAttr::default() };
    if has(Feature::MountSetattr) {
        mount_setattr(tree.as_fd(), &attr, Scope::Mount)?;
        return place(tree.as_fd(), path.as_fd());
    }
    place(tree.as_fd(), path.as_fd())?;
    remount(tree.as_fd(), Attributes { set: ATTR_RDONLY, clear: 0 })
}

/// Covers paths: files by /dev/null, directories by one empty file system that all of them share.
pub(super) fn masked(root: BorrowedFd<'_>, plan: &RootfsPlan, null: Option<OwnedFd>) -> Result<(), Fault> {
    // Once attached, a mount can be cloned; before Linux 6.15 a detached one cannot.
    let mut empty: Option<OwnedFd> = None;
    let mut used_null = false;
    for (index, path) in plan.masked.iter().enumerate() {
        let target = match open_in_root(root, path, OFlags::PATH) {
            Err(Errno::NOENT) => continue,
            opened => opened.at_index(Step::MaskedPath, index)?,
        };
        let masked = match (is_directory(&target), &empty, &null) {
            (Err(errno), _, _) => Err(errno),
            (Ok(true), Some(empty), _) => cover(empty.as_fd(), target.as_fd()),
            (Ok(true), None, _) => cover_first(plan, target.as_fd()).map(|mount| empty = Some(mount)),
            (Ok(false), _, None) => Err(Errno::NODEV),
            (Ok(false), _, Some(null)) if used_null => cover(null.as_fd(), target.as_fd()),
            (Ok(false), _, Some(null)) => {
                used_null = true;
                place(null.as_fd(), target.as_fd())
            }
        };
        masked.at_index(Step::MaskedPath, index)?;
    }
    Ok(())
}

fn cover(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let copy = clone_tree(mount, false)?;
    place(copy.as_fd(), target)
}

fn cover_first(plan: &RootfsPlan, target: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let label = plan
        .mount_label
        .as_ref()
        .map(|label| Parameter { key: c"context".to_owned(), value: Some(label.clone()) });
    let parameters: &[Parameter] = match &label {
        Some(label) => std::slice::from_ref(label),
        None => &[],
    };
    let mount = detached(c"tmpfs", parameters, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)?;
    place(mount.as_fd(), target)?;
    Ok(mount)
}

impl Init<'_> {
    /// Writes kernel parameters through a procfs that nobody else has a hand in (CVE-2025-52881).
    ///
    /// That is the container's own, if it is one and nothing is mounted on the way. Else it is one that is mounted nowhere:
    /// making and dropping that takes as long as two mounts and a grace period of RCU.
    pub(super) fn write_sysctls(&self, root: BorrowedFd<'_>, plan: &RootfsPlan) -> Result<(), Fault> {
        if plan.sysctls.is_empty() {
            return Ok(());
        }
        let own = container_proc(root).and_then(|proc| sys_of(proc.as_fd()));
        let mut private = None;
        for (index, sysctl) in plan.sysctls.iter().enumerate() {
            let write = |sys: &OwnedFd| write_beneath(sys.as_fd(), &sysctl.path, &sysctl.value);
            if own.as_ref().is_ok_and(|sys| write(sys).is_ok()) {
                continue;
            }
            let sys = match &private {
                Some(sys) => sys,
                None => private
                    .insert(private_proc(root).and_then(|proc| sys_of(proc.as_fd())).at(Step::ProcHandle)?),
            };
            write(sys).at_index(Step::Sysctl, index)?;
        }
        Ok(())
    }
}

fn sys_of(proc: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    open_beneath(proc, c"sys", OFlags::PATH | OFlags::DIRECTORY)
}

/// A procfs of the caller's pid namespace that is mounted nowhere, or else the container's own, if it is one.
pub(super) fn private_proc(root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    detached(c"proc", &[], 0).or_else(|_| container_proc(root))
}

/// The container's own procfs, if that is what its /proc is.
fn container_proc(root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let proc = open_in_root(root, c"/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
    const ROOT_INODE: u64 = 1;
    if fstatfs(&proc)?.f_type as u64 != PROC_SUPER_MAGIC || rustix::fs::fstat(&proc)?.st_ino != ROOT_INODE {
        return Err(Errno::NODEV);
    }
    Ok(proc)
}

/// Writes a file below a directory of procfs, without crossing a mount or following a link.
pub(super) fn write_beneath(dir: BorrowedFd<'_>, path: &std::ffi::CStr, value: &[u8]) -> Result<(), Errno> {
    let file = open_beneath(dir, path, OFlags::WRONLY)?;
    rustix::io::write(&file, value).map(drop)
}
