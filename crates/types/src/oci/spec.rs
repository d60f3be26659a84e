use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Hooks, IdMapping, Linux, Process};

/// The whole configuration of a container: a bundle's `config.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The version of runtime-spec that the configuration follows, in SemVer 2.0.0.
    #[serde(rename = "ociVersion", default, deserialize_with = "super::nullable")]
    pub oci_version: String,
    /// The container's first process; required by the time of start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The root file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// The host name, as seen in the container's UTS namespace.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// The NIS domain name, as seen in the container's UTS namespace.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub domainname: String,
    /// Mounts beyond the root, in the order in which they are made.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Programs to run at the points of the container's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Free metadata; some keys are known to the runtime.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What only Linux has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
}

/// The container's root file system.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Root {
    /// The directory, absolute or relative to the bundle.
    #[serde(default, deserialize_with = "super::nullable")]
    pub path: String,
    /// Whether the root is read-only inside the container.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "std::ops::Not::not")]
    pub readonly: bool,
}

/// One mount beyond the root.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Where it is mounted, in the container; relative ones are taken from `/`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub destination: String,
    /// The file system's type, as in /proc/filesystems; ignored for bind mounts.
    #[serde(
        rename = "type",
        default,
        deserialize_with = "super::nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub type_: String,
    /// A device, a file or directory to bind, or a free name.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Mount options, in the words of fstab(5) and of runtime-spec.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Mapping of the mount's user ids, for an id-mapped mount.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Mapping of the mount's group ids, for an id-mapped mount.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
}
