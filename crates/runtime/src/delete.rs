//! delete.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use gantry_cgroup::{Cgroup, Depth, Hierarchy};
use gantry_sys::process;
use gantry_types::ContainerId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::config::Bundle;
use crate::container::{Container, live_maker};
use crate::error::Error;
use crate::host::Host;
use crate::state::{StateDir, Status};

/// How long a killed process may take to end, which may be in the middle of a write to a slow disk; and how long the
/// process that makes a container may go on with it.
const END_TIMEOUT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// How long processes of a killed runtime may stay in the cgroup that it was about to fill.
const UNRECORDED_PATIENCE: Duration = Duration::from_secs(2);

/// Whether a container that runs is killed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// It is an error for it to run.
    No,
    /// It is killed; and it is no error for it not to exist.
    Yes,
}

/// Removes a container: its processes, its cgroup, its state. Then its poststop hooks run.
///
/// A part that cannot be removed does not keep the others; the first error is told.
///
/// # Errors
/// NotFound; FailedPrecondition when it runs; DeadlineExceeded when a killed process does not end.
pub fn delete(host: &Host, id: &ContainerId, force: Force) -> Result<(), Error> {
    let opened = Container::open(host, id).and_then(|container| match force {
        Force::Yes => made(host, id, container),
        Force::No => Ok(container),
    });
    let container = match opened {
        Ok(container) => container,
        Err(Error::NotFound(_)) if force == Force::Yes => return remove_remains(host, id),
        Err(error) => return Err(error),
    };
    let status = container.status()?;
    match status {
        Status::Stopped => {}
        // It runs nothing of the user's yet.
        Status::Created => end(&container)?,
        _ if force == Force::Yes => end(&container)?,
        status => {
            let reason = format!("cannot delete container {id} that is not stopped: {status}");
            return Err(Error::State { status, reason });
        }
    }
    destroy(host, container)
}

/// The container when nobody is at work on it any more: what its maker adds later would be lost to everybody.
fn made(host: &Host, id: &ContainerId, container: Container) -> Result<Container, Error> {
    let maker = if container.record.pid == 0 { live_maker(&container.record)? } else { None };
    let Some(maker) = maker else { return Ok(container) };
    await_end(&maker, "waiting for the process that makes the container to end")?;
    Container::open(host, id)
}

/// A directory without a readable record: what a runtime that was killed at once left.
fn remove_remains(host: &Host, id: &ContainerId) -> Result<(), Error> {
    match StateDir::open(host, id) {
        Ok(dir) => dir.remove(),
        Err(Error::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Kills the container's processes and waits for the first one's end.
fn end(container: &Container) -> Result<(), Error> {
    if let Some(pidfd) = container.process()? {
        let killed = process::pidfd_kill(pidfd.as_fd(), 9);
        crate::kill::thaw_for_death(container.cgroup.as_ref());
        match killed {
            Ok(()) | Err(gantry_sys::Errno::SRCH) => {}
            Err(errno) => return Err(Error::io("kill the container's process")(errno)),
        }
        await_end(&pidfd, "waiting for the killed process to end")?;
    }
    if !container.record.exec.pid_namespace || container.record.pid == 0 {
        crate::kill::kill_all(container, 9)?;
    }
    Ok(())
}

fn await_end(pidfd: &OwnedFd, what: &str) -> Result<(), Error> {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let ready =
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&END_TIMEOUT))).map_err(Error::io("poll"))?;
    if ready == 0 {
        return Err(Error::Io {
            what: what.to_owned(),
            failure: crate::error::Failure(gantry_sys::Errno::TIMEDOUT),
        });
    }
    Ok(())
}

/// Removes what is left of a container whose process has ended.
fn destroy(host: &Host, container: Container) -> Result<(), Error> {
    let Container { dir, record, cgroup } = container;
    let removed = cgroup.as_ref().map_or(Ok(()), |cgroup| remove_cgroup(cgroup, record.exec.pid_namespace));
    let root = record.root_mount.map_or(Ok(()), |mount| crate::hostroot::release(&record.rootfs, mount));
    let resctrl = record.resctrl.as_deref().map_or(Ok(()), crate::resctrl::remove);
    let state = dir.remove();
    // runtime.md, Lifecycle: a failing poststop hook is worth a warning, and changes nothing.
    for failed in crate::hook::run_each(&record.poststop, "poststop", &record, Status::Stopped) {
        host.notices.warn(format_args!("{failed}"));
    }
    removed.and(root).and(resctrl).and(state)
}

/// Removes the cgroup of a container that another runtime was killed in the middle of making, before it had written down
/// anything. One that somebody is in stays: it is not this container's alone.
///
/// # Errors
/// `InvalidArgument` for a configuration that names no possible cgroup; `FailedPrecondition` when it stays.
pub fn delete_unrecorded_cgroup(host: &Host, id: &ContainerId, bundle: &Path) -> Result<(), Error> {
    let bundle = Bundle::load(bundle, None)?;
    let hierarchy = Hierarchy::detect().map_err(gantry_cgroup::Error::from)?;
    let record = crate::create::resolve(host, id, &bundle.spec, &hierarchy)?.record();
    let cgroup = Cgroup::from_record(&record, crate::create::cgroup_features(host));
    // The runtime's own processes end with it, but not at once.
    let end = Instant::now() + UNRECORDED_PATIENCE;
    while !cgroup.pids(Depth::Tree)?.is_empty() {
        if Instant::now() >= end {
            return Err(Error::State {
                status: Status::Stopped,
                reason: format!("the cgroup of {id} is left to the processes in it"),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(cgroup.delete()?)
}

/// Removes the cgroup. Whoever is still in it is killed: processes of a container without a pid namespace outlive the
/// first one.
fn remove_cgroup(cgroup: &Cgroup, pid_namespace: bool) -> Result<(), Error> {
    if !pid_namespace {
        crate::kill::kill_in(cgroup, Signal::KILL)?;
    }
    Ok(cgroup.delete()?)
}
