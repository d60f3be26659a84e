//! Mounts of a container that runs: crun's `mounts add` and `mounts remove`.
//!
//! A child joins the container's user and mount namespaces and follows the plan of the new mounts there, as the
//! container's own process did with those of its configuration. The configuration stays as it is.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::clone::{CloneArgs, spawn};
use gantry_sys::path::open_in_root;
use gantry_sys::process::{self, Wait};
use gantry_sys::{Errno, ns};
use gantry_types::ContainerId;
use gantry_types::oci::{Linux, Mount};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{UnmountFlags, unmount};

use crate::container::Container;
use crate::error::{Error, Failure};
use crate::host::Host;
use crate::init::attach::attach;
use crate::plan::mounts::{
    CgroupMount, MAX_MOUNTS, MountContext, MountKind, MountPlan, clean_target, prepare,
};
use crate::plan::namespaces::{NEWNS, NEWUSER};
use crate::plan::{c_string, rootfs};
use crate::state::Status;
use crate::sync::{Kind, Message, pair, receive, send};

/// Reads mounts as a JSON array, each as in a configuration.
///
/// # Errors
/// InvalidArgument for what is no such array, or too long; NotFound.
pub fn read_mounts(path: &std::path::Path) -> Result<Vec<Mount>, Error> {
    let text = crate::config::read_limited(path, crate::config::MAX_CONFIG_BYTES)?;
    let mounts: Vec<Mount> = crate::config::parse_json(&text, &path.to_string_lossy())?;
    if mounts.len() > MAX_MOUNTS {
        let reason = format!("{} mounts are more than {MAX_MOUNTS}", mounts.len());
        return Err(Error::config(path.to_string_lossy(), reason));
    }
    Ok(mounts)
}

/// Makes mounts in a container that runs, in their order; those before one that fails stay.
///
/// # Errors
/// NotFound; FailedPrecondition unless it runs; InvalidArgument; Unimplemented for mounts that cannot be had later:
/// cgroups, id-mapped ones, and bind mounts by an ordinary user; what the kernel answers.
///
/// # Privilege
/// `CAP_SYS_ADMIN` over the container's namespaces, and over the host's mounts for bind mounts.
pub fn add_mounts(host: &Host, id: &ContainerId, mounts: &[Mount]) -> Result<(), Error> {
    let container = Running::open(host, id)?;
    let spec = container.container.dir.config()?;
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    let (_, propagation) = rootfs::root_propagation(linux)?;
    let unsupported =
        |what: &str| Error::Unsupported(format!("{what} cannot be added to a running container"));
    let cgroup = || -> Result<CgroupMount, Error> { Err(unsupported("cgroup mounts")) };
    let mut context = MountContext {
        bundle: &container.container.record.bundle,
        root: &container.container.record.rootfs,
        mount_label: &linux.mount_label,
        label_option: crate::build::label_option(&container.container.record.annotations)?,
        default_propagation: rootfs::bind_propagation(propagation),
        user_namespace: false,
        id_maps: &mut |_, _| Err(unsupported("id-mapped mounts")),
        cgroup: &cgroup,
    };
    let mut plans = Vec::with_capacity(mounts.len());
    for (index, mount) in mounts.iter().enumerate() {
        let plan = prepare(index, mount, &mut context)?;
        if matches!(plan.kind, MountKind::Bind { tree: None, .. }) {
            return Err(Error::Unsupported(format!(
                "mounts[{index}]: an ordinary user cannot bind {} into a running container",
                mount.source
            )));
        }
        plans.push(plan);
    }
    let bind = context.default_propagation;
    let done = container.inside(|root| {
        // Directories that are made get their mode, whatever the caller's umask.
        rustix::process::umask(Mode::empty());
        each(&plans, |plan| attach(root, plan, bind))
    })?;
    done.map_err(|(index, errno)| failed("mount", plans.get(index), errno))
}

/// Takes mounts off a container that runs, the last first, each by its destination.
///
/// # Errors
/// NotFound; FailedPrecondition unless it runs; InvalidArgument for a destination where nothing is mounted.
///
/// # Privilege
/// `CAP_SYS_ADMIN` over the container's namespaces.
pub fn remove_mounts(host: &Host, id: &ContainerId, mounts: &[Mount]) -> Result<(), Error> {
    let container = Running::open(host, id)?;
    let mut targets = Vec::with_capacity(mounts.len());
    for (index, mount) in mounts.iter().enumerate().rev() {
        let field = format!("mounts[{index}].destination");
        let target = clean_target(&mount.destination, &field)?;
        let Some((parent, name)) = target.rsplit_once('/').filter(|(_, name)| !name.is_empty()) else {
            return Err(Error::config(field, "the container's root stays mounted"));
        };
        let parent = if parent.is_empty() { "/" } else { parent };
        targets.push((c_string(parent, &field)?, c_string(name, &field)?));
    }
    let done = container.inside(|root| each(&targets, |(parent, name)| detach(root, parent, name)))?;
    done.map_err(|(index, errno)| {
        let (parent, name) = targets.get(index).map_or_else(Default::default, |(parent, name)| {
            (parent.to_string_lossy().into_owned(), name.to_string_lossy().into_owned())
        });
        let path = format!("{}/{name}", parent.trim_end_matches('/'));
        match errno {
            Errno::INVAL => Error::config("mounts[].destination", format!("{path} is not a mount point")),
            errno => Error::Io { what: format!("unmount {path}"), failure: Failure(errno) },
        }
    })
}

