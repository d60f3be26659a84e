//! Files that hold user namespaces: `<state>/userns/<id>`, each a bind mount of one (namespaces(7)).

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use gantry_sys::userns::visit;
use gantry_types::oci::IdMapping;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use super::ids::IdMaps;
use crate::{Error, Result};

/// `CLONE_NEWUSER` and `CLONE_NEWNET` of clone(2).
const NEWUSER: u64 = 0x1000_0000;
const NEWNET: u64 = 0x4000_0000;
/// How often a file may have been mounted on; more than one is another's doing.
const MAX_MOUNTS: usize = 16;

/// Whether a network namespace is made that belongs to the user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Net {
    /// It is.
    Own,
    /// The runtime makes it, or it is another's.
    Not,
}

/// Where the files are.
pub(super) fn directory(state: &Path) -> PathBuf {
    state.join("userns")
}

/// Makes a user namespace with these ids, and its network namespace. Blocks.
///
/// # Errors
/// What the kernel says: a limit of namespaces, a policy that forbids them.
///
/// # Privilege
/// `CAP_SETUID`, `CAP_SETGID`.
pub(super) fn make(maps: &IdMaps, net: Net) -> Result<(OwnedFd, Option<OwnedFd>)> {
    let flags = if net == Net::Own { NEWUSER | NEWNET } else { NEWUSER };
    let made = visit(flags, |pid| {
        let place = |name: &str| format!("/proc/{pid}/{name}");
        // Groups before users: with its own map of users a process could else use the wrong groups.
        for (name, ranges) in [("gid_map", &maps.gids), ("uid_map", &maps.uids)] {
            let path = place(name);
            fs::write(&path, text(ranges)).map_err(Error::io("writing", &path))?;
        }
        let open = |kind: &str| {
            let path = place(&format!("ns/{kind}"));
            fs::File::open(&path).map(OwnedFd::from).map_err(Error::io("opening", &path))
        };
        let net = (net == Net::Own).then(|| open("net")).transpose()?;
        Ok((open("user")?, net))
    });
    made.map_err(|errno| match errno {
        Errno::NOSPC | Errno::USERS => Error::Conflict(
            "no user namespace can be made: the limit is reached (sysctl user.max_user_namespaces)"
                .to_owned(),
        ),
        Errno::PERM => Error::Unsupported("user namespaces are forbidden by this kernel's policy".to_owned()),
        errno => Error::io("making", "a user namespace")(errno.into()),
    })?
}

/// As /proc/PID/uid_map takes it: user_namespaces(7).
fn text(ranges: &[IdMapping]) -> String {
    ranges.iter().map(|range| format!("{} {} {}\n", range.container_id, range.host_id, range.size)).collect()
}

/// Lets a file hold a user namespace. Blocks.
///
/// # Errors
/// What the disk and mount(2) say.
///
/// # Privilege
/// `CAP_SYS_ADMIN`.
pub(super) fn hold(state: &Path, id: &str, namespace: &OwnedFd) -> Result<PathBuf> {
    let directory = directory(state);
    let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(&directory);
    made.map_err(Error::io("making", &directory))?;
    let path = directory.join(id);
    fs::File::create(&path).map_err(Error::io("making", &path))?;
    mount_bind(format!("/proc/self/fd/{}", namespace.as_raw_fd()), &path).map_err(|errno| {
        let _ = fs::remove_file(&path);
        Error::io("mounting on", &path)(errno.into())
    })?;
    Ok(path)
}

/// Lets go of the user namespace of a container; one that is not held is let go of. It ends with the last process in it. Blocks.
///
/// # Errors
/// What umount2(2) and the disk say.
pub(crate) fn release(state: &Path, id: &str) -> Result<()> {
    let path = directory(state).join(id);
    for _ in 0..MAX_MOUNTS {
        match unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(errno) => return Err(Error::io("unmounting", &path)(errno.into())),
        }
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("removing", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Lets go of those of containers that are not among `known`. Blocks.
///
/// # Errors
/// As [`release`].
pub(super) fn sweep(state: &Path, known: &[String]) -> Result<()> {
    let directory = directory(state);
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io("reading", &directory))?,
    };
    for entry in entries {
        let name = entry.map_err(Error::io("reading", &directory))?.file_name();
        if let Some(name) = name.to_str().filter(|name| !known.iter().any(|known| known == name)) {
            release(state, name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gantry_testkit::{Need, require};

    use super::super::ids::Span;
    use super::*;

    #[test]
    fn namespaces_are_held_by_files_and_swept() {
        require!(Need::Root);
        let state = tempfile::tempdir().unwrap();
        let span = [Span { first: 0x7123_0000, count: 1000 }];
        let (user, net) = make(&IdMaps::of(&span, &span), Net::Own).unwrap();
        assert_eq!(gantry_sys::ns::kind(std::os::fd::AsFd::as_fd(&net.unwrap())), Ok(NEWNET));
        let inode = |file: &fs::File| std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
        let own = inode(&fs::File::from(user.try_clone().unwrap()));
        let path = hold(state.path(), "one", &user).unwrap();
        hold(state.path(), "two", &user).unwrap();
        assert_eq!(inode(&fs::File::open(&path).unwrap()), own);
        sweep(state.path(), &["one".to_owned()]).unwrap();
        assert!(path.exists() && !path.with_file_name("two").exists());
        release(state.path(), "one").unwrap();
        release(state.path(), "one").unwrap();
        assert!(!path.exists());
    }
}
