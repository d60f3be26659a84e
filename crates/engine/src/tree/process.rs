//! The root of a process: `/proc/<pid>/root`, proc_pid_root(5).

use std::os::fd::{AsFd, OwnedFd};

use gantry_sys::ns::{setns, unshare};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat, stat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::failed;
use super::root::Root;
use crate::{Error, Result};

/// `CLONE_NEWNS` of clone(2): mount namespaces.
pub(super) const MOUNT_NAMESPACE: u64 = 0x2_0000;

/// A process, what its root is, and its mounts.
pub(super) struct Process {
    pidfd: OwnedFd,
    root: OwnedFd,
    namespace: OwnedFd,
}

impl Process {
    /// Opens what has that number now; None if nothing has. Whose process it is, the caller finds out. Blocks.
    ///
    /// # Errors
    /// Unsupported for one in the host's mount namespace; what the kernel says.
    ///
    /// # Privilege
    /// `CAP_SYS_PTRACE`.
    pub(super) fn open(pid: u32) -> Result<Option<Self>> {
        match Self::open_now(pid) {
            Err(Error::Io { source, .. })
                if [Errno::SRCH, Errno::NOENT]
                    .contains(&Errno::from_io_error(&source).unwrap_or(Errno::IO)) =>
            {
                Ok(None)
            }
            result => result,
        }
    }

    fn open_now(pid: u32) -> Result<Option<Self>> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let Some(number) = number else { return Ok(None) };
        let at = format!("/proc/{pid}");
        let pidfd = pidfd_open(number, PidfdFlags::empty()).map_err(failed("opening", &at))?;
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let process = openat(CWD, at.as_str(), directory, Mode::empty()).map_err(failed("opening", &at))?;
        let root =
            openat(&process, "root", directory, Mode::empty()).map_err(failed("opening the root of", &at))?;
        let read = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = openat(&process, "ns/mnt", read, Mode::empty())
            .map_err(failed("opening the namespace of", &at))?;
        let of = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let theirs = fstat(&namespace).map(of).map_err(failed("looking at", &at))?;
        if theirs == stat("/proc/self/ns/mnt").map(of).map_err(failed("looking at", "/proc/self/ns/mnt"))? {
            let text = format!("process {pid} sees the host's files: they are no container's");
            return Err(Error::Unsupported(text));
        }
        Ok(Some(Self { pidfd, root, namespace }))
    }

    /// Whether it is over.
    ///
    /// # Errors
    /// What poll(2) says.
    pub(super) fn has_ended(&self) -> Result<bool> {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready = poll(&mut fds, Some(&now)).map_err(failed("looking at", "a container's process"))?;
        Ok(ready > 0)
    }

    pub(super) fn into_root(self) -> Root {
        Root::new(self.root, Some(self.namespace))
    }
}

/// The root without what is mounted below it: a detached copy of its one mount. Blocks.
///
/// open_tree(2) copies mounts of the caller's namespace only, so a thread of its own enters the container's. It resolves nothing
/// there.
///
/// # Errors
/// What the kernel says.
pub(super) fn alone(root: Root) -> Result<Root> {
    let copy = on_a_thread(move || {
        let action = "copying the mount of";
        let it = "a container's root";
        let namespace = root.namespace().ok_or_else(|| Error::Panicked(action))?;
        // A namespace can only be entered by who shares its file system attributes with nobody.
        unshare(MOUNT_NAMESPACE).map_err(failed(action, it))?;
        setns(namespace, MOUNT_NAMESPACE).map_err(failed(action, it))?;
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        open_tree(root.as_fd(), "", flags).map_err(failed(action, it))
    })?;
    Ok(Root::new(copy, None))
}

/// Runs something on a thread that nobody uses afterwards.
pub(super) fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    const NAME: &str = "mounts";
    let thread = std::thread::Builder::new().name(NAME.to_owned()).spawn(work);
    let thread = thread.map_err(Error::io("starting", "a thread"))?;
    thread.join().map_err(|_| Error::Panicked("mounting"))?
}
