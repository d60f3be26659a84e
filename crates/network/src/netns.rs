//! Network namespaces: made on threads of their own, held by a descriptor, then by a file (network_namespaces(7)).
//!
//! A namespace has its loopback device up. Devices that come into it have IPv6 off and take no router advertisements,
//! because the bridge has no IPv6 and a neighbour must not be able to offer it (CVE-2020-10749); the loopback device keeps
//! `::1`. `net.ipv6.conf.all.disable_ipv6=0` among a container's sysctls turns it on.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use gantry_sys::netlink::Netlink;
use gantry_sys::{Errno, net, ns};
use rustix::fs::{CWD, Mode, OFlags, RawMode, fstat, openat};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::error::Error;

/// The flag of network namespaces: `CLONE_NEWNET` of namespaces(7).
const NEWNET: u64 = 0x4000_0000;
/// The thread needs a message's buffer and little else.
const STACK_BYTES: usize = 256 << 10;
const DIRECTORY_MODE: RawMode = 0o711;
const FILE_MODE: RawMode = 0o444;
/// The longest name: NAME_MAX of limits.h.
const MAX_NAME: usize = 255;
/// How often a file may have been mounted on; more than one is another's doing.
const MAX_MOUNTS: usize = 16;

/// Settings of what comes into a namespace, as long as nobody says otherwise.
const DEFAULTS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv6/conf/default/accept_ra", "0"),
    ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
];

/// Runs `work` on a thread of its own, whose namespaces may change.
pub(crate) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("gantry-netns".to_owned()).stack_size(STACK_BYTES);
        let handle = builder.spawn_scoped(scope, work).map_err(Error::Thread)?;
        Ok(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Makes a network namespace that another made ready for devices, and a socket that speaks to it.
pub(crate) fn prepare(netns: BorrowedFd<'_>, path: &Path) -> Result<Netlink, Error> {
    apart(|| {
        ns::setns(netns, NEWNET).map_err(Error::netns("entering the", path))?;
        set_defaults()?;
        Netlink::open().map_err(Error::netns("speaking to the", path))
    })?
}

fn set_defaults() -> Result<(), Error> {
    for (setting, value) in DEFAULTS {
        match fs::write(setting, value) {
            Ok(()) => {}
            // A kernel without IPv6.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Setting { step: "writing", path: setting.into(), source }),
        }
    }
    Ok(())
}

/// Opens the file of a network namespace.
///
/// # Errors
/// `EINVAL` for the file of anything else.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let file = openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK,
        Mode::empty(),
    )?;
    match ns::kind(file.as_fd()) {
        Ok(NEWNET) => Ok(file),
        Ok(_) | Err(Errno::NOTTY) => Err(Errno::INVAL),
        Err(errno) => Err(errno),
    }
}

/// A network namespace that nobody uses yet.
#[derive(Debug)]
pub(crate) struct Fresh {
    /// The namespace.
    pub(crate) netns: OwnedFd,
    /// Speaks to it, and spares a thread to whoever wants to.
    pub(crate) socket: Netlink,
}

/// What tells network namespaces from each other as long as they exist.
pub(crate) fn identity(netns: BorrowedFd<'_>) -> Result<u64, Errno> {
    Ok(fstat(netns)?.st_ino)
}

/// Makes a network namespace that only descriptors hold.
pub(crate) fn make() -> Result<Fresh, Error> {
    const STEP: &str = "making the";
    let path = Path::new("/proc/thread-self/ns/net");
    apart(|| {
        ns::unshare(NEWNET).map_err(Error::netns(STEP, path))?;
        let socket = furnish(path)?;
        Ok(Fresh { netns: open(path).map_err(Error::netns(STEP, path))?, socket })
    })?
}

/// Makes an empty network namespace that another made, as one of a user namespace, what [`make`] makes.
pub(crate) fn adopt(netns: OwnedFd) -> Result<Fresh, Error> {
    let path = Path::new("/proc/thread-self/ns/net");
    let socket = apart(|| {
        ns::setns(netns.as_fd(), NEWNET).map_err(Error::netns("entering the", path))?;
        furnish(path)
    })??;
    Ok(Fresh { netns, socket })
}

/// What the namespace of the calling thread has before anybody is in it.
fn furnish(path: &Path) -> Result<Netlink, Error> {
    net::loopback_up().map_err(Error::netns("bringing up the loopback device of the", path))?;
    set_defaults()?;
    Netlink::open().map_err(Error::netns("speaking to the", path))
}

/// The directory of files that hold network namespaces.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Makes it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt;
        let made = fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path);
        made.map_err(|source| Error::Setting {
            step: "making the directory",
            path: path.to_owned(),
            source,
        })?;
        Ok(Directory(path.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where a file is, or would be.
    pub(crate) fn path_of(&self, name: &str) -> Result<PathBuf, Error> {
        let plain = !name.is_empty() && name.len() <= MAX_NAME && !name.starts_with('.');
        if plain && !name.bytes().any(|byte| byte == b'/' || byte == 0) {
            return Ok(self.0.join(name));
        }
        Err(Error::invalid("name of a network namespace", name.to_owned(), "it cannot be a file's here"))
    }

    /// Lets a file hold a network namespace. One that holds nothing, because somebody was killed, is used again.
    pub(crate) fn hold(&self, name: &str, netns: BorrowedFd<'_>) -> Result<PathBuf, Error> {
        let path = self.path_of(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(CWD, &path, flags, Mode::from_raw_mode(FILE_MODE)) {
            Ok(_) => {}
            Err(Errno::EXIST) if matches!(open(&path), Err(Errno::INVAL)) => {}
            Err(Errno::EXIST) => return Err(Error::NetnsExists { name: name.to_owned() }),
            Err(errno) => return Err(Error::netns("making the file of the", &path)(errno)),
        }
        let bound = mount_bind(format!("/proc/self/fd/{}", netns.as_raw_fd()), &path);
        bound.map_err(|errno| {
            let _ = fs::remove_file(&path);
            Error::netns("binding the", &path)(errno)
        })?;
        Ok(path)
    }

    /// Lets go of a network namespace; one that is not held is let go of.
    pub(crate) fn release(&self, name: &str) -> Result<(), Error> {
        let path = self.path_of(name)?;
        for _ in 0..MAX_MOUNTS {
            match unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                Ok(()) => {}
                Err(Errno::INVAL | Errno::NOENT) => break,
                Err(errno) => return Err(Error::netns("unmounting the", &path)(errno)),
            }
        }
        match rustix::fs::unlink(&path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::netns("removing the file of the", &path)(errno)),
        }
    }

    /// The names of all files.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        let failed = |source| Error::Setting { step: "reading the directory", path: self.0.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            names.extend(name.into_string().ok().filter(|name| !name.starts_with('.')));
        }
        Ok(names)
    }
}
