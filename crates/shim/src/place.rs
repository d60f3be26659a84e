//! Where a pod has its socket and its state.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gantry_sys::Errno;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat, stat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{
    Flock, FlockType, PidfdFlags, Signal, fcntl_getlk, kill_process_group, pidfd_open, pidfd_send_signal,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// Where containerd's shims have their sockets.
const SOCKETS: &str = "/run/containerd/s";
/// Where pods have their state.
const STATE: &str = "/run/gantry/shim";
/// The variable that names another place for state.
pub(crate) const STATE_VARIABLE: &str = "GANTRY_SHIM_ROOT";
/// The annotations that make containers one pod, in the order in which they count.
const GROUP_ANNOTATIONS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];
/// The largest configuration that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = gantry_runtime::config::MAX_CONFIG_BYTES;
/// How long a shim that is ending may keep its lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long workers of a shim that is gone may take before they are ended, and after that.
const WORKERS_TIMEOUT: Duration = Duration::from_secs(3);
const WORKERS_END: Duration = Duration::from_secs(1);
/// How long to wait before the lock is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// A pod's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) socket: PathBuf,
    pub(crate) directory: PathBuf,
}

impl Place {
    /// The place of a group of containers.
    pub(crate) fn of(address: &str, namespace: &str, group: &str, sockets: Option<&str>) -> Self {
        let mut hash = Sha256::new();
        let joined = [address.trim_end_matches('/'), namespace, group];
        hash.update(joined.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"));
        let name = hash.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let sockets = sockets.filter(|path| !path.is_empty()).unwrap_or(SOCKETS);
        Place { socket: Path::new(sockets).join(&name), directory: state_root().join(name) }
    }

    /// The place of the pod that is served on a socket: its state has the socket's name.
    ///
    /// # Errors
    /// InvalidArgument for a path that is not absolute.
    pub(crate) fn of_socket(socket: PathBuf) -> Result<Self, Failure> {
        let name = socket.file_name().filter(|_| socket.is_absolute());
        let Some(name) = name else {
            return Err(Failure::invalid(format!("socket {} has no absolute path", socket.display())));
        };
        Ok(Place { directory: state_root().join(name), socket })
    }

    /// The address as daemons write it.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Whether a shim serves the socket.
    pub(crate) fn is_served(&self) -> bool {
        let Ok(address) = SocketAddrUnix::new(&self.socket) else { return false };
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        socket.is_ok_and(|socket| connect(&socket, &address).is_ok())
    }

    /// Makes the directories and takes the pod; whoever has it may be ending.
    ///
    /// # Errors
    /// Unavailable when somebody has the pod and does not serve it.
    pub(crate) fn take(&self) -> Result<Taken, Failure> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            if self.is_served() {
                return Ok(Taken::Served);
            }
            if let Some(lock) = self.try_once(deadline, "neither serves nor ends")? {
                return Ok(Taken::Ours(lock));
            }
        }
    }

    /// Makes the directories and takes the pod, whose socket is ours already; whoever has the pod may be ending.
    ///
    /// # Errors
    /// Unavailable when somebody has the pod and does not end.
    pub(crate) fn seize(&self) -> Result<OwnedFd, Failure> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            if let Some(lock) = self.try_once(deadline, "has another socket and does not end")? {
                return Ok(lock);
            }
        }
    }

    /// Takes the pod if it is free, and else waits a moment.
    fn try_once(&self, deadline: Instant, otherwise: &str) -> Result<Option<OwnedFd>, Failure> {
        if let Some(lock) = self.lock()? {
            if crate::pod::has_lived(&self.directory) {
                await_workers(&self.directory);
            }
            return Ok(Some(lock));
        }
        if Instant::now() >= deadline {
            let text = format!("the shim of {} {otherwise}", self.socket.display());
            return Err(Failure::new(gantry_types::ErrorKind::Unavailable, text));
        }
        std::thread::sleep(LOCK_PAUSE);
        Ok(None)
    }

    fn lock(&self) -> Result<Option<OwnedFd>, Failure> {
        let named = |call: &str| Failure::call(format!("{call} {}/lock", self.directory.display()));
        make_directory(&self.directory, 0o700)?;
        match mkdir(&self.directory.join(crate::pod::CONTAINERS), 0o700) {
            // The shim before has just removed it.
            Err(Errno::NOENT) => return Ok(None),
            made => made.map_err(named("mkdir containers beside"))?,
        }
        let path = self.directory.join("lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match openat(CWD, &path, flags, Mode::from_raw_mode(0o600)) {
            // The shim before has just removed it.
            Err(Errno::NOENT) => return Ok(None),
            file => file.map_err(named("open"))?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN) => return Ok(None),
            result => result.map_err(named("flock"))?,
        }
        // It may have been removed between the two calls.
        let ours = fstat(&file).map_err(named("fstat"))?;
        let same = stat(&path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (ours.st_dev, ours.st_ino));
        Ok(same.then_some(file))
    }

    /// Whether the pod has no containers.
    pub(crate) fn is_empty(&self) -> bool {
        std::fs::read_dir(self.directory.join(crate::pod::CONTAINERS))
            .is_ok_and(|mut entries| entries.next().is_none())
    }

    /// Removes what is left of a pod without containers, unless somebody serves it again.
    pub(crate) fn abandon(&self) {
        let Some(_lock) = self.vacant() else { return };
        if !self.is_served() {
            let _ = std::fs::remove_file(&self.socket);
            let _ = set_aside(&self.directory).and_then(|old| remove(&old));
        }
    }

    /// Removes the state of a pod without containers, unless another shim has it. Its socket is the daemon's.
    pub(crate) fn clear(&self) {
        let Some(_lock) = self.vacant() else { return };
        let _ = set_aside(&self.directory).and_then(|old| remove(&old));
    }

    /// The lock of a pod that has neither containers nor a shim.
    fn vacant(&self) -> Option<OwnedFd> {
        if self.is_empty() { self.lock().ok().flatten() } else { None }
    }
}

