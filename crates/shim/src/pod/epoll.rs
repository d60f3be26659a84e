//! Waiting for everything at once: epoll(7).

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::{Timespec, epoll};

pub(crate) use rustix::event::epoll::EventFlags;

use crate::failure::Failure;

/// What a descriptor belongs to. Numbers are never used twice, so that a late event finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Signals to the shim.
    Signals,
    /// New connections.
    Listener,
    /// A connection.
    Connection(u32),
    /// An operation's worker.
    Operation(u32),
    /// A process that is being started.
    Starting(u32),
    /// A container's memory events.
    Oom(u32),
    /// A process that is not our child.
    Adopted(u32),
    /// The daemon that takes events.
    Publisher,
    /// The streams process.
    Streams,
    /// The pause of the sandbox, if it is not our child.
    Pause,
}

impl Source {
    fn encode(self) -> u64 {
        let (kind, number) = match self {
            Source::Signals => (0, 0),
            Source::Listener => (1, 0),
            Source::Connection(number) => (2, number),
            Source::Operation(number) => (3, number),
            Source::Starting(number) => (4, number),
            Source::Oom(number) => (5, number),
            Source::Adopted(number) => (6, number),
            Source::Publisher => (7, 0),
            Source::Streams => (8, 0),
            Source::Pause => (9, 0),
        };
        kind << 32 | u64::from(number)
    }

    fn decode(token: u64) -> Option<Self> {
        let number = token as u32;
        Some(match token >> 32 {
            0 => Source::Signals,
            1 => Source::Listener,
            2 => Source::Connection(number),
            3 => Source::Operation(number),
            4 => Source::Starting(number),
            5 => Source::Oom(number),
            6 => Source::Adopted(number),
            7 => Source::Publisher,
            8 => Source::Streams,
            9 => Source::Pause,
            _ => return None,
        })
    }
}

/// The descriptors that are waited for. A closed one needs no removal.
#[derive(Debug)]
pub(crate) struct Epoll {
    fd: OwnedFd,
}

/// How many events are taken at once.
const BATCH: usize = 32;

impl Epoll {
    pub(crate) fn new() -> Result<Self, Failure> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(Failure::call("epoll_create"))?;
        Ok(Epoll { fd })
    }

    pub(crate) fn add(&self, fd: impl AsFd, source: Source, flags: EventFlags) -> Result<(), Failure> {
        let data = epoll::EventData::new_u64(source.encode());
        epoll::add(&self.fd, fd, data, flags).map_err(Failure::call("epoll_ctl"))
    }

    pub(crate) fn modify(&self, fd: impl AsFd, source: Source, flags: EventFlags) -> Result<(), Failure> {
        let data = epoll::EventData::new_u64(source.encode());
        epoll::modify(&self.fd, fd, data, flags).map_err(Failure::call("epoll_ctl"))
    }

    /// For a descriptor that stays open somewhere else.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        // It may never have been added.
        let _ = epoll::delete(&self.fd, fd);
    }

    /// Waits until something may have happened or the deadline has passed, without the memory that only work needs. What
    /// has happened is told by [`Epoll::wait`].
    pub(crate) fn sleep_released(&self, deadline: Option<Instant>) {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        gantry_sys::memory::sleep_released(&self.fd, timeout);
    }

    /// Waits until something happens or the deadline has passed.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<Vec<(Source, EventFlags)>, Failure> {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        let mut space =
            [epoll::Event { flags: EventFlags::empty(), data: epoll::EventData::new_u64(0) }; BATCH];
        let events = match epoll::wait(&self.fd, &mut space[..], timeout.as_ref()) {
            Err(gantry_sys::Errno::INTR) => return Ok(Vec::new()),
            count => count.map_err(Failure::call("epoll_wait"))?,
        };
        Ok(space[..events]
            .iter()
            .filter_map(|event| Some((Source::decode(event.data.u64())?, event.flags)))
            .collect())
    }
}
