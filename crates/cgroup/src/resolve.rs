//! From `linux.cgroupsPath` to directories, by the rules of runc.
//!
//! | driver | `cgroupsPath` | cgroup |
//! |---|---|---|
//! | file system | absolute | below the root of each hierarchy |
//! | file system, v1 | relative, or empty (then the id) | below the runtime's own cgroup in each hierarchy |
//! | file system, v2 | relative, or empty (then the id) | beside the runtime's own cgroup, which has processes |
//! | systemd | `slice:prefix:name`, or empty | `prefix-name.scope` in the slice |

use std::path::PathBuf;

use crate::controller::{Controller, Controllers};
use crate::error::PathError;
use crate::hierarchy::{Hierarchy, Mode};
use crate::systemd::{Property, Unit};

/// The longest name of a file.
const MAX_NAME_BYTES: usize = 255;

/// Who makes cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// This crate, with mkdir(2).
    Fs,
    /// systemd, over D-Bus; with `user`, the manager of a user's session.
    Systemd {
        /// Whether it is a user's manager.
        user: bool,
    },
    /// Nobody: containers stay in the cgroup of the runtime.
    Disabled,
}

/// What a configuration and a command line say about a container's cgroup.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `linux.cgroupsPath`.
    pub path: &'a str,
    /// The container's id.
    pub id: &'a str,
    /// Who makes the cgroup.
    pub driver: Driver,
    /// Whether the runtime lacks privilege over the hierarchies, so that having no cgroup is tolerable.
    pub rootless: bool,
}

/// A directory of a hierarchy, that may not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The hierarchy's controllers.
    pub controllers: Controllers,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// Relative to the mount.
    pub path: String,
}

/// Where the cgroup of a container is to be.
#[derive(Debug, Clone)]
pub struct CgroupSpec {
    /// How the host's cgroups are mounted.
    pub mode: Mode,
    /// Who makes it.
    pub driver: Driver,
    /// Whether lacking privilege is tolerable.
    pub rootless: bool,
    /// Whether the configuration names a path.
    pub explicit: bool,
    /// The directories, in the order in which a process is attached. With a user's systemd the path is relative to
    /// the cgroup of that manager.
    pub targets: Vec<Target>,
    /// The unit, with the systemd driver.
    pub unit: Option<Unit>,
    /// Further properties of the unit, for the caller to add: see [`Property::from_annotations`].
    pub properties: Vec<Property>,
}

impl CgroupSpec {
    /// Finds the directories of a container. No cgroup is touched.
    ///
    /// # Errors
    /// `InvalidArgument` for a path that leaves the hierarchy or is not of the driver's form, `Unimplemented` where
    /// the host lacks what the driver needs.
    pub fn resolve(hierarchy: &Hierarchy, request: &Request<'_>) -> Result<Self, PathError> {
        let mut spec = Self {
            mode: hierarchy.mode(),
            driver: request.driver,
            rootless: request.rootless,
            explicit: !request.path.is_empty(),
            targets: Vec::new(),
            unit: None,
            properties: Vec::new(),
        };
        if request.driver == Driver::Disabled {
            return Ok(spec);
        }
        if spec.mode != Mode::V2 && !request.rootless && !hierarchy.has(Controller::Devices) {
            return Err(PathError::NoDevices);
        }
        spec.targets.reserve_exact(hierarchy.mounts().len());
        if let Driver::Systemd { user } = request.driver {
            if user && spec.mode != Mode::V2 {
                return Err(PathError::UserSystemdOnV1);
            }
            let unit = Unit::parse(request.path, request.id, user)?;
            for mount in hierarchy.mounts() {
                let path = unit.cgroup();
                spec.targets.push(Target {
                    controllers: mount.controllers,
                    mount: mount.point.clone(),
                    path,
                });
            }
            spec.unit = Some(unit);
            return Ok(spec);
        }
        let asked = if request.path.is_empty() { request.id } else { request.path };
        let inner = clean(asked)?;
        for mount in hierarchy.mounts() {
            let path = if asked.starts_with('/') {
                inner.clone()
            } else {
                let own = hierarchy.own(mount)?;
                let base = if spec.mode == Mode::V2 { parent(&own) } else { own.as_str() };
                if base.is_empty() { inner.clone() } else { format!("{base}/{inner}") }
            };
            spec.targets.push(Target { controllers: mount.controllers, mount: mount.point.clone(), path });
        }
        Ok(spec)
    }
}