/// Gives a pod's directory another name, so that whoever comes next makes his own while this one is removed. Only whoever has the
/// pod's lock may.
pub(crate) fn set_aside(directory: &Path) -> Result<PathBuf, Failure> {
    let named = || Failure::call(format!("rename {}", directory.display()));
    let mut name = std::ffi::OsString::from(".");
    name.push(directory.file_name().unwrap_or_default());
    let old = directory.with_file_name(name);
    match rustix::fs::rename(directory, &old) {
        // Whoever was to remove that one was killed.
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            remove(&old)?;
            rustix::fs::rename(directory, &old).map_err(named())?;
        }
        renamed => renamed.map_err(named())?,
    }
    Ok(old)
}

/// Removes a directory that was set aside.
pub(crate) fn remove(old: &Path) -> Result<(), Failure> {
    std::fs::remove_dir_all(old).map_err(Failure::io(format!("remove {}", old.display())))
}

/// Where pods have their state.
fn state_root() -> PathBuf {
    std::env::var_os(STATE_VARIABLE).map_or_else(|| PathBuf::from(STATE), PathBuf::from)
}

/// The file on which each worker of a pod has a lock.
pub(crate) fn workers_file(directory: &Path) -> Result<OwnedFd, Failure> {
    let path = directory.join("workers");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(CWD, &path, flags, Mode::from_raw_mode(0o600))
        .map_err(Failure::call(format!("open {}", path.display())))
}

