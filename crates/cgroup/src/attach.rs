//! Putting processes into a container's cgroup.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::Pid;

use crate::cgroup::{Cgroup, Node};
use crate::controller::{Controller, Controllers};
use crate::dir::{Dir, Text, read_host_file};
use crate::error::Error;
use crate::hierarchy::{Mode, find_own};
use crate::resolve::{Driver, clean_below};

/// How often, and after which wait, the kernel is asked again to move a task that it has not finished making.
const NEW_TASK_TRIES: u32 = 5;
const NEW_TASK_WAIT: Duration = Duration::from_millis(2);

/// Where a process already is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// Nowhere.
    Nothing,
    /// In the unified hierarchy, by `CLONE_INTO_CGROUP`.
    Unified,
}

/// Sub-cgroups for a process of `exec`: runc's `--cgroup [controller[,controller…]:]path`.
///
/// A single path without a controller is for every hierarchy; on cgroup v2 there is nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubCgroups(BTreeMap<String, String>);

impl SubCgroups {
    /// Reads the arguments of the command line.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty controller, one that is named twice, a second path without a controller, or a
    /// path with `..`.
    pub fn parse<S: AsRef<str>>(arguments: &[S]) -> Result<Self, Error> {
        let mut paths = BTreeMap::new();
        for argument in arguments {
            let argument = argument.as_ref();
            let bad = || Error::SubCgroup(argument.to_owned());
            let (controllers, path) = match argument.split_once(':') {
                Some(split) => split,
                None if arguments.len() == 1 => ("", argument),
                None => return Err(bad()),
            };
            let path = clean_below(path).ok_or_else(bad)?;
            for controller in controllers.split(',') {
                let anonymous = controller.is_empty() && argument.contains(':');
                if anonymous || paths.insert(controller.to_owned(), path.clone()).is_some() {
                    return Err(bad());
                }
            }
        }
        Ok(Self(paths))
    }

    /// Whether none was asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn for_node(&self, controllers: Controllers) -> &str {
        let named = controllers.iter().find_map(|controller| self.0.get(controller.as_str()));
        named.or_else(|| self.0.get("")).map_or("", String::as_str)
    }
}

