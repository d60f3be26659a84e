//! Removing the directories of a container.

use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};

use crate::cgroup::{Cgroup, Node};
use crate::error::Error;
use crate::walk::{Retry, remove_below};

/// How long processes that have been killed may take to leave a cgroup.
const LIMIT: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Removes the cgroup, and what the container has made below it. What is not there is no error; a directory that
    /// stays does not keep the others.
    ///
    /// As runc does, it removes the container's own directory even if somebody else had made it.
    ///
    /// # Errors
    /// `FailedPrecondition` (`EBUSY`) if processes remain; the first error, when there are several.
    pub fn delete(&self) -> Result<(), Error> {
        let stopped = self.stop_scope();
        let mut retry = Retry::within(LIMIT);
        let mut first = Ok(());
        for node in &self.nodes {
            let removed = remove(node, &mut retry).map_err(node.error("removing"));
            if first.is_ok() {
                first = removed;
            }
        }
        // What systemd failed to stop can still be gone.
        match stopped {
            Err(error) if first.is_ok() && !self.nodes.iter().all(is_gone) => Err(error),
            _ => first,
        }
    }
}

fn is_gone(node: &Node) -> bool {
    rustix::fs::access(&node.path, rustix::fs::Access::EXISTS) == Err(Errno::NOENT)
}

fn remove(node: &Node, retry: &mut Retry) -> Result<(), Errno> {
    let rmdir = || retry_on_intr(|| rustix::fs::rmdir(&node.path));
    // Alone in nearly all cases; EBUSY says children or processes, EROFS comes before ENOENT.
    match rmdir() {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(_) => {}
    }
    match node.dir().and_then(|dir| remove_below(dir, retry)) {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    match retry.run(rmdir) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}
