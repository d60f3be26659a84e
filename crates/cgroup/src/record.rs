use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroup, Features, Node};
use crate::controller::{Controller, Controllers};
use crate::dir::read_host_file;
use crate::error::PathError;
use crate::hierarchy::{Hierarchy, Mode, below_mount, find_own};
use crate::resolve::{CgroupSpec, Driver};
use crate::systemd::Unit;

/// What another process needs to know to operate on a container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CgroupRecord {
    /// How the host's cgroups are mounted.
    pub mode: Mode,
    /// Who made the cgroup.
    pub driver: Driver,
    /// Whether lacking privilege is tolerable.
    pub rootless: bool,
    /// Directories by controller, as in runc's `cgroup_paths`; the key of the unified hierarchy is empty.
    pub paths: BTreeMap<String, PathBuf>,
    /// Where the unified hierarchy is mounted.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub unified_mount: PathBuf,
    /// The unit, with the systemd driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

impl CgroupSpec {
    /// The record of a cgroup that is yet to be made: by it, whoever comes after a crash finds what there may be.
    pub fn record(&self) -> CgroupRecord {
        let nodes = self.targets.iter().map(|target| (target.controllers, target.mount.join(&target.path)));
        CgroupRecord {
            mode: self.mode,
            driver: self.driver,
            rootless: self.rootless,
            paths: by_controller(nodes),
            unified_mount: self.targets.last().map(|target| target.mount.clone()).unwrap_or_default(),
            unit: self.unit.clone(),
        }
    }
}

impl CgroupRecord {
    /// The record of the cgroup that a process is in, for containers that another runtime has made. Hierarchies that the
    /// process is in the root of are left out: they are nobody's, and nothing in them may be changed.
    ///
    /// # Errors
    /// `NotFound` if there is no such process, `FailedPrecondition` if it is outside what is mounted, `Unimplemented` if
    /// nothing is.
    pub fn of_process(pid: i32) -> Result<Self, PathError> {
        let hierarchy = Hierarchy::detect()?;
        let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text = read_host_file(&path).map_err(|errno| PathError::Read { path, errno })?;
        Self::of_membership(&hierarchy, &text)
    }

    /// The same from the text of `/proc/PID/cgroup`.
    fn of_membership(hierarchy: &Hierarchy, text: &str) -> Result<Self, PathError> {
        let mut nodes = Vec::new();
        for mount in hierarchy.mounts() {
            let Some(path) = find_own(text, mount.controllers) else { continue };
            let path = below_mount(path, &mount.root)?;
            if !path.is_empty() {
                nodes.push((mount.controllers, mount.point.join(path)));
            }
        }
        let unified = hierarchy.mounts().last().filter(|mount| mount.controllers.is_unified());
        Ok(Self {
            mode: hierarchy.mode(),
            driver: Driver::Fs,
            rootless: false,
            paths: by_controller(nodes.into_iter()),
            unified_mount: unified.map(|mount| mount.point.clone()).unwrap_or_default(),
            unit: None,
        })
    }
}