impl Cgroup {
    /// Puts the first process of a container into its cgroup, in all hierarchies back to back: the second and later
    /// moves of a process are a hundred times cheaper than the first. With the systemd driver this starts the scope.
    ///
    /// # Errors
    /// `PermissionDenied` without write access; the kernel's own error otherwise. On cgroup v1, rootless and without
    /// a path, hierarchies that refuse are dropped instead.
    pub fn attach(&mut self, pid: Pid, joined: Joined) -> Result<(), Error> {
        if matches!(self.driver, Driver::Systemd { .. }) && !self.started {
            return self.start_scope(pid);
        }
        let tolerant = self.rootless && !self.explicit && self.mode != Mode::V2;
        let mut refused = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if joined == Joined::Unified && node.controllers.is_unified() {
                continue;
            }
            match node.dir().and_then(|dir| move_pid(dir, pid)) {
                Ok(()) => {}
                Err(Errno::PERM | Errno::ACCESS | Errno::ROFS) if tolerant => refused.push(index),
                Err(errno) => return Err(attach_error(pid, &node.path, errno)),
            }
        }
        for index in refused.into_iter().rev() {
            self.nodes.remove(index);
        }
        Ok(())
    }

    /// Files by which a process with one thread goes into the cgroups of v1 itself, by writing `0` to each. With the unified
    /// hierarchy, if there is one, as the target of `CLONE_INTO_CGROUP`, nothing is left for [`Cgroup::attach`].
    ///
    /// The kernel moves a task that moves itself alone under its ordinary lock. To move another one, or a whole process, it first
    /// waits for a grace period of RCU, 5 to 18 ms, if nobody has been moved for a while (`cgroup_procs_write_start`, Linux 5.5;
    /// whose privileges count is the opener's business since 5.16, and the writer's before).
    ///
    /// `None` where that is not the way: cgroup v2, systemd's driver, rootless, or a file that cannot be opened.
    pub fn entrances(&self) -> Option<Vec<OwnedFd>> {
        let by_clone = self.mode != Mode::Hybrid || self.unified().is_none() || self.clone_target().is_some();
        if self.mode == Mode::V2
            || self.rootless
            || matches!(self.driver, Driver::Systemd { .. })
            || !by_clone
        {
            return None;
        }
        let nodes = self.nodes.iter().filter(|node| !node.controllers.is_unified());
        nodes.map(|node| node.dir()?.open_file("tasks", OFlags::WRONLY)).collect::<Result<_, _>>().ok()
    }

    /// The target of `CLONE_INTO_CGROUP` for a process of `exec`, on cgroup v2.
    ///
    /// Should the clone fail (`EBUSY` when the container has enabled controllers below its cgroup, `ENOENT` when it is
    /// gone), [`Cgroup::init_target`] is the next to try, and [`Cgroup::join_for_exec`] does both for a process that
    /// exists.
    ///
    /// # Errors
    /// `NotFound` if the sub-cgroup is not there.
    pub fn exec_target(&self, sub: &SubCgroups) -> Result<Option<OwnedFd>, Error> {
        if !self.features.clone_into || self.mode != Mode::V2 {
            return Ok(None);
        }
        let Some(node) = self.unified() else { return Ok(None) };
        let path = self.sub_path(node, sub)?;
        let open = node.dir().and_then(|dir| dir.open_below(path));
        match open {
            Ok(dir) => Ok(Some(dir.into_fd())),
            Err(errno) => Err(Error::Cgroup { action: "opening", path: node.path.join(path), errno }),
        }
    }

    /// The cgroup in which the container's first process is now, on cgroup v2: it may have moved itself below the
    /// container's cgroup, which then takes no more processes.
    pub fn init_target(&self, init: Pid) -> Result<OwnedFd, Error> {
        let path = self.path_of(init)?;
        Dir::open(&path).map(Dir::into_fd).map_err(|errno| Error::Cgroup { action: "opening", path, errno })
    }

    /// Puts a process of `exec` into the container's cgroup, or into sub-cgroups of it. Where it does not go in on
    /// cgroup v2, and no sub-cgroup is asked for, it goes where the container's first process is.
    ///
    /// # Errors
    /// As [`Cgroup::attach`]; none when rootless.
    pub fn join_for_exec(&self, pid: Pid, init: Pid, sub: &SubCgroups) -> Result<(), Error> {
        self.check_controllers(sub)?;
        for node in &self.nodes {
            let path = self.sub_path(node, sub)?;
            let into = |dir: &Dir| {
                if path.is_empty() { move_pid(dir, pid) } else { move_pid(&dir.open_below(path)?, pid) }
            };
            let Err(errno) = node.dir().and_then(into) else { continue };
            if matches!(errno, Errno::PERM | Errno::ACCESS)
                && self.unit.is_some()
                && self.attach_by_systemd(pid, path).is_ok()
            {
                continue;
            }
            let mut error = attach_error(pid, &node.path.join(path), errno);
            if self.mode == Mode::V2 && sub.is_empty() {
                match self.init_target(init).map(|target| move_pid_fd(&target, pid)) {
                    Ok(Ok(())) => continue,
                    Ok(Err(errno)) => error = attach_error(pid, &node.path, errno),
                    Err(other) => error = other,
                }
            }
            if !self.rootless {
                return Err(error);
            }
        }
        Ok(())
    }

    fn sub_path<'a>(&self, node: &Node, sub: &'a SubCgroups) -> Result<&'a str, Error> {
        if self.mode == Mode::V2
            && let Some(name) = sub.0.keys().find(|name| !name.is_empty())
        {
            return Err(Error::UnknownController(name.clone()));
        }
        Ok(sub.for_node(node.controllers))
    }

    fn check_controllers(&self, sub: &SubCgroups) -> Result<(), Error> {
        let known = |name: &str| match self.mode {
            Mode::V2 => name.is_empty(),
            _ => name.is_empty() || Controller::from_name(name).is_some_and(|c| self.node(c).is_some()),
        };
        match sub.0.keys().find(|name| !known(name)) {
            Some(name) => Err(Error::UnknownController(name.clone())),
            None => Ok(()),
        }
    }

    /// The directory of the unified cgroup of a process.
    fn path_of(&self, pid: Pid) -> Result<PathBuf, Error> {
        let own = self.unified().ok_or(Error::NoCgroup { action: "finding the cgroup of a process" })?;
        let file = PathBuf::from(format!("/proc/{}/cgroup", pid.as_raw_nonzero()));
        let text =
            read_host_file(&file).map_err(|errno| Error::Cgroup { action: "reading", path: file, errno })?;
        let malformed = || Error::Malformed { path: own.path.clone(), file: "/proc/<pid>/cgroup".into() };
        let path = find_own(&text, Controllers::UNIFIED).ok_or_else(malformed)?;
        let path = clean_below(path).ok_or_else(malformed)?;
        Ok(self.unified_mount.join(path))
    }
}

fn attach_error(pid: Pid, path: &Path, errno: Errno) -> Error {
    Error::Attach { pid: pid.as_raw_nonzero().get(), path: path.to_owned(), errno }
}

pub(crate) fn move_pid(dir: &Dir, pid: Pid) -> Result<(), Errno> {
    let text = Text::new(format_args!("{}", pid.as_raw_nonzero()));
    for _ in 1..NEW_TASK_TRIES {
        match dir.write("cgroup.procs", text.as_str().as_bytes()) {
            // The task is still being made (TASK_NEW).
            Err(Errno::INVAL) => std::thread::sleep(NEW_TASK_WAIT),
            result => return result,
        }
    }
    dir.write("cgroup.procs", text.as_str().as_bytes())
}

fn move_pid_fd(target: &OwnedFd, pid: Pid) -> Result<(), Errno> {
    let dir = Dir::from_fd(target.as_fd())?;
    move_pid(&dir, pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_cgroups_are_read_as_runc_reads_them() {
        let parse = |arguments: &[&str]| SubCgroups::parse(arguments);
        assert!(parse(&[]).unwrap().is_empty());
        assert_eq!(parse(&["a/b"]).unwrap().for_node(Controllers::UNIFIED), "a/b");
        assert_eq!(parse(&["/"]).unwrap().for_node(Controllers::UNIFIED), "");
        let several = parse(&["cpu,cpuacct:x", "memory:y"]).unwrap();
        assert_eq!(several.for_node(Controllers::from_list("cpuacct")), "x");
        assert_eq!(several.for_node(Controllers::from_list("memory")), "y");
        assert_eq!(several.for_node(Controllers::from_list("pids")), "");
    }

    #[test]
    fn ambiguous_and_climbing_sub_cgroups_are_refused() {
        for bad in [&["a", "b"][..], &[":a"], &["cpu,:a"], &["cpu:a", "cpu:b"], &["../a"], &["cpu:a/../../b"]]
        {
            assert!(SubCgroups::parse(bad).is_err(), "{bad:?}");
        }
    }
}
