use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use gantry_cgroup::{Cgroup, Features, OomEvents, OomReport, Stats};
use gantry_runtime::{Snapshot, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;

use crate::args::{Command, Flag, Flags, Kind};
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::log::Level;
use crate::output::print;

static INTERVAL: Flag =
    Flag::new(Kind::Duration, &["interval"], "time between two readings of the counters").with_default("5s");
static STATS: Flag = Flag::switch(&["stats"], "print one reading of the counters and end");

const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

pub(super) static COMMAND: Command = Command {
    name: "events",
    summary: "print a container's counters, and when it ran out of memory",
    usage: "<container-id>",
    about: "Prints one JSON object a line, until the container has ended.",
    flags: &[&INTERVAL, &STATS],
    placement: Flags::Anywhere,
    min: 1,
    max: 1,
    run,
};

/// One line, as runc's package `types` has it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Event<'a> {
    /// A reading of the counters.
    Stats { id: &'a str, data: &'a Stats },
    /// Memory was wanted that the limit does not allow.
    Oom { id: &'a str },
}

impl Event<'_> {
    fn print(&self) -> Result<(), Failure> {
        print(&(serde_json::to_string(self).expect("plain data has a form in JSON") + "\n"))
    }
}

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    let (host, id) = (call.host(), call.container_id()?);
    let snapshot = gantry_runtime::snapshot(&host, &id)?;
    let interval = call.args.duration("interval").unwrap_or(DEFAULT_INTERVAL);
    if interval.is_zero() {
        return Err(Failure::new("duration interval must be greater than 0"));
    }
    if snapshot.status == Status::Stopped {
        return Err(Failure::new(format!("container with id {id} is not running")));
    }
    let record = snapshot.record.cgroup.as_ref();
    let record = record.ok_or_else(|| Failure::new(format!("container with id {id} has no cgroup")))?;
    // Nothing is killed or cloned here.
    let features = Features { in_user_namespace: host.in_user_namespace, ..Features::default() };
    let cgroup = Cgroup::from_record(record, features);
    if call.args.switch("stats") {
        return print_stats(call.id(), &cgroup).map(|()| 0);
    }
    match end_of(&snapshot)? {
        Some(end) => follow(call, &cgroup, &end, interval).map(|()| 0),
        None => Ok(0),
    }
}

/// Prints what happens and, every `interval`, the counters, until the container's process has ended.
fn follow(call: &Invocation<'_>, cgroup: &Cgroup, end: &OwnedFd, interval: Duration) -> Result<(), Failure> {
    // Without a memory controller there is nothing to tell of it.
    let mut memory = cgroup.oom_events().ok();
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let ended = wait(end, memory.as_ref(), left)?;
        match memory.as_mut().map(OomEvents::read) {
            Some(Ok(OomReport::OutOfMemory { .. })) => Event::Oom { id: call.id() }.print()?,
            Some(Ok(OomReport::Nothing)) | None => {}
            Some(Ok(OomReport::Gone) | Err(_)) => memory = None,
        }
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            // A reading that fails may be one of a container that is just ending: the next wait will tell.
            print_stats(call.id(), cgroup)
                .unwrap_or_else(|failure| call.log.write(Level::Error, &failure.message));
            next += interval;
        }
    }
}

fn print_stats(id: &str, cgroup: &Cgroup) -> Result<(), Failure> {
    let data = cgroup.stats().map_err(|error| Failure::of(&error))?;
    Event::Stats { id, data: &data }.print()
}

/// A descriptor that becomes readable when the container's process ends; `None` if it has ended already.
fn end_of(snapshot: &Snapshot) -> Result<Option<OwnedFd>, Failure> {
    let Some(pid) = Pid::from_raw(snapshot.record.pid) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => Ok(None),
        opened => opened.map(Some).map_err(|errno| Failure::of(&errno).during("pidfd_open")),
    }
}

/// Waits until something happens, for `limit` at most, and says whether it was the container's end.
fn wait(end: &OwnedFd, memory: Option<&OomEvents>, limit: Duration) -> Result<bool, Failure> {
    let limit = Timespec::try_from(limit).map_err(|_| Failure::new("the interval is too long"))?;
    let mut fds = vec![PollFd::new(end, PollFlags::IN)];
    fds.extend(memory.map(|memory| PollFd::new(memory, memory.interest())));
    match poll(&mut fds, Some(&limit)) {
        Ok(_) => Ok(!fds[0].revents().is_empty()),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(Failure::of(&errno).during("poll")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_begin_as_those_of_runc() {
        let line = serde_json::to_string(&Event::Stats { id: "a", data: &Stats::default() }).unwrap();
        assert!(line.starts_with(r#"{"type":"stats","id":"a","data":{"cpu":{"#), "{line}");
        let line = serde_json::to_string(&Event::Oom { id: "a" }).unwrap();
        assert_eq!(line, r#"{"type":"oom","id":"a"}"#);
    }
}
