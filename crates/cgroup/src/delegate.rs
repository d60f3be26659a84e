//! What a container gets of its cgroup: its files, or cgroups below it.

use rustix::fs::{AtFlags, Uid, chownat};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::attach::move_pid;
use crate::cgroup::{Cgroup, Node};
use crate::create::enable;
use crate::dir::{Dir, read_host_file};
use crate::error::Error;
use crate::hierarchy::Mode;
use crate::resolve::clean_below;

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
        give(dir, owner).map_err(node.error("changing the owner of"))
    }

    /// Takes the container one level down: a cgroup of this name below the present one becomes the container's, with
    /// all limits and statistics, and `pid` is put into it. Only on cgroup v2; elsewhere nothing is done.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that leaves the cgroup; the kernel's own.
    pub fn descend(&mut self, name: &str, pid: Pid) -> Result<(), Error> {
        let Some(node) = self.unified().filter(|_| self.mode == Mode::V2) else { return Ok(()) };
        let (path, dir) = make(node, name, pid)?;
        // With its process gone the present one may give its controllers on, as far as it can.
        let above = node.dir().map_err(node.error("opening"))?;
        if let Ok(available) = above.read("cgroup.controllers") {
            enable(above, &available);
        }
        let node = Node::opened(node.controllers, path, false, dir);
        self.nodes.pop();
        self.nodes.push(node);
        Ok(())
    }

    /// Puts `pid` into a cgroup of this name below the container's, which has no limits of its own and is the
    /// container's to manage; `owner` is who it is given to. Only on cgroup v2; elsewhere nothing is done.
    ///
    /// # Errors
    /// As [`Cgroup::descend`].
    pub fn give_below(&self, name: &str, pid: Pid, owner: Option<Uid>) -> Result<(), Error> {
        let Some(node) = self.unified().filter(|_| self.mode == Mode::V2) else { return Ok(()) };
        let (path, dir) = make(node, name, pid)?;
        let Some(owner) = owner else { return Ok(()) };
        give(&dir, owner).map_err(|errno| Error::Cgroup { action: "changing the owner of", path, errno })
    }
}

/// Makes a cgroup below another, and puts a process into it.
fn make(node: &Node, name: &str, pid: Pid) -> Result<(std::path::PathBuf, Dir), Error> {
    let below = clean_below(name).filter(|below| !below.is_empty() && !below.contains('/'));
    let below = below.ok_or_else(|| Error::SubCgroup(name.to_owned()))?;
    let path = node.path.join(&below);
    let made = node.dir().and_then(|dir| {
        match dir.make_child(&below) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let dir = dir.open_below(&below)?;
        move_pid(&dir, pid).map(|()| dir)
    });
    match made {
        Ok(dir) => Ok((path, dir)),
        Err(errno) => Err(Error::Cgroup { action: "moving a process into", path, errno }),
    }
}

fn give(dir: &Dir, owner: Uid) -> Result<(), Errno> {
    let list = read_host_file(LIST.as_ref()).unwrap_or_else(|_| OLDEST.to_owned());
    for file in [""].into_iter().chain(list.lines()) {
        let path = if file.is_empty() { "." } else { file };
        match chownat(dir, path, Some(owner), None, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => {}
            // A file of a controller that is not enabled.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
