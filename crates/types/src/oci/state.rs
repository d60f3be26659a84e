use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The state of a container as hooks and the `state` command see it: runtime.md, State.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of runtime-spec.
    #[serde(rename = "ociVersion", default, deserialize_with = "super::nullable")]
    pub oci_version: String,
    /// The container's id.
    #[serde(default, deserialize_with = "super::nullable")]
    pub id: String,
    /// `creating`, `created`, `running`, `stopped`, or `paused`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub status: String,
    /// The first process, on the host; absent when it is gone.
    #[serde(default, deserialize_with = "super::nullable")]
    pub pid: i32,
    /// Absolute path of the bundle.
    #[serde(default, deserialize_with = "super::nullable")]
    pub bundle: String,
    /// The configuration's annotations.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a seccomp agent gets with the notification descriptor: config-linux.md, The Container Process State.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState {
    /// The version of runtime-spec.
    #[serde(rename = "ociVersion", default, deserialize_with = "super::nullable")]
    pub oci_version: String,
    /// Names of the descriptors that come along, in their order.
    #[serde(default, deserialize_with = "super::nullable")]
    pub fds: Vec<String>,
    /// The process that the filter is for.
    #[serde(default, deserialize_with = "super::nullable")]
    pub pid: i32,
    /// The profile's `listenerMetadata`.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// The container.
    #[serde(default, deserialize_with = "super::nullable")]
    pub state: State,
}
