//! Containers as they are now: the record and what the kernel says.

use std::os::fd::OwnedFd;

use gantry_cgroup::{Cgroup, Depth, FreezerState};
use gantry_sys::Errno;
use gantry_types::ContainerId;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::Error;
use crate::host::Host;
use crate::state::{Record, StateDir, Status};

/// A container at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its record.
    pub record: Record,
    /// Where it is in its life.
    pub status: Status,
}

/// A container that an operation works on.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) dir: StateDir,
    pub(crate) record: Record,
    pub(crate) cgroup: Option<Cgroup>,
}

impl Container {
    pub(crate) fn open(host: &Host, id: &ContainerId) -> Result<Self, Error> {
        let dir = StateDir::open(host, id)?;
        let record = dir.read_complete()?;
        let cgroup =
            record.cgroup.as_ref().map(|c| Cgroup::from_record(c, crate::create::cgroup_features(host)));
        Ok(Container { dir, record, cgroup })
    }

    /// The process's descriptor; `None` when it has ended.
    pub(crate) fn process(&self) -> Result<Option<OwnedFd>, Error> {
        live_process(&self.record)
    }

    /// Where the container is in its life.
    pub(crate) fn status(&self) -> Result<Status, Error> {
        if self.record.pid == 0 {
            // Its maker is at work on it, or was killed.
            return Ok(Status::Creating);
        }
        if !is_alive(&self.record)? {
            return Ok(Status::Stopped);
        }
        let frozen = match &self.cgroup {
            Some(cgroup) => cgroup.freezer_state()? == Some(FreezerState::Frozen),
            None => false,
        };
        Ok(if frozen {
            Status::Paused
        } else if crate::gate::is_closed(&self.dir) {
            Status::Created
        } else {
            Status::Running
        })
    }
}

/// The start time of a process, in clock ticks since boot, whatever its state: proc_pid_stat(5), field 22.
pub(crate) fn start_time(pid: i32) -> Result<u64, Errno> {
    stat_of(pid).map(|(_, start)| start)
}

/// The state letter and the start time of a process.
fn stat_of(pid: i32) -> Result<(u8, u64), Errno> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let file = openat(CWD, format!("/proc/{pid}/stat"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = [0u8; 1024];
    let len = rustix::io::read(&file, &mut text)?;
    // The program's name, in parentheses, may hold anything.
    let start = text[..len].iter().rposition(|&b| b == b')').ok_or(Errno::INVAL)? + 2;
    let mut fields = text[start..len].split(|&b| b == b' ');
    let state = *fields.next().and_then(|state| state.first()).ok_or(Errno::INVAL)?;
    let digits = fields.nth(18).ok_or(Errno::INVAL)?;
    let time =
        digits.iter().take_while(|b| b.is_ascii_digit()).fold(0u64, |n, b| n * 10 + u64::from(b - b'0'));
    Ok((state, time))
}

fn is_alive(record: &Record) -> Result<bool, Error> {
    match stat_of(record.pid) {
        Ok((state, start)) => Ok(start == record.start_time && !matches!(state, b'Z' | b'X')),
        Err(Errno::NOENT | Errno::SRCH) => Ok(false),
        Err(errno) => Err(Error::io(format!("read /proc/{}/stat", record.pid))(errno)),
    }
}

/// The descriptor of the record's process. It is opened before the process is looked at, so that it is of that one.
fn live_process(record: &Record) -> Result<Option<OwnedFd>, Error> {
    let Some(pid) = Pid::from_raw(record.pid) else { return Ok(None) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        opened => opened.map_err(Error::io(format!("pidfd_open {}", record.pid)))?,
    };
    Ok(is_alive(record)?.then_some(pidfd))
}

/// A container as it is now.
///
/// # Errors
/// NotFound.
pub fn snapshot(host: &Host, id: &ContainerId) -> Result<Snapshot, Error> {
    let container = Container::open(host, id)?;
    let status = container.status()?;
    Ok(Snapshot { record: container.record, status })
}

/// All containers of the host, by their ids. Those that vanish or are not complete meanwhile are left out.
///
/// # Errors
/// What reading the state directory gives.
pub fn list(host: &Host) -> Result<Vec<Snapshot>, Error> {
    let mut ids = crate::state::ids(host)?;
    ids.sort();
    Ok(ids.iter().filter_map(|id| snapshot(host, id).ok()).collect())
}

/// The processes in a container's cgroup, by their ids on the host.
///
/// # Errors
/// NotFound; what reading the cgroup gives.
pub fn processes(host: &Host, id: &ContainerId) -> Result<Vec<i32>, Error> {
    let container = Container::open(host, id)?;
    match &container.cgroup {
        Some(cgroup) => Ok(cgroup.pids(Depth::Tree)?),
        None => Ok(vec![container.record.pid]),
    }
}
