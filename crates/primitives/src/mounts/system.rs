//! mount(2) for a mount in the words of mount(8).

use std::io;
use std::path::Path;

use gantry_types::Mount;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount,
    mount_change, mount_remount, move_mount, unmount,
};

use crate::{Error, Result};

/// What mount(2) takes of options for a file system: a page with its last zero.
const MAX_DATA_BYTES: usize = 4095;

/// Options, sorted.
#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    flags: MountFlags,
    propagation: MountPropagationFlags,
    bind: bool,
    data: Vec<String>,
}

fn parse(options: &[String]) -> Result<Parsed> {
    let mut parsed = Parsed {
        flags: MountFlags::empty(),
        propagation: MountPropagationFlags::empty(),
        bind: false,
        data: Vec::new(),
    };
    for option in options {
        let (set, flag) = match option.as_str() {
            "defaults" | "" => continue,
            "bind" => {
                parsed.bind = true;
                continue;
            }
            "rbind" => {
                parsed.bind = true;
                (true, MountFlags::from_bits_retain(MS_REC))
            }
            "ro" => (true, MountFlags::RDONLY),
            "rw" => (false, MountFlags::RDONLY),
            "nosuid" => (true, MountFlags::NOSUID),
            "suid" => (false, MountFlags::NOSUID),
            "nodev" => (true, MountFlags::NODEV),
            "dev" => (false, MountFlags::NODEV),
            "noexec" => (true, MountFlags::NOEXEC),
            "exec" => (false, MountFlags::NOEXEC),
            "sync" => (true, MountFlags::SYNCHRONOUS),
            "async" => (false, MountFlags::SYNCHRONOUS),
            "dirsync" => (true, MountFlags::DIRSYNC),
            "noatime" => (true, MountFlags::NOATIME),
            "atime" => (false, MountFlags::NOATIME),
            "nodiratime" => (true, MountFlags::NODIRATIME),
            "diratime" => (false, MountFlags::NODIRATIME),
            "relatime" => (true, MountFlags::RELATIME),
            "norelatime" => (false, MountFlags::RELATIME),
            "strictatime" => (true, MountFlags::STRICTATIME),
            "nostrictatime" => (false, MountFlags::STRICTATIME),
            other => {
                match propagation(other) {
                    Some(propagation) => parsed.propagation |= propagation,
                    None if ["loop", "uidmap", "gidmap", "X-containerd"]
                        .iter()
                        .any(|prefix| other.split(['=', '.']).next() == Some(prefix)) =>
                    {
                        return Err(Error::Unimplemented(format!("mounting with the option {other:?}")));
                    }
                    None => parsed.data.push(other.to_owned()),
                }
                continue;
            }
        };
        if set {
            parsed.flags |= flag;
        } else {
            parsed.flags -= flag;
        }
    }
    Ok(parsed)
}

/// `MS_REC`, which rustix has for bind mounts only.
const MS_REC: u32 = 0x4000;

fn propagation(option: &str) -> Option<MountPropagationFlags> {
    Some(match option {
        "private" => MountPropagationFlags::PRIVATE,
        "rprivate" => MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "rslave" => MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
        "shared" => MountPropagationFlags::SHARED,
        "rshared" => MountPropagationFlags::SHARED | MountPropagationFlags::REC,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        "runbindable" => MountPropagationFlags::UNBINDABLE | MountPropagationFlags::REC,
        _ => return None,
    })
}

/// Mounts `wanted` on the directory `target`.
///
/// # Errors
/// Unimplemented for loop devices and id maps; what the kernel says.
///
/// # Privilege
/// `CAP_SYS_ADMIN`.
pub(super) fn make(wanted: &Mount, target: &Path) -> Result<()> {
    let parsed = parse(&wanted.options)?;
    let failed = |errno: rustix::io::Errno| {
        let action = "mounting";
        Error::File { action, path: target.into(), source: io::Error::from(errno) }
    };
    let data = parsed.data.join(",");
    if parsed.bind || wanted.kind == "bind" {
        let rec = parsed.flags & MountFlags::from_bits_retain(MS_REC);
        mount(wanted.source.as_str(), target, "", MountFlags::BIND | rec, None::<&std::ffi::CStr>)
            .map_err(failed)?;
        // The other flags of a bind mount count in a second call (mount(2)).
        let rest = parsed.flags - rec;
        if !rest.is_empty() {
            mount_remount(target, MountFlags::BIND | rest, "")
                .map_err(|errno| undone(target, failed(errno)))?;
        }
    } else if data.len() > MAX_DATA_BYTES && wanted.kind == "overlay" {
        overlay(&parsed, target).map_err(failed)?;
    } else {
        let data = std::ffi::CString::new(data).map_err(|_| Error::Invalid {
            what: "mount",
            reason: "has a zero byte in an option".to_owned(),
        })?;
        mount(wanted.source.as_str(), target, wanted.kind.as_str(), parsed.flags, data.as_c_str())
            .map_err(failed)?;
    }
    if !parsed.propagation.is_empty() {
        mount_change(target, parsed.propagation).map_err(|errno| undone(target, failed(errno)))?;
    }
    Ok(())
}

fn undone(target: &Path, error: Error) -> Error {
    if let Err(left) = unmount(target, UnmountFlags::DETACH) {
        tracing::warn!(path = %target.display(), error = %left, "a mount that failed half-way stays");
    }
    error
}

/// overlayfs with more directories than a page has room for: one at a time (Linux 6.5).
fn overlay(parsed: &Parsed, target: &Path) -> rustix::io::Result<()> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in &parsed.data {
        match option.split_once('=') {
            Some(("lowerdir", directories)) => {
                for directory in directories.split(':') {
                    fsconfig_set_string(&context, "lowerdir+", directory)?;
                }
            }
            Some((key, value)) => fsconfig_set_string(&context, key, value)?,
            None => fsconfig_set_flag(&context, option.as_str())?,
        }
    }
    fsconfig_create(&context)?;
    let mut attributes = MountAttrFlags::empty();
    for (flag, attribute) in [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
    ] {
        if parsed.flags.contains(flag) {
            attributes |= attribute;
        }
    }
    let made = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(&made, "", rustix::fs::CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Unmounts `target`; that nothing is mounted there is fine. Busy mounts are an error, unless `lazily`.
pub(super) fn undo(target: &Path, lazily: bool) -> io::Result<()> {
    let flags = if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match unmount(target, flags | UnmountFlags::NOFOLLOW) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        result => Ok(result?),
    }
}

/// Whether something is mounted on `target` (statx(2), Linux 5.8).
pub(super) fn is_mounted(target: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    statx(CWD, target, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::TYPE)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_flags_propagation_or_the_file_systems() {
        let options = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let parsed = parse(&options(&["rbind", "ro", "rslave", "size=1m", "nosuid", "suid"])).unwrap();
        assert!(parsed.bind && parsed.flags.contains(MountFlags::RDONLY));
        assert!(!parsed.flags.contains(MountFlags::NOSUID));
        assert_eq!(parsed.propagation, MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC);
        assert_eq!(parsed.data, ["size=1m"]);
        for refused in ["loop", "uidmap=0:1:2", "X-containerd.mkdir.path=/x"] {
            let error = parse(&options(&[refused])).unwrap_err();
            assert_eq!(error.kind(), gantry_types::ErrorKind::Unimplemented, "{refused}");
        }
    }
}
