//! Mounts that are not the container's own: criu leaves them out of the images, and takes the host's at restore.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use gantry_sys::Errno;
use gantry_sys::path::{FdPath, Missing, ensure, open_in_root};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_bind_recursive, mount_change, move_mount,
    unmount,
};

use super::request::Options;
use crate::error::Error;
use crate::plan::c_string;
use crate::plan::mounts::{CgroupMount, MountKind, MountPlan, is_directory};
use crate::plan::namespaces::NEWCGROUP;
use crate::plan::rootfs::RootfsPlan;
use crate::state::StateDir;

/// The mount of the root that criu is given.
const ROOT_DIRECTORY: &str = "criu-root";

/// A mount of the host's in the container, by its place there and its source on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct External {
    place: CString,
    source: String,
}

/// The external mounts of a plan, in their order; `own` has the namespaces that are not the runtime's.
pub(super) fn external(plan: &RootfsPlan, bundle: &Path, own: u64) -> Vec<External> {
    let mut found = Vec::new();
    for mount in &plan.mounts {
        match &mount.kind {
            MountKind::Bind { source, inside, .. } => {
                let root = if *inside { plan.path.to_string_lossy() } else { "".into() };
                let source = bundle.join(format!("{root}{}", source.to_string_lossy()));
                found.push(External {
                    place: mount.target.clone(),
                    source: source.to_string_lossy().into_owned(),
                });
            }
            // Without a namespace of its own the container gets directories of v1's hierarchies.
            MountKind::Cgroup(CgroupMount::Legacy { hierarchies, .. }) if own & NEWCGROUP == 0 => {
                found.extend(hierarchies.iter().map(|hierarchy| External {
                    place: below(&mount.target, &hierarchy.name),
                    source: hierarchy.bind_source.to_string_lossy().into_owned(),
                }));
            }
            _ => {}
        }
    }
    found
}

/// The nodes of the container, which are mounts of the host's where none can be made.
pub(super) fn devices(plan: &RootfsPlan) -> impl Iterator<Item = External> + '_ {
    plan.devices.iter().map(|device| External {
        place: device.path.clone(),
        source: device.path.to_string_lossy().into_owned(),
    })
}

fn below(directory: &CStr, name: &CStr) -> CString {
    let path = [directory.to_bytes(), b"/", name.to_bytes()].concat();
    CString::new(path).expect("parts of C strings hold no NUL")
}

/// Tells criu at dump which mounts are external: each goes by its own name.
pub(super) fn tell_dump(options: &mut Options, root: BorrowedFd<'_>, mounts: &[External]) {
    for mount in mounts {
        let place = resolve(root, Path::new("/"), &mount.place);
        options.external_mount(&place, &place);
    }
}

/// Tells criu at dump which paths are covered by /dev/null.
pub(super) fn tell_masked(options: &mut Options, root: BorrowedFd<'_>, masked: &[CString]) {
    for path in masked {
        let covered = open_in_root(root, path, OFlags::PATH).and_then(|path| Ok(!is_directory(&path)?));
        if covered == Ok(true) {
            options.external_mount(&path.to_string_lossy(), "/dev/null");
        }
    }
}

/// Where a place of the container is, once links are followed. What cannot be resolved is as it is written.
fn resolve(root: BorrowedFd<'_>, prefix: &Path, place: &CStr) -> String {
    let written = || place.to_string_lossy().into_owned();
    let Ok(fd) = open_in_root(root, place, OFlags::PATH) else { return written() };
    let Ok(path) = rustix::fs::readlinkat(CWD, FdPath::new(fd.as_fd()).as_cstr(), Vec::new()) else {
        return written();
    };
    let path = PathBuf::from(path.to_string_lossy().into_owned());
    match path.strip_prefix(prefix) {
        Ok(inside) => format!("/{}", inside.display()),
        Err(_) => written(),
    }
}

/// The root as criu wants it: a mount that nothing covers. It goes when this value does.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    fd: OwnedFd,
    mounted: Vec<CString>,
}

impl Root {
    /// Mounts the root in the container's state directory.
    pub(super) fn mount(dir: &StateDir, rootfs: &CStr) -> Result<Self, Error> {
        let path = dir.path().join(ROOT_DIRECTORY);
        let failed = |call: &str| Error::io(format!("{call} {}", path.display()));
        rustix::fs::mkdirat(CWD, &path, Mode::from_raw_mode(0o755)).map_err(failed("mkdir"))?;
        let path = path.canonicalize().map_err(|error| failed("resolve")(crate::config::errno(&error)))?;
        if let Err(errno) = mount_bind_recursive(rootfs, &path) {
            let _ = rustix::fs::rmdir(&path);
            return Err(failed("mount the root at")(errno));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, &path, flags, Mode::empty());
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        let opened = opened.and_then(|fd| mount_change(&path, private).map(|()| fd));
        match opened {
            Ok(fd) => Ok(Root { path, fd, mounted: Vec::new() }),
            Err(errno) => {
                unmount_root(&path);
                Err(Error::io(format!("open {}", path.display()))(errno))
            }
        }
    }

