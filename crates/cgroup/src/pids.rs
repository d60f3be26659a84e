use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::walk::{self, Depth};

impl Cgroup {
    /// The processes in the cgroup, in no order. A cgroup that is gone has none.
    ///
    /// # Errors
    /// `FailedPrecondition` if the container has no cgroup.
    pub fn pids(&self, depth: Depth) -> Result<Vec<i32>, Error> {
        let node = self.members().ok_or(Error::NoCgroup { action: "listing processes" })?;
        match node.dir().and_then(|dir| walk::pids(dir, depth)) {
            Err(Errno::NOENT | Errno::NODEV) => Ok(Vec::new()),
            other => other.map_err(node.error("reading the processes of")),
        }
    }
}
