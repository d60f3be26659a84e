//! Where cgroups are on this host, and where the runtime itself is.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use rustix::fs::FsWord;
use rustix::io::Errno;

use crate::controller::{Controller, Controllers};
use crate::dir::read_host_file;
use crate::error::PathError;

const ROOT: &str = "/sys/fs/cgroup";
const HYBRID_NAME: &str = "unified";
const CGROUP2_SUPER_MAGIC: FsWord = 0x6367_7270;

/// How the host has its cgroups mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// cgroup v2 alone.
    V2,
    /// cgroup v1 alone.
    V1,
    /// cgroup v1 for the limits, and a v2 hierarchy at `/sys/fs/cgroup/unified`.
    Hybrid,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its controllers.
    pub controllers: Controllers,
    /// Where it is mounted.
    pub point: PathBuf,
    /// Which part of the hierarchy is mounted there.
    pub root: String,
}

/// The hierarchies of the host.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    mode: Mode,
    mounts: Vec<Mount>,
    own: OnceCell<String>,
}

impl Hierarchy {
    /// Finds the hierarchies: one statfs(2) on cgroup v2, the mount table otherwise.
    ///
    /// # Errors
    /// `Unimplemented` if none is mounted.
    pub fn detect() -> Result<Self, PathError> {
        let root = Path::new(ROOT);
        match rustix::fs::statfs(root) {
            Ok(stat) if stat.f_type == CGROUP2_SUPER_MAGIC => return Ok(Self::unified(root)),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(PathError::Read { path: root.into(), errno }),
        }
        let table = Path::new("/proc/self/mountinfo");
        let mounts = read_host_file(table).map_err(|errno| PathError::Read { path: table.into(), errno })?;
        Self::from_mountinfo(&mounts)
    }

    /// A cgroup v2 hierarchy that is mounted somewhere else, or that is the unified part of a hybrid host.
    pub fn unified(point: impl Into<PathBuf>) -> Self {
        let mount = Mount { controllers: Controllers::UNIFIED, point: point.into(), root: "/".into() };
        Self { mode: Mode::V2, mounts: vec![mount], own: OnceCell::new() }
    }

    pub(crate) fn from_mountinfo(table: &str) -> Result<Self, PathError> {
        let mut mounts: Vec<Mount> = Vec::with_capacity(16);
        let mut unified = None;
        for mount in table.lines().filter_map(parse_mount) {
            if !mount.controllers.is_unified() {
                // A hierarchy may be mounted many times (every container has it): the first is the host's.
                if !mounts.iter().any(|seen| seen.controllers == mount.controllers) {
                    mounts.push(mount);
                }
            } else if mount.point == Path::new(ROOT).join(HYBRID_NAME) {
                unified = Some(mount);
            }
        }
        if mounts.is_empty() {
            return Err(PathError::NoHierarchy(ROOT.into()));
        }
        mounts.sort_by_key(|mount| mount.controllers.iter().next());
        let mode = if unified.is_some() { Mode::Hybrid } else { Mode::V1 };
        mounts.extend(unified);
        Ok(Self { mode, mounts, own: OnceCell::new() })
    }

    /// How they are mounted.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// They, in the order in which processes are attached; the unified one is last.
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// Whether a v1 hierarchy has the controller.
    pub fn has(&self, controller: Controller) -> bool {
        self.mounts.iter().any(|mount| mount.controllers.contains(controller))
    }

    /// The cgroup of this process in a hierarchy, relative to its mount point, without a leading `/`.
    ///
    /// # Errors
    /// `FailedPrecondition` if it is outside what is mounted.
    pub fn own(&self, mount: &Mount) -> Result<String, PathError> {
        let text = match self.own.get() {
            Some(text) => text,
            None => {
                let path = Path::new("/proc/self/cgroup");
                let text =
                    read_host_file(path).map_err(|errno| PathError::Read { path: path.into(), errno })?;
                self.own.get_or_init(|| text)
            }
        };
        let own = find_own(text, mount.controllers).unwrap_or("/");
        below_mount(own, &mount.root)
    }
}

/// The path in `/proc/<pid>/cgroup` of the hierarchy with these controllers.
pub(crate) fn find_own(text: &str, controllers: Controllers) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (id, list, path) = (fields.next()?, fields.next()?, fields.next()?);
        let matches = if controllers.is_unified() {
            id == "0" && list.is_empty()
        } else {
            controllers.iter().next().is_some_and(|first| list.split(',').any(|name| name == first.as_str()))
        };
        matches.then_some(path)
    })
}

