//! kill, pause, resume and update.

use std::os::fd::AsFd;

use gantry_cgroup::{Cgroup, Depth, Phase};
use gantry_sys::{Errno, process};
use gantry_types::ContainerId;
use gantry_types::oci::Resources;
use rustix::process::Signal;

use crate::container::Container;
use crate::error::Error;
use crate::host::Host;
use crate::state::Status;

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The first process.
    Process,
    /// Every process of the container.
    All,
}

const SIGKILL: i32 = 9;

/// Sends a signal, by number.
///
/// SIGKILL for a container without a pid namespace of its own goes to all of its processes, since nobody else would
/// end them.
///
/// # Errors
/// NotFound; FailedPrecondition when the container is not running ("container not running").
pub fn kill(host: &Host, id: &ContainerId, signal: i32, scope: Scope) -> Result<(), Error> {
    let container = Container::open(host, id)?;
    let shared = signal == SIGKILL && !container.record.exec.pid_namespace;
    if scope == Scope::All || shared {
        // Without a pid namespace processes outlive the first one.
        if scope != Scope::All && container.status()? == Status::Stopped && !has_processes(&container)? {
            return Err(not_running(Status::Stopped));
        }
        return kill_all(&container, signal);
    }
    let Some(pidfd) = container.process()? else { return Err(not_running(Status::Stopped)) };
    match process::pidfd_kill(pidfd.as_fd(), signal) {
        Err(Errno::SRCH) => return Err(not_running(Status::Stopped)),
        result => result.map_err(Error::io(format!("pidfd_send_signal {signal}")))?,
    }
    if signal == SIGKILL {
        thaw_for_death(container.cgroup.as_ref());
    }
    Ok(())
}

fn has_processes(container: &Container) -> Result<bool, Error> {
    let cgroup = container.cgroup.as_ref().filter(|cgroup| !cgroup.is_absent());
    Ok(cgroup.is_some_and(|cgroup| cgroup.pids(Depth::Tree).is_ok_and(|pids| !pids.is_empty())))
}

/// On cgroup v1 a frozen process does not even die.
pub(crate) fn thaw_for_death(cgroup: Option<&Cgroup>) {
    if let Some(cgroup) = cgroup.filter(|cgroup| cgroup.mode() != gantry_cgroup::Mode::V2) {
        // There may be no freezer; who is not frozen needs no thaw.
        let _ = cgroup.thaw();
    }
}

pub(crate) fn kill_all(container: &Container, signal: i32) -> Result<(), Error> {
    let Some(cgroup) = container.cgroup.as_ref().filter(|cgroup| !cgroup.is_absent()) else {
        return match container.process()? {
            Some(pidfd) => process::pidfd_kill(pidfd.as_fd(), signal).map_err(Error::io("pidfd_send_signal")),
            None => Ok(()),
        };
    };
    if let Some(named) = Signal::from_named_raw(signal) {
        return kill_in(cgroup, named);
    }
    // Signal 0, which only asks, and the real-time signals, which nobody needs to catch forking processes with.
    for pid in cgroup.pids(Depth::Tree)? {
        match process::kill(pid, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(Error::io(format!("kill {pid}"))(errno)),
        }
    }
    Ok(())
}

/// Signals every process of a cgroup. One that does not exist has none: the record is written before the cgroup is made,
/// and whoever died between the two left nobody.
pub(crate) fn kill_in(cgroup: &Cgroup, signal: Signal) -> Result<(), Error> {
    match cgroup.kill_all(signal) {
        Err(error) if error.kind() == gantry_types::ErrorKind::NotFound => Ok(()),
        result => Ok(result?),
    }
}

fn not_running(status: Status) -> Error {
    Error::State { status, reason: "container not running".into() }
}

fn cgroup_of(container: &Container) -> Result<&Cgroup, Error> {
    container
        .cgroup
        .as_ref()
        .filter(|cgroup| !cgroup.is_absent())
        .ok_or_else(|| Error::Unsupported("the container has no cgroup of its own".into()))
}

/// Freezes the container's processes.
///
/// # Errors
/// FailedPrecondition unless it is running or created.
pub fn freeze(host: &Host, id: &ContainerId) -> Result<(), Error> {
    let container = Container::open(host, id)?;
    match container.status()? {
        Status::Running | Status::Created => Ok(cgroup_of(&container)?.freeze()?),
        status => Err(Error::State { status, reason: format!("container not running or created: {status}") }),
    }
}

/// Thaws the container's processes.
///
/// # Errors
/// FailedPrecondition unless it is paused.
pub fn thaw(host: &Host, id: &ContainerId) -> Result<(), Error> {
    let container = Container::open(host, id)?;
    match container.status()? {
        Status::Paused => Ok(cgroup_of(&container)?.thaw()?),
        status => Err(Error::State { status, reason: "container not paused".into() }),
    }
}

/// Changes the container's limits; what `resources` leaves out stays.
///
/// # Errors
/// FailedPrecondition when it is stopped; what the limits give.
pub fn update(host: &Host, id: &ContainerId, resources: &Resources) -> Result<(), Error> {
    let container = Container::open(host, id)?;
    let status = container.status()?;
    if status == Status::Stopped {
        return Err(not_running(status));
    }
    Ok(cgroup_of(&container)?.apply(resources, Phase::Update).map_err(gantry_cgroup::Error::from)?)
}

/// Changes the container's shares of caches and memory bandwidth; an absent schema stays.
///
/// # Errors
/// FailedPrecondition when it is stopped; Unimplemented without resctrl; what the kernel says of the schemata.
pub fn update_schemata(
    host: &Host,
    id: &ContainerId,
    l3_cache: Option<&str>,
    memory_bandwidth: Option<&str>,
) -> Result<(), Error> {
    let mut container = Container::open(host, id)?;
    let status = container.status()?;
    if status == Status::Stopped {
        return Err(not_running(status));
    }
    let linux = container.dir.config()?.linux.unwrap_or_default();
    let base = linux.intel_rdt.unwrap_or_default();
    let config = gantry_types::oci::IntelRdt {
        schemata: Vec::new(),
        l3_cache_schema: l3_cache.unwrap_or_default().to_owned(),
        mem_bw_schema: memory_bandwidth.unwrap_or_default().to_owned(),
        ..base
    };
    let resctrl = crate::resctrl::Resctrl::find()?;
    let group = resctrl.create(&config, id.as_str())?;
    resctrl.attach(&group, container.record.pid)?;
    // A container that was made without a group has one from here on.
    if let Some(made) = group.made() {
        container.record.resctrl = Some(made);
        container.dir.write(&container.record)?;
    }
    group.keep();
    Ok(())
}
