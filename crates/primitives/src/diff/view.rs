//! What mounts would show, without mounting them anywhere.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use gantry_types::Mount;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use crate::{Error, Result};

/// An overlay's directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OverlayParts {
    /// Where changes go; nothing for a view.
    pub(crate) upper: Option<String>,
    /// What is below, nearest first.
    pub(crate) lower: Vec<String>,
    /// Whether its attributes are `user.overlay.*`.
    pub(crate) user_xattr: bool,
}

/// The directories of one mount: of a bind mount its source, as the only lower one.
pub(crate) fn parts(mount: &Mount) -> Result<OverlayParts> {
    match mount.kind.as_str() {
        "bind" | "rbind" => {
            let read_only = mount.options.iter().any(|option| option == "ro");
            let (upper, lower) = if read_only {
                (None, vec![mount.source.clone()])
            } else {
                (Some(mount.source.clone()), Vec::new())
            };
            Ok(OverlayParts { upper, lower, user_xattr: false })
        }
        "overlay" => {
            let option = |name: &str| mount.options.iter().rev().find_map(|option| option.strip_prefix(name));
            let lower = option("lowerdir=").unwrap_or_default().split(':').filter(|path| !path.is_empty());
            Ok(OverlayParts {
                upper: option("upperdir=").map(str::to_owned),
                lower: lower.map(str::to_owned).collect(),
                user_xattr: mount.options.iter().any(|option| option == "userxattr"),
            })
        }
        other => Err(Error::Unimplemented(format!("reading a mount of type {other:?}"))),
    }
}

impl OverlayParts {
    /// All directories, nearest first.
    fn all(&self) -> Vec<&str> {
        self.upper.iter().chain(&self.lower).map(String::as_str).collect()
    }

    /// The tree as it is seen, for reading alone: a detached mount for several directories, in which what would be written
    /// to is a lower one, so that an overlay that a container uses is never mounted a second time.
    ///
    /// # Privilege
    /// `CAP_SYS_ADMIN` for several directories.
    pub(crate) fn open(&self) -> Result<Option<OwnedFd>> {
        match self.all()[..] {
            [] => Ok(None),
            [one] => open_directory(one).map(Some),
            ref all => overlay(all, self.user_xattr).map(Some),
        }
    }
}

/// A detached, read-only overlay. Linux 5.2; with more than 255 bytes of paths, 6.7.
fn overlay(directories: &[&str], user_xattr: bool) -> Result<OwnedFd> {
    let failed = |action| Error::errno(action, "a detached overlay");
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("opening"))?;
    let joined = directories.join(":");
    /// The longest value that fsconfig(2) takes.
    const LONGEST: usize = 255;
    if joined.len() <= LONGEST {
        fsconfig_set_string(context.as_fd(), "lowerdir", &joined).map_err(failed("configuring"))?;
    } else {
        for directory in directories {
            fsconfig_set_string(context.as_fd(), "lowerdir+", *directory).map_err(failed("configuring"))?;
        }
    }
    if user_xattr {
        fsconfig_set_flag(context.as_fd(), "userxattr").map_err(failed("configuring"))?;
    }
    fsconfig_create(context.as_fd()).map_err(failed("making"))?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(failed("mounting"))
}

/// Opens a directory for reading.
pub(crate) fn open_directory(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let name = CString::new(path)
        .map_err(|_| Error::Invalid { what: "mounts", reason: "have a path with a NUL".to_owned() })?;
    rustix::fs::open(&*name, flags, Mode::empty()).map_err(Error::errno("opening", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Mount { kind: kind.into(), source: source.into(), target: String::new(), options }
    }

    #[test]
    fn directories_of_mounts_are_found() {
        let found =
            parts(&mount("overlay", "overlay", &["workdir=/w", "upperdir=/u", "lowerdir=/b:/a"])).unwrap();
        assert_eq!(found.all(), ["/u", "/b", "/a"]);
        let found = parts(&mount("bind", "/s", &["ro", "rbind"])).unwrap();
        assert_eq!((found.upper, found.lower), (None, vec!["/s".to_owned()]));
        assert!(parts(&mount("tmpfs", "tmpfs", &[])).is_err());
    }
}