/// Waits for the workers of a shim that is gone. Those that take too long are ended: what they do may have no end, and nobody is
/// left who would take what they make.
pub(crate) fn await_workers(directory: &Path) {
    let Ok(file) = workers_file(directory) else { return };
    let overdue = Instant::now() + WORKERS_TIMEOUT;
    while rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= overdue + WORKERS_END {
            return;
        }
        if Instant::now() >= overdue {
            end_worker(&file);
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

/// Ends a worker that has a lock on the file, and what it has executed for it.
fn end_worker(file: &OwnedFd) {
    let holder = || {
        let lock = fcntl_getlk(file, &Flock::from(FlockType::WriteLock)).ok().flatten();
        lock.and_then(|lock| lock.pid)
    };
    let Some(pid) = holder() else { return };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    // Whoever has the lock now had it when the descriptor was opened: it is that process.
    if holder() == Some(pid) && pidfd_send_signal(&pidfd, Signal::STOP).is_ok() {
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
}

/// What taking a pod came to.
#[derive(Debug)]
pub(crate) enum Taken {
    /// A shim serves it.
    Served,
    /// It is ours, as long as this is open.
    Ours(OwnedFd),
}

/// Makes a directory and its parents, which everybody may pass through.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<(), Failure> {
    let made = match (mkdir(path, mode), path.parent()) {
        (Err(Errno::NOENT), Some(parent)) => {
            make_directory(parent, 0o711)?;
            mkdir(path, mode)
        }
        (made, _) => made,
    };
    made.map_err(Failure::call(format!("mkdir {}", path.display())))
}

fn mkdir(path: &Path, mode: u32) -> Result<(), Errno> {
    match mkdirat(CWD, path, Mode::from_raw_mode(mode)) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// The group that a bundle's configuration names; otherwise the container is one by itself.
///
/// # Errors
/// NotFound without a configuration; InvalidArgument for a damaged one.
pub(crate) fn group(bundle: &Path, id: &str) -> Result<String, Failure> {
    use std::io::Read;
    #[derive(Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: Option<BTreeMap<String, String>>,
    }
    let path = bundle.join(gantry_runtime::config::CONFIG_FILE);
    let file = std::fs::File::open(&path).map_err(Failure::io(format!("open {}", path.display())))?;
    let mut text = Vec::new();
    file.take(MAX_CONFIG_BYTES)
        .read_to_end(&mut text)
        .map_err(Failure::io(format!("read {}", path.display())))?;
    let config: Annotated = serde_json::from_slice(&text)
        .map_err(|error| Failure::invalid(format!("{}: {error}", path.display())))?;
    let annotations = config.annotations.unwrap_or_default();
    let named = GROUP_ANNOTATIONS.iter().find_map(|name| annotations.get(*name));
    Ok(named.cloned().unwrap_or_else(|| id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_by_annotations() {
        let bundle = tempfile::tempdir().unwrap();
        let check = |text: &str, expect: &str| {
            std::fs::write(bundle.path().join("config.json"), text).unwrap();
            assert_eq!(group(bundle.path(), "x").unwrap(), expect, "{text}");
        };
        check("{}", "x");
        check(r#"{"annotations":null}"#, "x");
        check(r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"p"},"process":{}}"#, "p");
        let both =
            r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"p","io.containerd.runc.v2.group":"g"}}"#;
        check(both, "g");
        std::fs::write(bundle.path().join("config.json"), "{").unwrap();
        assert!(group(bundle.path(), "x").is_err());
        assert_eq!(group(Path::new("/nowhere"), "x").unwrap_err().kind, gantry_types::ErrorKind::NotFound);
    }

    #[test]
    fn sockets_are_where_containerd_has_them() {
        let place = Place::of("/run/containerd/containerd.sock", "default", "x", None);
        let name = place.socket.file_name().unwrap().to_str().unwrap();
        assert_eq!((place.socket.parent().unwrap(), name.len()), (Path::new(SOCKETS), 64));
        assert!(place.address().len() < 106 + "unix://".len());
        assert_ne!(place, Place::of("/run/containerd/containerd.sock", "default", "y", None));
        assert_eq!(Place::of("/a", "n", "x", Some("/s")).socket.parent().unwrap(), Path::new("/s"));
    }
}