    /// Its path on the host.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the places that criu will mount to, as the container's first process would have, and mounts the host's
    /// trees meanwhile, so that places inside them are made, too.
    pub(super) fn make_places(&mut self, plan: &RootfsPlan) -> Result<(), Error> {
        for mount in &plan.mounts {
            // criu has the content of every tmpfs, and sysfs has the directories for cgroups.
            if matches!(mount.kind, MountKind::Cgroup(_)) || on_tmpfs(&mount.target, &plan.mounts) {
                continue;
            }
            self.make_place(mount).map_err(Error::io(format!(
                "make the place of the mount {}",
                mount.target.to_string_lossy()
            )))?;
        }
        Ok(())
    }

    fn make_place(&mut self, mount: &MountPlan) -> Result<(), Errno> {
        let MountKind::Bind { tree, source, inside, .. } = &mount.kind else {
            return match mount.kind {
                MountKind::Link(_) | MountKind::Remount => Ok(()),
                _ => ensure(self.fd.as_fd(), &mount.target, Missing::Directory).map(drop),
            };
        };
        let missing = match tree {
            Some(tree) if !is_directory(tree)? => Missing::File,
            None if *inside && !is_directory(open_in_root(self.fd.as_fd(), source, OFlags::PATH)?)? => {
                Missing::File
            }
            _ => Missing::Directory,
        };
        let target = ensure(self.fd.as_fd(), &mount.target, missing)?;
        if let Some(tree) = tree {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(tree, c"", &target, c"", flags)?;
            self.mounted.push(mount.target.clone());
        }
        Ok(())
    }

    /// Tells criu at restore where external mounts come from. The places must have been made.
    pub(super) fn tell_restore(&self, options: &mut Options, mounts: &[External]) {
        for mount in mounts {
            options.external_mount(&resolve(self.fd.as_fd(), &self.path, &mount.place), &mount.source);
        }
    }

    /// Takes the host's trees away again.
    pub(super) fn clear(&mut self) {
        for place in std::mem::take(&mut self.mounted).iter().rev() {
            if let Ok(mount) = open_in_root(self.fd.as_fd(), place, OFlags::PATH) {
                let _ = unmount(FdPath::new(mount.as_fd()).as_cstr(), UnmountFlags::DETACH);
            }
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.clear();
        unmount_root(&self.path);
    }
}

/// Its own error would hide the operation's; the state directory's removal tells of what stays.
fn unmount_root(path: &Path) {
    let _ = unmount(path, UnmountFlags::DETACH);
    let _ = rustix::fs::rmdir(path);
}

fn on_tmpfs(place: &CStr, mounts: &[MountPlan]) -> bool {
    mounts.iter().any(|mount| {
        let tmpfs =
            matches!(&mount.kind, MountKind::FileSystem { fstype, .. } if fstype.as_c_str() == c"tmpfs");
        let target = mount.target.as_bytes();
        tmpfs && place.to_bytes().strip_prefix(target).is_some_and(|rest| rest.first() == Some(&b'/'))
    })
}

/// Opens a directory of images or logs, making it where it is missing.
pub(super) fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |call: &str| Error::io(format!("{call} {}", path.display()));
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed("mkdir")(errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(failed("open"))
}

/// The root of a process, for what is looked up in its container.
pub(super) fn root_of(pid: i32) -> Result<OwnedFd, Error> {
    let path = c_string(&format!("/proc/{pid}/root"), "pid")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, &path, flags, Mode::empty()).map_err(Error::io(format!("open /proc/{pid}/root")))
}

/// Whether a descriptor's name is of a pipe.
pub(super) fn is_pipe(name: &str) -> bool {
    name.starts_with("pipe:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_resolved_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(path.join("real/conf")).unwrap();
        std::os::unix::fs::symlink("/real/conf", path.join("conf")).unwrap();
        let fd = openat(CWD, &path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert_eq!(resolve(fd.as_fd(), &path, c"/conf"), "/real/conf");
        assert_eq!(resolve(fd.as_fd(), &path, c"/nowhere"), "/nowhere");
    }
}
