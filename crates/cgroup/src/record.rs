use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroup, Features, Node};
use crate::controller::{Controller, Controllers};
use crate::hierarchy::Mode;
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
    fn controllers_of_a_newer_version_are_skipped() {
        let text =
            r#"{"mode":"v1","driver":"fs","rootless":false,"paths":{"dmem":"/c/dmem/x","pids":"/c/pids/x"}}"#;
        let record: CgroupRecord = serde_json::from_str(text).unwrap();
        let cgroup = Cgroup::from_record(&record, Features::default());
        assert_eq!(cgroup.paths().count(), 1);
        assert!(cgroup.unified_path().is_none());
    }
}
