use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use gantry_sys::features::{Feature, has};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, XattrFlags, accessat, fremovexattr, fsetxattr, fstatfs, mkdirat,
    mknodat, openat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use super::{FILES, NAME, WORK, has_option};
use crate::Error;
use crate::root::Root;
use crate::tree::{self, Budget};

/// `OVERLAYFS_SUPER_MAGIC`.
const OVERLAYFS_MAGIC: u64 = 0x794c_7630;
/// There since overlayfs has an index, and while it is loaded.
const INDEX_PARAMETER: &str = "/sys/module/overlay/parameters/index";
/// The map of whoever is in the initial user namespace.
const INITIAL_MAP: [&str; 3] = ["0", "0", "4294967295"];

/// What kernel and file system can do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// `index=` is an option.
    pub(super) has_index: bool,
    /// Attributes must be `user.overlay.*`: the driver runs in a user namespace.
    pub(super) user_xattr: bool,
    /// Whiteouts can be made without overlayfs.
    pub(super) whiteouts: bool,
    /// Layers can be mounted with their ids mapped.
    pub(super) mapped_layers: bool,
}

pub(super) fn probe(root: &Root, mount_options: &[String]) -> Result<Found, Error> {
    let unusable = |reason| Error::Unusable { driver: NAME, root: root.path().to_owned(), reason };
    // This loads the module, too. Whoever may not, finds out below.
    if matches!(fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC), Err(Errno::NODEV)) {
        return Err(unusable("this kernel has no overlayfs: load the module, or use the native snapshotter"));
    }
    let facts = fstatfs(root.fd()).map_err(Error::io("examine", root.path()))?;
    if facts.f_type as u64 == OVERLAYFS_MAGIC {
        return Err(unusable(
            "it lies on overlayfs itself: put it on a volume, or use the native snapshotter",
        ));
    }
    if !tells_types(root.fd()).map_err(Error::io("read", root.path()))? {
        return Err(unusable("its file system tells no types of entries: make XFS with ftype=1"));
    }
    let in_user_namespace = in_user_namespace();
    let mut found = Found {
        has_index: accessat(rustix::fs::CWD, INDEX_PARAMETER, rustix::fs::Access::EXISTS, AtFlags::empty())
            .is_ok(),
        user_xattr: false,
        whiteouts: true,
        mapped_layers: has(Feature::OverlayMappedLayers) && !in_user_namespace,
    };
    if in_user_namespace {
        let given = has_option(mount_options, "userxattr");
        let tried = Attempt::make(root)?;
        found.whiteouts = tried.whiteout();
        found.user_xattr = given || (tried.has_user_xattr() && tried.mounts(true));
        if !found.user_xattr && !tried.mounts(false) {
            return Err(unusable(
                "the kernel mounts no overlayfs in this user namespace: it needs Linux 5.11",
            ));
        }
    }
    Ok(found)
}

/// Whether the file system says what an entry is: overlayfs cannot tell whiteouts without.
fn tells_types(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    let own = openat(dir, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = Vec::with_capacity(1024);
    let mut entries = RawDir::new(own, buffer.spare_capacity_mut());
    match entries.next() {
        Some(first) => Ok(first?.file_type() != FileType::Unknown),
        None => Ok(true),
    }
}

/// Whether root here is not the host's root.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.trim().is_empty() && !map.split_whitespace().eq(INITIAL_MAP)
}

/// Directories to try overlayfs on, deleted in the end.
struct Attempt<'a> {
    root: &'a Root,
    name: String,
    dir: OwnedFd,
}

impl<'a> Attempt<'a> {
    fn make(root: &'a Root) -> Result<Self, Error> {
        let name = format!("probe-{}", std::process::id());
        let io = |action| Error::io(action, root.path());
        mkdirat(root.fd(), name.as_str(), Mode::RWXU).map_err(io("make a directory in"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir =
            openat(root.fd(), name.as_str(), flags, Mode::empty()).map_err(io("open a directory in"))?;
        let attempt = Self { root, name, dir };
        for part in ["lower", FILES, WORK] {
            mkdirat(&attempt.dir, part, Mode::RWXU).map_err(io("make a directory in"))?;
        }
        Ok(attempt)
    }

    fn whiteout(&self) -> bool {
        mknodat(&self.dir, "whiteout", FileType::CharacterDevice, Mode::RUSR, 0).is_ok()
    }

    fn has_user_xattr(&self) -> bool {
        let name = "user.overlay.probe";
        fsetxattr(&self.dir, name, b"y", XattrFlags::empty()).is_ok() && fremovexattr(&self.dir, name).is_ok()
    }

    /// Whether overlayfs mounts, by a mount that is attached nowhere.
    fn mounts(&self, user_xattr: bool) -> bool {
        let part = |name: &str| format!("/proc/self/fd/{}/{name}", self.dir.as_raw_fd());
        let mount = || -> Result<OwnedFd, Errno> {
            let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            let context = context.as_fd();
            fsconfig_set_string(context, "lowerdir", part("lower"))?;
            fsconfig_set_string(context, "upperdir", part(FILES))?;
            fsconfig_set_string(context, "workdir", part(WORK))?;
            if user_xattr {
                fsconfig_set_flag(context, "userxattr")?;
            }
            fsconfig_create(context)?;
            fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        };
        mount().is_ok()
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // Best effort: the directory is small, and its name is nobody else's.
        if let Ok(dir) = self.dir.try_clone() {
            let _ = tree::delete(dir, &mut Budget::new(u64::MAX));
        }
        let _ = unlinkat(self.root.fd(), self.name.as_str(), AtFlags::REMOVEDIR);
    }
}
