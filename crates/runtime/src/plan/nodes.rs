//! Device nodes for a user namespace, in which nobody may make any: opened or made here and bound there.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::Errno;
use gantry_sys::features::{Feature, has};
use gantry_sys::mount::{ATTR_NOEXEC, ATTR_NOSUID, MountAttr, Scope, device_number, mount_setattr};
use gantry_types::oci::IdMapping;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, chmodat, chownat, fstat, mknodat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsmount, fsopen, open_tree,
};

use super::namespaces::map_id;
use super::options::MS_PRIVATE;
use super::rootfs::DevicePlan;

const S_IFIFO: u32 = 0o010_000;

/// Opens a node for each device: the host's, if it has that one, else one made for the purpose. What can be had in
/// neither way is left to the child, whose error is told.
pub(crate) fn open(devices: &mut [DevicePlan], maps: (&Vec<IdMapping>, &Vec<IdMapping>)) {
    let mut nodes: Option<OwnedFd> = None;
    for (index, device) in devices.iter_mut().enumerate() {
        // Anybody may make these.
        if FileType::from_raw_mode(device.mode) == FileType::from_raw_mode(S_IFIFO) {
            continue;
        }
        device.bind = host_node(device).or_else(|| {
            if nodes.is_none() {
                nodes = empty_tmpfs().ok();
            }
            own_node(nodes.as_ref()?.as_fd(), index, device, maps).ok()
        });
    }
}

/// The host's node at the device's path, as long as it is that device.
fn host_node(device: &DevicePlan) -> Option<OwnedFd> {
    let tree = clone_node(CWD, &device.path).ok()?;
    let stat = fstat(&tree).ok()?;
    let same = FileType::from_raw_mode(stat.st_mode) == FileType::from_raw_mode(device.mode)
        && stat.st_rdev == device_number(device.major, device.minor);
    (same && confine(&tree).is_ok()).then_some(tree)
}

/// A node of the device's mode and owner, below a tmpfs that is mounted nowhere.
fn own_node(
    nodes: BorrowedFd<'_>,
    index: usize,
    device: &DevicePlan,
    maps: (&Vec<IdMapping>, &Vec<IdMapping>),
) -> Result<OwnedFd, Errno> {
    let name = std::ffi::CString::new(index.to_string()).map_err(|_| Errno::INVAL)?;
    let mode = Mode::from_raw_mode(device.mode & 0o7777);
    let number = device_number(device.major, device.minor);
    let owner = |map: &[IdMapping], id| map_id(map, id).ok_or(Errno::OVERFLOW);
    let (uid, gid) = (owner(maps.0, device.uid)?, owner(maps.1, device.gid)?);
    mknodat(nodes, &name, FileType::from_raw_mode(device.mode), mode, number)?;
    chownat(nodes, &name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)?;
    // After the umask, and after chown(2), which takes set-user-id bits away.
    chmodat(nodes, &name, mode, AtFlags::empty())?;
    let tree = clone_node(nodes, &name)?;
    confine(&tree)?;
    Ok(tree)
}

fn clone_node(dir: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    open_tree(dir, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

/// Takes the mount of a node out of the host's propagation, and whatever but a device could be done with it.
fn confine(tree: &OwnedFd) -> Result<(), Errno> {
    if !has(Feature::MountSetattr) {
        return Ok(());
    }
    let attr =
        MountAttr { attr_set: ATTR_NOSUID | ATTR_NOEXEC, propagation: MS_PRIVATE, ..MountAttr::default() };
    mount_setattr(tree.as_fd(), &attr, Scope::Mount)
}

fn empty_tmpfs() -> Result<OwnedFd, Errno> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(path: &CStr, minor: u32) -> DevicePlan {
        DevicePlan {
            path: path.to_owned(),
            name: None,
            mode: 0o020_640,
            major: 1,
            minor,
            uid: 1,
            gid: 2,
            bind: None,
        }
    }

    #[test]
    fn only_the_same_device_of_the_host_is_taken() {
        // Without privileges there are neither trees nor nodes, and nothing to see.
        if clone_node(CWD, c"/dev/null").is_err() {
            return;
        }
        let map = vec![IdMapping { container_id: 0, host_id: 1000, size: 10 }];
        let mut devices = [device(c"/dev/null", 3), device(c"/dev/null", 5), device(c"/dev/missing", 7)];
        open(&mut devices, (&map, &map));
        let owner = |index: usize| -> Option<(u32, u32, u64)> {
            let stat = fstat(devices[index].bind.as_ref()?).unwrap();
            Some((stat.st_uid, stat.st_mode & 0o7777, stat.st_rdev))
        };
        assert_eq!(owner(0).unwrap().2, device_number(1, 3));
        for (index, minor) in [(1, 5), (2, 7)] {
            // Making nodes takes CAP_MKNOD.
            if let Some(found) = owner(index) {
                assert_eq!(found, (1001, 0o640, device_number(1, minor)));
            }
        }
    }
}
