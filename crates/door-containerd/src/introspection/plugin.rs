//! The list of plugins: containerd's words for the parts that we have. Nothing stands in it that does not work.

use std::path::Path;

use gantry_primitives::filter::Fields;
use gantry_primitives::tasks::RESTART_POLICIES;
use gantry_proto_containerd::introspection as proto;
use gantry_types::{Labels, Platform};

use crate::into_proto;

/// A part of the daemon, as clients know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plugin {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) requires: &'static [&'static str],
    pub(crate) platforms: Vec<Platform>,
    pub(crate) exports: Labels,
    pub(crate) capabilities: Vec<String>,
}

/// A snapshotter that requests may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshotter {
    pub(crate) name: String,
    pub(crate) platform: Platform,
    pub(crate) exports: Labels,
    pub(crate) capabilities: Vec<String>,
}

const CONTENT: &str = "io.containerd.content.v1";
const DIFFER: &str = "io.containerd.differ.v1";
const EVENT: &str = "io.containerd.event.v1";
const INTERNAL: &str = "io.containerd.internal.v1";
const GC: &str = "io.containerd.gc.v1";
const GRPC: &str = "io.containerd.grpc.v1";
const LEASE: &str = "io.containerd.lease.v1";
const METADATA: &str = "io.containerd.metadata.v1";
const RUNTIME: &str = "io.containerd.runtime.v2";
const SANDBOX_CONTROLLER: &str = "io.containerd.sandbox.controller.v1";
const SANDBOX_STORE: &str = "io.containerd.sandbox.store.v1";
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";
const STREAMING: &str = "io.containerd.streaming.v1";
const TRANSFER: &str = "io.containerd.transfer.v1";

/// What runs containers.
pub(super) const TASKS: (&str, &str) = (RUNTIME, "task");

/// Type, id, and what it stands on.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// What there is without a setting of its own.
const FIXED: &[Row] = &[
    (METADATA, "sqlite", &[CONTENT, EVENT, SNAPSHOTTER]),
    (EVENT, "journal", &[METADATA]),
    (GC, "scheduler", &[METADATA]),
    (LEASE, "manager", &[METADATA]),
    (RUNTIME, "task", &[METADATA, EVENT]),
    (SANDBOX_STORE, "local", &[METADATA]),
    (SANDBOX_CONTROLLER, "shim", &[RUNTIME, EVENT]),
    (STREAMING, "manager", &[]),
    (TRANSFER, "local", &[LEASE, METADATA, DIFFER]),
    (GRPC, "containers", &[METADATA, EVENT]),
    (GRPC, "content", &[CONTENT, METADATA]),
    (GRPC, "diff", &[DIFFER]),
    (GRPC, "events", &[EVENT]),
    (GRPC, "healthcheck", &[]),
    (GRPC, "images", &[METADATA, GC]),
    (GRPC, "introspection", &[]),
    (GRPC, "leases", &[LEASE]),
    (GRPC, "mounts", &[]),
    (GRPC, "namespaces", &[METADATA]),
    (GRPC, "sandbox-controllers", &[SANDBOX_CONTROLLER]),
    (GRPC, "sandboxes", &[SANDBOX_STORE]),
    (GRPC, "snapshots", &[SNAPSHOTTER, METADATA]),
    (GRPC, "streaming", &[STREAMING]),
    (GRPC, "tasks", &[RUNTIME, METADATA]),
    (GRPC, "transfer", &[TRANSFER, STREAMING]),
    (GRPC, "version", &[]),
];

/// All plugins, sorted as containerd would start them: what others stand on comes first.
pub(crate) fn all(root: &Path, snapshotters: &[Snapshotter]) -> Vec<Plugin> {
    let plugin = |kind, id: &str, requires| Plugin {
        kind,
        id: id.to_owned(),
        requires,
        platforms: Vec::new(),
        exports: Labels::new(),
        capabilities: Vec::new(),
    };
    let content = Plugin {
        exports: [("root".to_owned(), root.join("content").display().to_string())].into(),
        ..plugin(CONTENT, "content", &[])
    };
    let differ = Plugin { platforms: vec![Platform::host()], ..plugin(DIFFER, "walking", &[METADATA]) };
    let mut all = vec![content];
    all.extend(snapshotters.iter().map(|snapshotter| Plugin {
        platforms: vec![snapshotter.platform.clone()],
        exports: snapshotter.exports.clone(),
        capabilities: snapshotter.capabilities.clone(),
        ..plugin(SNAPSHOTTER, &snapshotter.name, &[])
    }));
    all.push(differ);
    let capabilities = RESTART_POLICIES.iter().map(|&policy| policy.to_owned()).collect();
    all.push(Plugin { capabilities, ..plugin(INTERNAL, "restart", &[RUNTIME]) });
    all.extend(FIXED.iter().map(|(kind, id, requires)| plugin(kind, id, requires)));
    all
}

impl Fields for Plugin {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["type"] => Some(self.kind.to_owned()),
            ["id"] => Some(self.id.clone()),
            ["platforms"] => {
                let platforms: Vec<String> = self.platforms.iter().map(ToString::to_string).collect();
                Some(platforms.join(",")).filter(|text| !text.is_empty())
            }
            ["capabilities"] => Some(self.capabilities.join(",")).filter(|text| !text.is_empty()),
            _ => None,
        }
    }
}

impl From<&Plugin> for proto::Plugin {
    fn from(plugin: &Plugin) -> Self {
        Self {
            r#type: plugin.kind.to_owned(),
            id: plugin.id.clone(),
            requires: plugin.requires.iter().map(|&kind| kind.to_owned()).collect(),
            platforms: plugin.platforms.iter().map(into_proto::platform).collect(),
            exports: plugin.exports.clone(),
            capabilities: plugin.capabilities.clone(),
            init_err: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_plugin_stands_on_is_there() {
        let snapshotter = Snapshotter {
            name: "overlayfs".into(),
            platform: Platform::host(),
            exports: Labels::new(),
            capabilities: vec!["rebase".into()],
        };
        let all = all(Path::new("/r"), &[snapshotter]);
        for plugin in &all {
            for kind in plugin.requires {
                assert!(all.iter().any(|other| other.kind == *kind), "{} needs {kind}", plugin.id);
            }
        }
    }

    #[test]
    fn ids_of_a_type_are_told_apart() {
        let all = all(Path::new("/r"), &[]);
        let mut names: Vec<_> = all.iter().map(|plugin| (plugin.kind, &plugin.id)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }
}
