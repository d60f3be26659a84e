use rustix::fs::{AtFlags, Uid, chownat};
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::dir::read_host_file;
use crate::error::Error;
use crate::hierarchy::Mode;

/// What the kernel says may be given away, since Linux 4.15.
const LIST: &str = "/sys/kernel/cgroup/delegate";

/// What could be given away before there was a list.
const OLDEST: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// Gives the cgroup to a user of the host, who can then make cgroups below it: the root of a container that has a
    /// cgroup namespace and may write to its cgroup file system. The limits stay out of reach. cgroup v1 cannot be
    /// given away, and is not.
    ///
    /// # Errors
    /// The kernel's own.
    ///
    /// # Privilege
    /// `CAP_CHOWN`.
    pub fn delegate_to(&self, owner: Uid) -> Result<(), Error> {
        let Some(node) = self.unified().filter(|_| self.mode == Mode::V2) else { return Ok(()) };
        let dir = node.dir().map_err(node.error("opening"))?;
        let list = read_host_file(LIST.as_ref()).unwrap_or_else(|_| OLDEST.to_owned());
        for file in [""].into_iter().chain(list.lines()) {
            let path = if file.is_empty() { "." } else { file };
            match chownat(dir, path, Some(owner), None, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(()) => {}
                // A file of a controller that is not enabled.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(node.error("changing the owner of")(errno)),
            }
        }
        Ok(())
    }
}
