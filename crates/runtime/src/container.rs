//! Containers as they are now: the record and what the kernel says.

use std::os::fd::OwnedFd;

use gantry_cgroup::{Cgroup, Depth, FreezerState};
use gantry_sys::Errno;
use gantry_types::ContainerId;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::Error;
use crate::host::Host;
use crate::state::{Maker, Record, StateDir, Status};

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
        live(self.record.pid, self.record.start_time)
    }

    /// Where the container is in its life.
    pub(crate) fn status(&self) -> Result<Status, Error> {
        if self.record.pid == 0 {
            // Its maker is at work on it, or was killed.
            return Ok(Status::Creating);
        }
        if !is_alive(self.record.pid, self.record.start_time)? {
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

/// The calling process as a container's maker; without a readable /proc nobody can wait for it.
pub(crate) fn maker() -> Option<Maker> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    start_time(pid).ok().map(|start_time| Maker { pid, start_time })
}

/// The descriptor of a container's maker, while it lives and is not the caller.
pub(crate) fn live_maker(record: &Record) -> Result<Option<OwnedFd>, Error> {
    match &record.maker {
        Some(maker) if maker.pid != rustix::process::getpid().as_raw_nonzero().get() => {
            live(maker.pid, maker.start_time)
        }
        _ => Ok(None),
    }
}

/// The start time of a process, in clock ticks since boot, whatever its state: proc_pid_stat(5), field 22.
///
/// # Errors
/// `ENOENT`, `ESRCH` when there is none.
pub fn start_time(pid: i32) -> Result<u64, Errno> {
    stat_of(pid).map(|(_, start)| start)
}

/// The state letter and the start time of a process.
fn stat_of(pid: i32) -> Result<(u8, u64), Errno> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let file = openat(CWD, format!("/proc/{pid}/stat"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = [0u8; 1024];
    let len = rustix::io::read(&file, &mut text)?;
    parse_stat(&text[..len]).ok_or(Errno::INVAL)
}

pub(crate) fn parse_stat(text: &[u8]) -> Option<(u8, u64)> {
    // The program's name, in parentheses, may hold anything.
    let start = text.iter().rposition(|&b| b == b')')? + 2;
    let mut fields = text.get(start..)?.split(|&b| b == b' ');
    let state = *fields.next()?.first()?;
    let time = std::str::from_utf8(fields.nth(18)?).ok()?.trim_ascii_end().parse().ok()?;
    Some((state, time))
}

/// Whether a process lives, by its id and start time.
fn is_alive(pid: i32, start_time: u64) -> Result<bool, Error> {
    match stat_of(pid) {
        Ok((state, start)) => Ok(start == start_time && !matches!(state, b'Z' | b'X')),
        Err(Errno::NOENT | Errno::SRCH) => Ok(false),
        Err(errno) => Err(Error::io(format!("read /proc/{pid}/stat"))(errno)),
    }
}

/// The descriptor of a process that lives. It is opened before the process is looked at, so that it is of that one.
fn live(number: i32, start_time: u64) -> Result<Option<OwnedFd>, Error> {
    let Some(pid) = Pid::from_raw(number) else { return Ok(None) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        opened => opened.map_err(Error::io(format!("pidfd_open {number}")))?,
    };
    Ok(is_alive(number, start_time)?.then_some(pidfd))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_programs_do_not_confuse_the_reader_of_their_state() {
        let text = b"7 (a) R 1) Z 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 0 0\n";
        assert_eq!(parse_stat(text), Some((b'Z', 12345)));
        assert_eq!(parse_stat(&text[..text.len() - 5]), Some((b'Z', 12345)));
        for cut in
            ["", "7 (a)", "7 (a) ", "7 (a) S", "7 (a", "7 (a) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 "]
        {
            assert_eq!(parse_stat(cut.as_bytes()), None, "{cut}");
        }
        let large = format!("7 (a) S{} 99999999999999999999 0", " 0".repeat(18));
        assert_eq!(parse_stat(large.as_bytes()), None);
    }
}
