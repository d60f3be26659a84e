//! Suspending every process of a container.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use crate::cgroup::{Cgroup, Node};
use crate::controller::Controller;
use crate::dir::{Dir, read_all};
use crate::error::Error;
use crate::hierarchy::Mode;

/// How long processes may take to stop: those in uninterruptible sleep stop when they wake up.
const LIMIT: Duration = Duration::from_secs(10);

/// What the freezer has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezerState {
    /// Processes run.
    Thawed,
    /// Some processes have not stopped yet.
    Freezing,
    /// No process runs.
    Frozen,
}

impl Cgroup {
    /// Suspends every process, and returns when none runs.
    ///
    /// # Errors
    /// `DeadlineExceeded` if one does not stop within ten seconds: all are thawed again. `FailedPrecondition` without
    /// a freezer.
    pub fn freeze(&self) -> Result<(), Error> {
        let node = self.freezer("freezing")?;
        let result = match self.mode {
            Mode::V2 => freeze_v2(node),
            _ => freeze_v1(node),
        };
        if result.is_err() {
            // Half frozen is worse than either.
            let _ = self.thaw();
        }
        match result {
            Err(Errno::TIMEDOUT) => Err(Error::Timeout { action: "freezing", path: node.path.clone() }),
            result => result.map_err(node.error("freezing")),
        }
    }

    /// Resumes every process.
    ///
    /// # Errors
    /// `FailedPrecondition` without a freezer.
    pub fn thaw(&self) -> Result<(), Error> {
        let node = self.freezer("thawing")?;
        let dir = node.dir().map_err(node.error("opening"))?;
        match self.mode {
            Mode::V2 => dir.write("cgroup.freeze", b"0"),
            _ => dir.write("freezer.state", b"THAWED"),
        }
        .map_err(node.error("thawing"))
    }

    /// What the freezer of this cgroup has done; that an ancestor is frozen does not show. `None` if there is no
    /// freezer or no cgroup.
    ///
    /// # Errors
    /// `Internal` if the kernel's answer is none that is known.
    pub fn freezer_state(&self) -> Result<Option<FreezerState>, Error> {
        let Ok(node) = self.freezer("reading the freezer state of") else { return Ok(None) };
        let state = match self.mode {
            Mode::V2 => node.dir().and_then(state_v2),
            _ => node.dir().and_then(state_v1),
        };
        match state {
            Ok(state) => Ok(Some(state)),
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            Err(errno) => Err(node.error("reading the freezer state of")(errno)),
        }
    }

    fn freezer(&self, action: &'static str) -> Result<&Node, Error> {
        self.node(Controller::Freezer).ok_or(Error::NoCgroup { action })
    }
}

fn freeze_v2(node: &Node) -> Result<(), Errno> {
    let dir = node.dir()?;
    let events = dir.open_file("cgroup.events", OFlags::RDONLY)?;
    dir.write("cgroup.freeze", b"1")?;
    let deadline = Instant::now() + LIMIT;
    let mut buffer = Vec::with_capacity(64);
    loop {
        rustix::fs::seek(&events, SeekFrom::Start(0))?;
        read_all(&events, &mut buffer)?;
        if flag(&buffer, "frozen") == Some(true) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Errno::TIMEDOUT);
        }
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        // The kernel signals each change of the file since it was read.
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The value of a line `key 0` or `key 1` of a flat keyed file.
pub(crate) fn flag(text: &[u8], key: &str) -> Option<bool> {
    str::from_utf8(text).ok()?.lines().find_map(|line| match line.strip_prefix(key)? {
        " 0" => Some(false),
        " 1" => Some(true),
        _ => None,
    })
}

fn state_v2(dir: &Dir) -> Result<FreezerState, Errno> {
    match dir.read("cgroup.freeze")?.trim_ascii() {
        "0" => Ok(FreezerState::Thawed),
        "1" => match flag(dir.read("cgroup.events")?.as_bytes(), "frozen") {
            Some(true) => Ok(FreezerState::Frozen),
            Some(false) => Ok(FreezerState::Freezing),
            None => Err(Errno::PROTO),
        },
        _ => Err(Errno::PROTO),
    }
}

fn state_v1(dir: &Dir) -> Result<FreezerState, Errno> {
    let state = match dir.read("freezer.state")?.trim_ascii() {
        "THAWED" => return Ok(FreezerState::Thawed),
        "FREEZING" => FreezerState::Freezing,
        "FROZEN" => FreezerState::Frozen,
        _ => return Err(Errno::PROTO),
    };
    match dir.read("freezer.self_freezing") {
        Ok(own) if own.trim_ascii() == "0" => Ok(FreezerState::Thawed),
        Ok(_) | Err(Errno::NOENT) => Ok(state),
        Err(errno) => Err(errno),
    }
}

/// A v1 freezer stays at FREEZING while new processes keep appearing, and needs to be told again; now and then it has
/// to be let go of for a moment.
fn freeze_v1(node: &Node) -> Result<(), Errno> {
    const ROUNDS_BEFORE_THAW: u32 = 50;
    const ROUNDS_BEFORE_PAUSE: u32 = 10;
    let dir = node.dir()?;
    let deadline = Instant::now() + LIMIT;
    for round in 1.. {
        dir.write("freezer.state", b"FROZEN")?;
        if round % ROUNDS_BEFORE_PAUSE == 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
        match dir.read("freezer.state")?.trim_ascii() {
            "FROZEN" => return Ok(()),
            // Somebody may thaw it at the same time.
            "FREEZING" | "THAWED" => {}
            _ => return Err(Errno::PROTO),
        }
        if Instant::now() >= deadline {
            break;
        }
        if round % ROUNDS_BEFORE_THAW == 0 {
            dir.write("freezer.state", b"THAWED")?;
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Err(Errno::TIMEDOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_by_their_whole_name() {
        let text = b"populated 1\nfrozen 0\nfrozenish 1\n";
        assert_eq!(flag(text, "frozen"), Some(false));
        assert_eq!(flag(text, "populated"), Some(true));
        assert_eq!(flag(text, "froze"), None);
        assert_eq!(flag(b"frozen 2", "frozen"), None);
    }
}
