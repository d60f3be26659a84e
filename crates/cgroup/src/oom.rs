//! Being told when the kernel kills for want of memory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use crate::cgroup::{Cgroup, Node};
use crate::controller::Controller;
use crate::dir::{Dir, Text, read_all};
use crate::error::Error;
use crate::hierarchy::Mode;

/// A descriptor to wait on, and what is behind it.
///
/// Wait with poll(2) or epoll(7) for [`OomEvents::interest`], then call [`OomEvents::read`], which makes the
/// descriptor quiet again. On cgroup v2 it is `memory.events` itself: inotify has few instances for each user.
#[derive(Debug)]
pub struct OomEvents {
    fd: OwnedFd,
    source: Source,
    kills: u64,
    path: std::path::PathBuf,
}

#[derive(Debug)]
enum Source {
    /// An eventfd, and the directory whose `memory.oom_control` counts.
    Eventfd(Dir),
    /// `memory.events`.
    File,
}

/// What happened since the last reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomReport {
    /// Memory was wanted that the limit does not allow.
    OutOfMemory {
        /// How many processes the kernel has killed for it. cgroup v1 tells before it kills (or stops) anybody, so
        /// that there it may be 0, and [`Cgroup::oom_kills`] knows more a moment later.
        kills: u64,
    },
    /// Something else in the same file.
    Nothing,
    /// The cgroup is gone; nothing more will come. cgroup v2 does not wake anybody up to say so.
    Gone,
}

impl Cgroup {
    /// How many processes the kernel has killed in the cgroup for want of memory.
    ///
    /// # Errors
    /// `FailedPrecondition` without a memory controller; `NotFound` if the cgroup is gone.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        let node =
            self.node(Controller::Memory).ok_or(Error::NoCgroup { action: "counting killed processes" })?;
        let file = if self.mode == Mode::V2 { "memory.events" } else { "memory.oom_control" };
        let text =
            node.dir().and_then(|dir| dir.read(file)).map_err(node.error("reading the memory events of"))?;
        Ok(count(&text))
    }

    /// Begins to watch.
    ///
    /// # Errors
    /// As [`Cgroup::oom_kills`].
    pub fn oom_events(&self) -> Result<OomEvents, Error> {
        let node =
            self.node(Controller::Memory).ok_or(Error::NoCgroup { action: "watching for out of memory" })?;
        let (fd, source) = match self.mode {
            Mode::V2 => node
                .dir()
                .and_then(|dir| dir.open_file("memory.events", OFlags::RDONLY))
                .map(|fd| (fd, Source::File)),
            _ => watch_v1(node),
        }
        .map_err(node.error("watching the memory events of"))?;
        let mut events = OomEvents { fd, source, kills: 0, path: node.path.clone() };
        events.kills = events.total().map_err(node.error("reading the memory events of"))?;
        Ok(events)
    }
}

impl OomEvents {
    /// What to wait for: `memory.events` has something urgent, an eventfd something to read.
    pub fn interest(&self) -> PollFlags {
        match self.source {
            Source::Eventfd(_) => PollFlags::IN,
            Source::File => PollFlags::PRI,
        }
    }

    /// How many processes the kernel had killed at the last reading.
    pub fn kills(&self) -> u64 {
        self.kills
    }

    /// Reads what happened. Does not block.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&mut self) -> Result<OomReport, Error> {
        let failed =
            |errno| Error::Cgroup { action: "reading the memory events of", path: self.path.clone(), errno };
        let signalled = match &self.source {
            Source::Eventfd(_) => match rustix::io::read(&self.fd, &mut [0; 8]) {
                Ok(_) => true,
                Err(Errno::AGAIN) => false,
                Err(errno) => return Err(failed(errno)),
            },
            Source::File => false,
        };
        // The removal of a v1 cgroup is signalled too.
        let total = match self.total() {
            Ok(total) => total,
            Err(Errno::NODEV | Errno::NOENT) => return Ok(OomReport::Gone),
            Err(errno) => return Err(failed(errno)),
        };
        let kills = total.saturating_sub(self.kills);
        self.kills = total;
        Ok(if kills > 0 || signalled { OomReport::OutOfMemory { kills } } else { OomReport::Nothing })
    }

    fn total(&self) -> Result<u64, Errno> {
        let text = match &self.source {
            Source::Eventfd(dir) => dir.read("memory.oom_control")?,
            Source::File => {
                let mut buffer = Vec::with_capacity(128);
                rustix::fs::seek(&self.fd, SeekFrom::Start(0))?;
                read_all(&self.fd, &mut buffer)?;
                String::from_utf8(buffer).map_err(|_| Errno::ILSEQ)?
            }
        };
        Ok(count(&text))
    }
}

impl AsFd for OomEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Documentation/admin-guide/cgroup-v1/memory.rst, section 9.
fn watch_v1(node: &Node) -> Result<(OwnedFd, Source), Errno> {
    let dir = node.dir()?;
    let control = dir.open_file("memory.oom_control", OFlags::RDONLY)?;
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let number = std::os::fd::AsRawFd::as_raw_fd;
    let line = Text::new(format_args!("{} {}", number(&event), number(&control)));
    dir.write("cgroup.event_control", line.as_str().as_bytes())?;
    Ok((event, Source::Eventfd(dir.reopen()?)))
}

/// The line `oom_kill` of `memory.events` or `memory.oom_control`.
pub(crate) fn count(text: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_both_files() {
        assert_eq!(count("low 0\nhigh 3\nmax 9\noom 2\noom_kill 4\noom_group_kill 0\n"), 4);
        assert_eq!(count("oom_kill_disable 0\nunder_oom 1\noom_kill 5\n"), 5);
        assert_eq!(count("oom_kill_disable 1\n"), 0);
    }
}