pub(crate) fn below_mount(own: &str, root: &str) -> Result<String, PathError> {
    let outside = || PathError::OwnOutside { own: own.into(), root: root.into() };
    let rest = match root {
        "/" => own.strip_prefix('/'),
        _ => own.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/')),
    };
    let rest = rest.ok_or_else(outside)?.trim_matches('/');
    // Seen from a cgroup namespace whose root the process has left, its path begins with "/..".
    if rest.split('/').any(|component| component == "..") {
        return Err(outside());
    }
    Ok(rest.to_owned())
}

/// Reads a line of proc_pid_mountinfo(5) if it is a cgroup mount that containers join.
fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.splitn(3, ' ');
    let (kind, _source, options) = (right.next()?, right.next()?, right.next()?);
    let controllers = match kind {
        "cgroup2" => Controllers::UNIFIED,
        "cgroup" => Some(Controllers::from_list(options)).filter(|set| !set.is_unified())?,
        _ => return None,
    };
    let mut left = left.split(' ').skip(3);
    let (root, point) = (left.next()?, left.next()?);
    Some(Mount { controllers, point: unescape(point).into(), root: unescape(root) })
}

/// Undoes the octal escapes of the mount table (space, tab, newline, backslash).
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|octal| u8::from_str_radix(octal, 8).ok());
        match code {
            Some(byte) if byte.is_ascii() => {
                out.push(byte.into());
                rest = &rest[at + 4..];
            }
            _ => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
42 31 0:39 / /sys/fs/cgroup/elogind rw,relatime - cgroup cgroup rw,name=elogind
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 31 0:33 /docker/x /other\\040place rw,relatime - cgroup cgroup rw,devices
";

    #[test]
    fn a_hybrid_host_is_read_from_its_mount_table() {
        let found = Hierarchy::from_mountinfo(HYBRID).unwrap();
        assert_eq!(found.mode(), Mode::Hybrid);
        let points: Vec<_> = found.mounts().iter().map(|m| m.point.to_str().unwrap()).collect();
        let expect = ["cpuset", "devices", "cpu,cpuacct", "systemd", "unified"];
        assert_eq!(points, expect.map(|name| format!("/sys/fs/cgroup/{name}")));
        assert!(found.has(Controller::Cpuacct) && !found.has(Controller::Pids));
    }

    #[test]
    fn without_the_unified_part_it_is_v1() {
        let table: String =
            HYBRID.lines().filter(|l| !l.contains("cgroup2")).map(|l| format!("{l}\n")).collect();
        assert_eq!(Hierarchy::from_mountinfo(&table).unwrap().mode(), Mode::V1);
        assert!(matches!(Hierarchy::from_mountinfo("garbage\n"), Err(PathError::NoHierarchy(_))));
    }

    #[test]
    fn the_own_cgroup_is_relative_to_what_is_mounted() {
        let text = "4:cpu,cpuacct:/a/b\n1:name=systemd:/s\n0::/user.slice/x\n";
        let cpu = Controllers::from_list("cpu");
        assert_eq!(find_own(text, cpu), Some("/a/b"));
        assert_eq!(find_own(text, Controllers::UNIFIED), Some("/user.slice/x"));
        assert_eq!(find_own(text, Controllers::from_list("memory")), None);
        assert_eq!(below_mount("/a/b", "/").unwrap(), "a/b");
        assert_eq!(below_mount("/docker/x/y", "/docker/x").unwrap(), "y");
        assert_eq!(below_mount("/docker/x", "/docker/x").unwrap(), "");
        assert!(below_mount("/docker/xy", "/docker/x").is_err());
        assert!(below_mount("/../sibling", "/").is_err());
    }

    #[test]
    fn escapes_of_the_mount_table_are_undone() {
        assert_eq!(unescape(r"/a\040b\134c"), "/a b\\c");
        assert_eq!(unescape(r"/a\zz\0"), r"/a\zz\0");
    }

    #[test]
    fn this_host_is_detected() {
        let found = Hierarchy::detect().unwrap();
        for mount in found.mounts() {
            found.own(mount).unwrap();
        }
    }
}
