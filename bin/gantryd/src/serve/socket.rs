//! The listening sockets: made, or given by the service manager; and who may connect.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use gantry_sys::net::peer_groups;
use rustix::net::sockopt;
use rustix::process::umask;

/// Its owner and its group may connect.
const MODE: u32 = 0o660;
/// The directory of a socket, where it has to be made.
const DIRECTORY_MODE: u32 = 0o711;
/// The first descriptor that a service manager gives (sd_listen_fds(3)).
pub(crate) const FIRST_GIVEN: i32 = 3;
/// The most descriptors that are taken from it.
const MAX_GIVEN: i32 = 64;

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) listener: UnixListener,
    pub(crate) peers: Peers,
    /// To be removed at the end: the path and the inode.
    ours: Option<(PathBuf, u64)>,
}

/// Who may connect, whatever the mode of the socket's file becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peers {
    uid: u32,
    gid: u32,
    daemon: u32,
}

impl Peers {
    /// The super-user, the daemon's own user, and the socket's owner and group.
    fn allows(self, uid: u32, gid: u32, groups: impl FnOnce() -> Vec<u32>) -> bool {
        let users = [0, self.uid, self.daemon];
        users.contains(&uid) || gid == self.gid || groups().contains(&self.gid)
    }

    /// Asks the kernel who has connected.
    ///
    /// # Errors
    /// PermissionDenied, with who it is.
    pub(crate) fn admit(self, peer: impl std::os::fd::AsFd) -> io::Result<()> {
        let who = sockopt::socket_peercred(&peer)?;
        let (uid, gid) = (who.uid.as_raw(), who.gid.as_raw());
        if self.allows(uid, gid, || peer_groups(&peer).unwrap_or_default()) {
            return Ok(());
        }
        let message = format!("user {uid} (process {}) may not connect", who.pid);
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
    }
}

impl Socket {
    /// Takes the socket of that path from the service manager's, or makes it. Nobody can connect before it has its owner.
    ///
    /// A socket file that is there is removed only if nobody answers there.
    pub(crate) fn open(path: &Path, uid: u32, gid: u32, given: &mut Vec<OwnedFd>) -> Result<Self> {
        let peers = Peers { uid, gid, daemon: rustix::process::geteuid().as_raw() };
        if let Some(index) = given.iter().position(|fd| is_listening_at(fd, path)) {
            let listener = UnixListener::from(given.remove(index));
            listener.set_nonblocking(true)?;
            // What the daemon before us made is ours.
            let ours = std::env::var_os(HANDED_OVER).is_some();
            let ours = ours.then(|| Some((path.to_owned(), path.symlink_metadata().ok()?.ino()))).flatten();
            return Ok(Self { listener, peers, ours });
        }
        if let Some(parent) = path.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        remove_stale(path)?;
        let listener = bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
        listener.set_nonblocking(true)?;
        std::os::unix::fs::chown(path, Some(uid), Some(gid))
            .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(MODE)))
            .with_context(|| format!("cannot give {} to {uid}:{gid}", path.display()))?;
        let inode = path.symlink_metadata()?.ino();
        Ok(Self { listener, peers, ours: Some((path.to_owned(), inode)) })
    }

    /// Another descriptor of the listener, and whether its file is ours to remove.
    pub(crate) fn another(&self) -> io::Result<(OwnedFd, bool)> {
        Ok((self.listener.try_clone()?.into(), self.ours.is_some()))
    }

    /// The path of a socket that is to be removed at the end, once the listener is in use elsewhere.
    pub(crate) fn into_parts(self) -> (UnixListener, Peers, Remove) {
        (self.listener, self.peers, Remove(self.ours))
    }
}

/// Removes the socket's file when it is dropped, if it is still the one that was made.
#[derive(Debug)]
pub(crate) struct Remove(Option<(PathBuf, u64)>);

impl Remove {
    /// Leaves the file to somebody else.
    pub(crate) fn keep(&mut self) {
        self.0 = None;
    }
}

impl Drop for Remove {
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.0
            && path.symlink_metadata().is_ok_and(|file| file.ino() == *inode)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    // Called before there are other threads: the mask is the process's.
    let before = umask(rustix::fs::Mode::from_raw_mode(0o777));
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

fn remove_stale(path: &Path) -> Result<()> {
    let file = match path.symlink_metadata() {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
    };
    if !file.file_type().is_socket() {
        bail!("{} is there and is no socket", path.display());
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("somebody serves {} already", path.display()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("cannot tell who serves {}", path.display())),
    }
}

/// The variable that says that the sockets come from the daemon's binary before this one, which had made them.
pub(crate) const HANDED_OVER: &str = "GANTRY_HANDED_OVER";

/// What the service manager gave: `LISTEN_PID` and `LISTEN_FDS` of sd_listen_fds(3).
pub(crate) fn given() -> Vec<OwnedFd> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").and_then(|count| i32::try_from(count).ok()).unwrap_or_default();
    let descriptors = (FIRST_GIVEN..).take(usize::try_from(count.clamp(0, MAX_GIVEN)).unwrap_or_default());
    descriptors.filter_map(|fd| gantry_sys::process::take_inherited(fd).ok()).collect()
}

fn is_listening_at(fd: &OwnedFd, path: &Path) -> bool {
    let listens = sockopt::socket_acceptconn(fd.as_fd()).unwrap_or_default();
    let address = rustix::net::getsockname(fd.as_fd()).ok();
    let address = address.and_then(|address| rustix::net::SocketAddrUnix::try_from(address).ok());
    let bound = address.as_ref().and_then(|address| address.path()).map(|name| name.into_owned());
    listens && bound.is_some_and(|bound| Path::new(bound.to_str().unwrap_or_default()) == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<Socket> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Socket::open(path, uid, gid, &mut Vec::new())
    }

    #[test]
    fn a_socket_that_nobody_serves_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/s");
        std::fs::create_dir(directory.path().join("deep")).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        let socket = open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, MODE);
        assert!(open(&path).unwrap_err().to_string().contains("serves"));
        let (_listener, _, remove) = socket.into_parts();
        drop(remove);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        std::fs::write(&path, "mine").unwrap();
        assert!(open(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn the_socket_of_a_successor_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (_listener, _, remove) = open(&path).unwrap().into_parts();
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(remove);
        assert!(path.exists());
    }

    #[test]
    fn owner_group_and_super_user_may_connect() {
        let peers = Peers { uid: 7, gid: 8, daemon: 9 };
        let none = Vec::new;
        for (uid, gid) in [(0, 1), (7, 1), (9, 1), (1, 8)] {
            assert!(peers.allows(uid, gid, none), "{uid}:{gid}");
        }
        assert!(peers.allows(1, 1, || vec![2, 8]));
        assert!(!peers.allows(1, 1, || vec![2]));
    }

    #[test]
    fn a_socket_that_was_given_is_taken_by_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let other = UnixListener::bind(directory.path().join("t")).unwrap();
        let mut given = vec![OwnedFd::from(other), OwnedFd::from(listener)];
        let socket = Socket::open(&path, 0, 0, &mut given).unwrap();
        assert_eq!(given.len(), 1);
        drop(socket.into_parts());
        assert!(path.exists());
    }
}
