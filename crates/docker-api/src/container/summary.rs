//! A line of the list of containers.

use crate::image::OciDescriptor;
use crate::network::EndpointSettings;
use crate::wire::{List, Map, wire};

use super::MountPoint;

wire! {
    /// An element of the answer to `GET /containers/json`.
    pub struct ContainerSummary {
        put "Id" id: String,
        /// With a slash before each.
        put "Names" names: List<String>,
        put "Image" image: String,
        put "ImageID" image_id: String,
        /// Since 1.48.
        omit "ImageManifestDescriptor" image_manifest_descriptor: Option<OciDescriptor>,
        put "Command" command: String,
        /// Seconds since 1970.
        put "Created" created: i64,
        put "Ports" ports: List<PortSummary>,
        omit "SizeRw" size_rw: i64,
        omit "SizeRootFs" size_root_fs: i64,
        put "Labels" labels: Map<String>,
        put "State" state: String,
        put "Status" status: String,
        put "HostConfig" host_config: SummaryHostConfig,
        /// Since 1.52.
        omit "Health" health: Option<HealthSummary>,
        put "NetworkSettings" network_settings: Option<SummaryNetworks>,
        put "Mounts" mounts: List<MountPoint>,
    }
}

wire! {
    /// A port of a container.
    pub struct PortSummary {
        omit "IP" ip: String,
        put "PrivatePort" private_port: u16,
        omit "PublicPort" public_port: u16,
        put "Type" kind: String,
    }
}

wire! {
    /// What the list tells of the host configuration.
    pub struct SummaryHostConfig {
        omit "NetworkMode" network_mode: String,
        /// Since 1.46.
        omit "Annotations" annotations: Map<String>,
    }
}

wire! {
    /// What the list tells of health.
    pub struct HealthSummary {
        omit "FailingStreak" failing_streak: i64,
        omit "Status" status: String,
    }
}

wire! {
    /// What the list tells of networks.
    pub struct SummaryNetworks {
        put "Networks" networks: Map<EndpointSettings>,
    }
}
