//! Everything that is told of one container.

use crate::image::OciDescriptor;
use crate::network::EndpointSettings;
use crate::wire::{List, Map, wire};

use super::{ContainerConfig, HostConfig, PortMap};

wire! {
    /// The answer to `GET /containers/{id}/json`.
    pub struct ContainerInspect {
        put "Id" id: String,
        put "Created" created: String,
        put "Path" path: String,
        put "Args" args: List<String>,
        put "State" state: Option<ContainerState>,
        put "Image" image: String,
        put "ResolvConfPath" resolv_conf_path: String,
        put "HostnamePath" hostname_path: String,
        put "HostsPath" hosts_path: String,
        put "LogPath" log_path: String,
        /// With a slash before it.
        put "Name" name: String,
        put "RestartCount" restart_count: i64,
        put "Driver" driver: String,
        put "Platform" platform: String,
        put "MountLabel" mount_label: String,
        put "ProcessLabel" process_label: String,
        put "AppArmorProfile" app_armor_profile: String,
        put "ExecIDs" exec_ids: List<String>,
        put "HostConfig" host_config: Option<HostConfig>,
        /// Since 1.52 only where a graph driver keeps the files; `Storage` else.
        omit "GraphDriver" graph_driver: Option<GraphDriver>,
        /// Since 1.52.
        omit "Storage" storage: Option<serde_json::Value>,
        /// With `size=1`.
        omit "SizeRw" size_rw: Option<i64>,
        /// With `size=1`.
        omit "SizeRootFs" size_root_fs: Option<i64>,
        /// Since 1.48.
        omit "ImageManifestDescriptor" image_manifest_descriptor: Option<OciDescriptor>,
        put "Mounts" mounts: List<MountPoint>,
        put "Config" config: Option<ContainerConfig>,
        put "NetworkSettings" network_settings: Option<NetworkSettings>,
    }
}

wire! {
    /// Whether it runs, and how it ended.
    pub struct ContainerState {
        /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
        put "Status" status: String,
        put "Running" running: bool,
        put "Paused" paused: bool,
        put "Restarting" restarting: bool,
        put "OOMKilled" oom_killed: bool,
        put "Dead" dead: bool,
        put "Pid" pid: i64,
        put "ExitCode" exit_code: i64,
        put "Error" error: String,
        put "StartedAt" started_at: String,
        put "FinishedAt" finished_at: String,
        omit "Health" health: Option<Health>,
        /// Gantry's own: why it ended, for `gantry why`.
        omit "GantryCause" gantry_cause: Option<serde_json::Value>,
    }
}

wire! {
    /// What the health check found.
    pub struct Health {
        /// `none`, `starting`, `healthy` or `unhealthy`.
        put "Status" status: String,
        put "FailingStreak" failing_streak: i64,
        put "Log" log: List<HealthLog>,
    }
}

wire! {
    /// One run of the health check.
    pub struct HealthLog {
        put "Start" start: String,
        put "End" end: String,
        put "ExitCode" exit_code: i64,
        put "Output" output: String,
    }
}

wire! {
    /// What keeps the files of a container or an image.
    pub struct GraphDriver {
        put "Data" data: Map<String>,
        put "Name" name: String,
    }
}

wire! {
    /// A mount as it is.
    pub struct MountPoint {
        omit "Type" kind: String,
        omit "Name" name: String,
        put "Source" source: String,
        put "Destination" destination: String,
        omit "Driver" driver: String,
        put "Mode" mode: String,
        put "RW" rw: bool,
        put "Propagation" propagation: String,
    }
}

wire! {
    /// A container's networks. What only the default network had in front of its name went in 1.52: those fields
    /// are optional.
    pub struct NetworkSettings {
        omit "Bridge" bridge: Option<String>,
        put "SandboxID" sandbox_id: String,
        put "SandboxKey" sandbox_key: String,
        put "Ports" ports: PortMap,
        omit "HairpinMode" hairpin_mode: Option<bool>,
        omit "LinkLocalIPv6Address" link_local_ipv6_address: Option<String>,
        omit "LinkLocalIPv6PrefixLen" link_local_ipv6_prefix_len: Option<i64>,
        omit "SecondaryIPAddresses" secondary_ip_addresses: Option<List<Address>>,
        omit "SecondaryIPv6Addresses" secondary_ipv6_addresses: Option<List<Address>>,
        omit "EndpointID" endpoint_id: Option<String>,
        omit "Gateway" gateway: Option<String>,
        omit "GlobalIPv6Address" global_ipv6_address: Option<String>,
        omit "GlobalIPv6PrefixLen" global_ipv6_prefix_len: Option<i64>,
        omit "IPAddress" ip_address: Option<String>,
        omit "IPPrefixLen" ip_prefix_len: Option<i64>,
        omit "IPv6Gateway" ipv6_gateway: Option<String>,
        omit "MacAddress" mac_address: Option<String>,
        put "Networks" networks: Map<EndpointSettings>,
    }
}

impl NetworkSettings {
    /// Fills the fields that clients before 1.52 expect, from the endpoint in the default network if there is one.
    pub fn fill_deprecated(&mut self, default: Option<&EndpointSettings>) {
        let none = EndpointSettings::default();
        let endpoint = default.unwrap_or(&none);
        self.bridge = Some(String::new());
        self.hairpin_mode = Some(false);
        self.link_local_ipv6_address = Some(String::new());
        self.link_local_ipv6_prefix_len = Some(0);
        self.secondary_ip_addresses = Some(List::default());
        self.secondary_ipv6_addresses = Some(List::default());
        self.endpoint_id = Some(endpoint.endpoint_id.clone());
        self.gateway = Some(endpoint.gateway.clone());
        self.global_ipv6_address = Some(endpoint.global_ipv6_address.clone());
        self.global_ipv6_prefix_len = Some(endpoint.global_ipv6_prefix_len);
        self.ip_address = Some(endpoint.ip_address.clone());
        self.ip_prefix_len = Some(endpoint.ip_prefix_len);
        self.ipv6_gateway = Some(endpoint.ipv6_gateway.clone());
        self.mac_address = Some(endpoint.mac_address.clone());
    }
}

wire! {
    /// An address with the length of its network's prefix.
    pub struct Address {
        put "Addr" addr: String,
        put "PrefixLen" prefix_len: i64,
    }
}