/// The part of a path before its last component; empty for the root.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Makes a path relative and canonical. Inner `..` are resolved as text, as runc does; one that would leave the
/// hierarchy is an error (runc ignores it).
fn clean(path: &str) -> Result<String, PathError> {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop().ok_or_else(|| PathError::Escapes(path.into()))?;
            }
            name if name.len() > MAX_NAME_BYTES || name.bytes().any(|byte| byte == 0 || byte == b'\n') => {
                return Err(PathError::Name(path.chars().take(MAX_NAME_BYTES).collect()));
            }
            name => components.push(name),
        }
    }
    // The root itself holds the host's processes.
    if components.is_empty() {
        return Err(PathError::Name(path.into()));
    }
    Ok(components.join("/"))
}

/// Checks a path below a container's cgroup, as of `exec --cgroup`; `/` is the container's cgroup.
pub(crate) fn clean_below(path: &str) -> Option<String> {
    if path.split('/').any(|component| component == "..") || path.bytes().any(|byte| byte == 0) {
        return None;
    }
    let components: Vec<_> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    Some(components.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(path: &'a str, driver: Driver) -> Request<'a> {
        Request { path, id: "box", driver, rootless: false }
    }

    fn paths(hierarchy: &Hierarchy, request: &Request<'_>) -> Vec<String> {
        let spec = CgroupSpec::resolve(hierarchy, request).unwrap();
        spec.targets.into_iter().map(|target| target.path).collect()
    }

    #[test]
    fn absolute_paths_are_below_the_root() {
        let v2 = Hierarchy::unified("/sys/fs/cgroup");
        assert_eq!(paths(&v2, &request("/docker/abc", Driver::Fs)), ["docker/abc"]);
        assert_eq!(paths(&v2, &request("//a/./b/../c/", Driver::Fs)), ["a/c"]);
    }

    #[test]
    fn paths_that_leave_the_hierarchy_are_refused() {
        for path in ["/..", "/../x", "../x", "a/../../x", "/a/../../../etc"] {
            let result = CgroupSpec::resolve(&Hierarchy::unified("/x"), &request(path, Driver::Fs));
            assert!(matches!(result, Err(PathError::Escapes(_))), "{path}");
        }
        for path in ["/", "/a/..", ".", "/a\0b", "/a\nb", &"n".repeat(256)] {
            let result = CgroupSpec::resolve(&Hierarchy::unified("/x"), &request(path, Driver::Fs));
            assert!(matches!(result, Err(PathError::Name(_))), "{path:?}");
        }
    }

    #[test]
    fn relative_and_empty_paths_follow_the_runtime() {
        let v2 = Hierarchy::unified("/sys/fs/cgroup/unified");
        let own = v2.own(&v2.mounts()[0]).unwrap();
        let base = parent(&own);
        let expect = |name: &str| if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") };
        assert_eq!(paths(&v2, &request("a/b", Driver::Fs)), [expect("a/b")]);
        assert_eq!(paths(&v2, &request("", Driver::Fs)), [expect("box")]);
    }

    #[test]
    fn systemd_units_are_in_their_slice() {
        let v2 = Hierarchy::unified("/sys/fs/cgroup");
        let driver = Driver::Systemd { user: false };
        assert_eq!(paths(&v2, &request("", driver)), ["system.slice/gantry-box.scope"]);
        let path = "kubepods-besteffort.slice:cri-containerd:1234";
        let expect = "kubepods.slice/kubepods-besteffort.slice/cri-containerd-1234.scope";
        assert_eq!(paths(&v2, &request(path, driver)), [expect]);
    }

    #[test]
    fn the_disabled_driver_has_no_directories() {
        assert!(paths(&Hierarchy::unified("/x"), &request("/../..", Driver::Disabled)).is_empty());
    }

    #[test]
    fn paths_below_a_container_cannot_climb() {
        assert_eq!(clean_below("/a//b/").as_deref(), Some("a/b"));
        assert_eq!(clean_below("/").as_deref(), Some(""));
        assert_eq!(clean_below("a/../b"), None);
        assert_eq!(clean_below("..\0"), None);
    }
}
