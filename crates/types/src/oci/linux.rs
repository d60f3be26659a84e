use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Resources;

/// The part of the configuration that only Linux has: config-linux.md.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// User ids of a new user namespace.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids of a new user namespace.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
    /// Kernel parameters of the container's namespaces.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctl: BTreeMap<String, String>,
    /// Limits of the container's cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The cgroup: absolute, relative, or `slice:prefix:name` with the systemd driver.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub cgroups_path: String,
    /// Namespaces to create or to join; the others are the runtime's own.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Namespace>,
    /// Device nodes to make.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Network devices to move into the container, by their name on the host.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub net_devices: BTreeMap<String, NetDevice>,
    /// The seccomp profile, unparsed (see [`super::Seccomp`]): its bytes are the key under which its program is cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Box<RawValue>>,
    /// Mount propagation of the root: `shared`, `slave`, `private`, `unbindable` or their recursive forms.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub rootfs_propagation: String,
    /// Paths that cannot be read in the container.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub masked_paths: Vec<String>,
    /// Paths that cannot be written in the container.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub readonly_paths: Vec<String>,
    /// SELinux label of the container's mounts.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub mount_label: String,
    /// Intel Resource Director Technology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<IntelRdt>,
    /// NUMA policy of the container's process: set_mempolicy(2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<MemoryPolicy>,
    /// Execution domain: personality(2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personality: Option<Personality>,
    /// Offsets of the clocks `monotonic` and `boottime` in a new time namespace.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
}

/// A namespace of the container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    /// `pid`, `network`, `mount`, `ipc`, `uts`, `user`, `cgroup` or `time`.
    #[serde(rename = "type", default, deserialize_with = "super::nullable")]
    pub type_: String,
    /// The namespace to join; empty to create one.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// A range of ids: user_namespaces(7).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdMapping {
    /// First id in the container.
    #[serde(rename = "containerID", default, deserialize_with = "super::nullable")]
    pub container_id: u32,
    /// First id on the host.
    #[serde(rename = "hostID", default, deserialize_with = "super::nullable")]
    pub host_id: u32,
    /// How many ids.
    #[serde(default, deserialize_with = "super::nullable")]
    pub size: u32,
}

/// A device node to make.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Absolute path in the container.
    #[serde(default, deserialize_with = "super::nullable")]
    pub path: String,
    /// `c`, `b`, `u` or `p`.
    #[serde(rename = "type", default, deserialize_with = "super::nullable")]
    pub type_: String,
    /// Major number.
    #[serde(default, deserialize_with = "super::nullable")]
    pub major: i64,
    /// Minor number.
    #[serde(default, deserialize_with = "super::nullable")]
    pub minor: i64,
    /// Permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// Owner, in the container's ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group, in the container's ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// A network device in the container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetDevice {
    /// Its name in the container; empty for the host's.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// The offset of a clock in a time namespace: time_namespaces(7).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeOffset {
    /// Seconds.
    #[serde(default, deserialize_with = "super::nullable")]
    pub secs: i64,
    /// Nanoseconds.
    #[serde(default, deserialize_with = "super::nullable")]
    pub nanosecs: u32,
}

/// The execution domain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub domain: String,
    /// Must be empty: runtime-spec defines none.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

/// Intel RDT settings: a group below /sys/fs/resctrl.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntelRdt {
    /// The group's name; the container's id when empty.
    #[serde(
        rename = "closID",
        default,
        deserialize_with = "super::nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub clos_id: String,
    /// Lines for the group's `schemata` file.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// A line for the L3 cache.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    /// A line for the memory bandwidth.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// Whether to make a monitoring group of the container's own.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "std::ops::Not::not")]
    pub enable_monitoring: bool,
}

/// NUMA memory policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryPolicy {
    /// A mode such as `MPOL_BIND`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub mode: String,
    /// Node list, as in `0-3,7`.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub nodes: String,
    /// Flags such as `MPOL_F_STATIC_NODES`.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}