/// The last component is no link: where one leads is not for this call to unmount.
fn detach(root: BorrowedFd<'_>, parent: &CString, name: &CString) -> Result<(), Errno> {
    let directory = open_in_root(root, parent, OFlags::PATH | OFlags::DIRECTORY)?;
    rustix::process::fchdir(&directory)?;
    unmount(name.as_c_str(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}

fn each<T>(items: &[T], mut step: impl FnMut(&T) -> Result<(), Errno>) -> Result<(), (usize, Errno)> {
    items.iter().enumerate().try_for_each(|(index, item)| step(item).map_err(|errno| (index, errno)))
}

fn failed(call: &str, plan: Option<&MountPlan>, errno: Errno) -> Error {
    let what = plan.map_or_else(String::new, |plan| {
        format!("{call} {} at {}", plan.source, plan.target.to_string_lossy())
    });
    Error::Io { what, failure: Failure(errno) }
}

/// A container whose mounts can be changed.
struct Running {
    container: Container,
    pidfd: OwnedFd,
    /// Its process's root, which need not be that of the mount namespace.
    root: OwnedFd,
}

impl Running {
    fn open(host: &Host, id: &ContainerId) -> Result<Self, Error> {
        let container = Container::open(host, id)?;
        let status = container.status()?;
        let pidfd = match status {
            Status::Created | Status::Running | Status::Paused => container.process()?,
            _ => None,
        };
        let Some(pidfd) = pidfd else {
            let reason = "cannot change the mounts of a container that is not running".into();
            return Err(Error::State { status, reason });
        };
        if container.record.exec.namespaces & NEWNS == 0 {
            return Err(Error::Unsupported("the container has no mount namespace of its own".into()));
        }
        let path = format!("/proc/{}/root", container.record.pid);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, &path, flags, Mode::empty()).map_err(Error::io(format!("open {path}")))?;
        // The process lives yet, so that the path was its own.
        if container.process()?.is_none() {
            let reason = "the container's process has ended".into();
            return Err(Error::State { status: Status::Stopped, reason });
        }
        Ok(Running { container, pidfd, root })
    }

    /// Runs `work` in a child inside the container's user and mount namespaces, and gives back what failed of it.
    fn inside(
        &self,
        work: impl FnOnce(BorrowedFd<'_>) -> Result<(), (usize, Errno)>,
    ) -> Result<Result<(), (usize, Errno)>, Error> {
        let (ours, theirs) = pair().map_err(Error::io("socketpair"))?;
        let child = spawn(&CloneArgs::default(), || {
            let done = self.enter().map_err(|errno| (usize::MAX, errno));
            let message = match done.and_then(|()| work(self.root.as_fd())) {
                Ok(()) => Message::new(Kind::Ready),
                Err((index, errno)) => {
                    Message { index: index as u32, errno: errno.raw_os_error(), ..Message::new(Kind::Fault) }
                }
            };
            i32::from(send(theirs.as_fd(), message, None).is_err())
        })
        .map_err(Error::io("clone3"))?;
        drop(theirs);
        let told = receive(ours.as_fd());
        process::wait(Wait::Child(child.pidfd.as_fd())).map_err(Error::io("waitid"))?;
        match told.map_err(Error::io("receive from the process in the container"))? {
            Some((message, _)) if message.kind == Kind::Ready => Ok(Ok(())),
            Some((message, _)) => {
                let errno = message.errno();
                if message.index == u32::MAX {
                    return Err(Error::io("join the container's namespaces")(errno));
                }
                Ok(Err((message.index as usize, errno)))
            }
            None => Err(Error::io("the process in the container")(Errno::CHILD)),
        }
    }

    fn enter(&self) -> Result<(), Errno> {
        // The container's root must not look into us: CVE-2016-9962.
        process::set_dumpable(false)?;
        let own = self.container.record.exec.namespaces & (NEWUSER | NEWNS);
        ns::setns(self.pidfd.as_fd(), own)?;
        if own & NEWUSER != 0 {
            let unmapped = |errno: Errno| if errno == Errno::INVAL { Ok(()) } else { Err(errno) };
            process::set_gid(0).or_else(unmapped)?;
            process::set_uid(0).or_else(unmapped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_told_by_its_number() {
        let step = |number: &i32| if *number < 2 { Ok(()) } else { Err(Errno::BUSY) };
        assert_eq!(each(&[0, 1], step), Ok(()));
        assert_eq!(each(&[0, 2, 3], step), Err((1, Errno::BUSY)));
    }

    #[test]
    fn mounts_are_read_from_an_array() {
        let path = std::env::temp_dir().join(format!("gantry-mounts-{}", std::process::id()));
        for (text, expect) in
            [(r#"[{"destination":"/a","type":"tmpfs"}]"#, Some(1)), ("{}", None), ("[1]", None)]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_mounts(&path).ok().map(|mounts| mounts.len()), expect, "{text}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
