//! Signalling every process of a container.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::cgroup::{Cgroup, Node};
use crate::error::Error;
use crate::freeze::FreezerState;
use crate::hierarchy::Mode;
use crate::walk::{self, Depth, Retry};

/// How long the loop without `cgroup.kill` goes on for processes that keep being made.
const LIMIT: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Sends a signal to every process in the cgroup and below it; does not wait for their end.
    ///
    /// `SIGKILL` on cgroup v2 is one write, which leaves no process a chance to multiply. Otherwise the cgroup is
    /// frozen, so that the list of processes is complete and no id in it can be given to another process; without a
    /// freezer, `SIGKILL` is repeated until the list is empty.
    ///
    /// # Errors
    /// `NotFound` if the cgroup is gone, `FailedPrecondition` if the container has none, `DeadlineExceeded` if there
    /// are always more.
    pub fn kill_all(&self, signal: Signal) -> Result<(), Error> {
        let node = self.members().ok_or(Error::NoCgroup { action: "signalling all processes" })?;
        if signal == Signal::KILL && self.mode == Mode::V2 && self.features.cgroup_kill {
            match node.dir().and_then(|dir| dir.write("cgroup.kill", b"1")) {
                Ok(()) => return Ok(()),
                // A threaded cgroup.
                Err(Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(node.error("killing the processes of")(errno)),
            }
        }
        let was_frozen = matches!(self.freezer_state(), Ok(Some(FreezerState::Frozen)));
        let frozen = was_frozen || self.freeze().is_ok();
        let sent = send(node, signal);
        // A frozen process of v1 dies only when it is let go; one of v2 dies frozen. Who was paused stays paused.
        if frozen && (!was_frozen || (signal == Signal::KILL && self.mode != Mode::V2)) {
            let _ = self.thaw();
        }
        let mut left = sent?;
        if signal != Signal::KILL || frozen {
            return Ok(());
        }
        let mut retry = Retry::within(LIMIT);
        while left > 0 {
            retry.pause().ok_or_else(|| Error::Timeout {
                action: "killing the processes of",
                path: node.path.clone(),
            })?;
            left = send(node, signal)?;
        }
        Ok(())
    }
}

/// Signals each process once; how many there were.
fn send(node: &Node, signal: Signal) -> Result<usize, Error> {
    let pids = match node.dir().and_then(|dir| walk::pids(dir, Depth::Tree)) {
        Ok(pids) => pids,
        Err(errno) => return Err(node.error("reading the processes of")(errno)),
    };
    let mut sent = 0;
    for pid in pids.into_iter().filter_map(Pid::from_raw).filter(|&pid| pid != getpid()) {
        match kill_process(pid, signal) {
            Ok(()) => sent += 1,
            Err(Errno::SRCH) => {}
            Err(errno) => return Err(node.error("signalling the processes of")(errno)),
        }
    }
    Ok(sent)
}