fn by_controller(nodes: impl Iterator<Item = (Controllers, PathBuf)>) -> BTreeMap<String, PathBuf> {
    let mut paths = BTreeMap::new();
    for (controllers, path) in nodes {
        for controller in controllers.iter() {
            paths.insert(controller.as_str().to_owned(), path.clone());
        }
        if controllers.is_unified() {
            paths.insert(String::new(), path);
        }
    }
    paths
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

impl Cgroup {
    /// What another process needs to know.
    pub fn record(&self) -> CgroupRecord {
        let nodes = self.nodes.iter().map(|node| (node.controllers, node.path.clone()));
        CgroupRecord {
            mode: self.mode,
            driver: self.driver,
            rootless: self.rootless,
            paths: by_controller(nodes),
            unified_mount: self.unified_mount.clone(),
            unit: self.unit.clone(),
        }
    }

    /// The cgroup of a record. Nothing is opened, and nothing need exist.
    pub fn from_record(record: &CgroupRecord, features: Features) -> Self {
        let mut nodes: Vec<Node> = Vec::with_capacity(record.paths.len());
        for (name, path) in &record.paths {
            let Some(controller) = Controller::from_name(name) else { continue };
            match nodes.iter_mut().find(|node| node.path == *path) {
                Some(node) => node.controllers.insert(controller),
                None => {
                    let mut controllers = Controllers::default();
                    controllers.insert(controller);
                    nodes.push(Node::new(controllers, path.clone()));
                }
            }
        }
        nodes.sort_by_key(|node| node.controllers.iter().next());
        if let Some(path) = record.paths.get("") {
            nodes.push(Node::new(Controllers::UNIFIED, path.clone()));
        }
        Self {
            mode: record.mode,
            driver: record.driver,
            rootless: record.rootless,
            explicit: true,
            nodes,
            unified_mount: record.unified_mount.clone(),
            unit: record.unit.clone(),
            bus: RefCell::default(),
            pending: None,
            started: true,
            features,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_way_through_json() {
        let paths = [
            ("cpu", "/c/cpu,cpuacct/x"),
            ("cpuacct", "/c/cpu,cpuacct/x"),
            ("memory", "/c/memory/x"),
            ("", "/c/unified/x"),
        ];
        let record = CgroupRecord {
            mode: Mode::Hybrid,
            driver: Driver::Systemd { user: true },
            rootless: true,
            paths: paths.map(|(name, path)| (name.into(), path.into())).into(),
            unified_mount: "/c/unified".into(),
            unit: None,
        };
        let text = serde_json::to_string(&record).unwrap();
        let read: CgroupRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(read, record);
        let cgroup = Cgroup::from_record(&read, Features::default());
        assert_eq!(cgroup.nodes.len(), 3);
        assert_eq!(cgroup.record(), record);
        assert_eq!(cgroup.unified_path().unwrap().to_str(), Some("/c/unified/x"));
    }

    #[test]
    fn the_cgroup_of_a_process_is_found_in_every_hierarchy() {
        let mounts = "30 1 0:1 / /c/cpu rw - cgroup c rw,cpu,cpuacct\n31 1 0:2 /docker /c/memory rw - cgroup c rw,memory\n\
                      32 1 0:3 / /sys/fs/cgroup/unified rw - cgroup2 c rw\n33 1 0:4 / /c/pids rw - cgroup c rw,pids\n";
        let hierarchy = Hierarchy::from_mountinfo(mounts).unwrap();
        let text = "4:cpu,cpuacct:/a/b\n3:memory:/docker/a\n2:pids:/\n0::/a\n";
        let record = CgroupRecord::of_membership(&hierarchy, text).unwrap();
        let paths = [
            ("cpu", "/c/cpu/a/b"),
            ("cpuacct", "/c/cpu/a/b"),
            ("memory", "/c/memory/a"),
            ("", "/sys/fs/cgroup/unified/a"),
        ];
        assert_eq!(record.paths, paths.map(|(name, path)| (name.to_owned(), path.into())).into());
        assert_eq!(record.unified_mount.to_str(), Some("/sys/fs/cgroup/unified"));
        assert!(CgroupRecord::of_membership(&hierarchy, "3:memory:/other\n").is_err());
    }

    #[test]
    fn a_process_that_is_not_there_has_no_cgroup() {
        let error = CgroupRecord::of_process(i32::MAX).unwrap_err();
        assert_eq!(error.kind(), gantry_types::ErrorKind::NotFound);
        CgroupRecord::of_process(std::process::id().cast_signed()).unwrap();
    }

    #[test]
    fn controllers_of_a_newer_version_are_skipped() {
        let text =
            r#"{"mode":"v1","driver":"fs","rootless":false,"paths":{"dmem":"/c/dmem/x","pids":"/c/pids/x"}}"#;
        let record: CgroupRecord = serde_json::from_str(text).unwrap();
        let cgroup = Cgroup::from_record(&record, Features::default());
        assert_eq!(cgroup.paths().count(), 1);
        assert!(cgroup.unified_path().is_none());
    }
}
