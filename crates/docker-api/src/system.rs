//! What the engine tells of itself.

use serde_json::Value;

use crate::container::ContainerSummary;
use crate::image::ImageSummary;
use crate::volume::Volume;
use crate::wire::{List, Map, wire};

wire! {
    /// The answer to `GET /version`.
    pub struct Version {
        omit "Platform" platform: Option<VersionPlatform>,
        omit "Components" components: List<Component>,
        put "Version" version: String,
        put "ApiVersion" api_version: String,
        omit "MinAPIVersion" min_api_version: String,
        put "GitCommit" git_commit: String,
        put "GoVersion" go_version: String,
        put "Os" os: String,
        put "Arch" arch: String,
        omit "KernelVersion" kernel_version: String,
        omit "Experimental" experimental: bool,
        omit "BuildTime" build_time: String,
    }
}

wire! {
    /// The product's name.
    pub struct VersionPlatform {
        put "Name" name: String,
    }
}

wire! {
    /// A part of the engine.
    pub struct Component {
        put "Name" name: String,
        put "Version" version: String,
        omit "Details" details: Map<String>,
    }
}

wire! {
    /// The answer to `GET /info`.
    pub struct Info {
        put "ID" id: String,
        put "Containers" containers: i64,
        put "ContainersRunning" containers_running: i64,
        put "ContainersPaused" containers_paused: i64,
        put "ContainersStopped" containers_stopped: i64,
        put "Images" images: i64,
        put "Driver" driver: String,
        put "DriverStatus" driver_status: List<[String; 2]>,
        omit "SystemStatus" system_status: List<[String; 2]>,
        put "Plugins" plugins: PluginsInfo,
        put "MemoryLimit" memory_limit: bool,
        put "SwapLimit" swap_limit: bool,
        /// Before 1.42.
        omit "KernelMemory" kernel_memory: bool,
        /// Before 1.42.
        omit "KernelMemoryTCP" kernel_memory_tcp: bool,
        put "CpuCfsPeriod" cpu_cfs_period: bool,
        put "CpuCfsQuota" cpu_cfs_quota: bool,
        put "CPUShares" cpu_shares: bool,
        put "CPUSet" cpu_set: bool,
        put "PidsLimit" pids_limit: bool,
        put "IPv4Forwarding" ipv4_forwarding: bool,
        /// Before 1.50.
        omit "BridgeNfIptables" bridge_nf_iptables: Option<bool>,
        /// Before 1.50.
        omit "BridgeNfIp6tables" bridge_nf_ip6tables: Option<bool>,
        put "Debug" debug: bool,
        put "NFd" n_fd: i64,
        put "OomKillDisable" oom_kill_disable: bool,
        put "NGoroutines" n_goroutines: i64,
        put "SystemTime" system_time: String,
        put "LoggingDriver" logging_driver: String,
        put "CgroupDriver" cgroup_driver: String,
        omit "CgroupVersion" cgroup_version: String,
        put "NEventsListener" n_events_listener: i64,
        put "KernelVersion" kernel_version: String,
        put "OperatingSystem" operating_system: String,
        put "OSVersion" os_version: String,
        put "OSType" os_type: String,
        put "Architecture" architecture: String,
        put "IndexServerAddress" index_server_address: String,
        put "RegistryConfig" registry_config: Option<RegistryInfo>,
        put "NCPU" n_cpu: i64,
        put "MemTotal" mem_total: i64,
        put "GenericResources" generic_resources: Value,
        put "DockerRootDir" docker_root_dir: String,
        put "HttpProxy" http_proxy: String,
        put "HttpsProxy" https_proxy: String,
        put "NoProxy" no_proxy: String,
        put "Name" name: String,
        put "Labels" labels: List<String>,
        put "ExperimentalBuild" experimental_build: bool,
        put "ServerVersion" server_version: String,
        put "Runtimes" runtimes: Map<RuntimeInfo>,
        put "DefaultRuntime" default_runtime: String,
        put "Swarm" swarm: SwarmInfo,
        put "LiveRestoreEnabled" live_restore_enabled: bool,
        put "Isolation" isolation: String,
        put "InitBinary" init_binary: String,
        put "ContainerdCommit" containerd_commit: Commit,
        put "RuncCommit" runc_commit: Commit,
        put "InitCommit" init_commit: Commit,
        put "SecurityOptions" security_options: List<String>,
        omit "ProductLicense" product_license: String,
        omit "DefaultAddressPools" default_address_pools: List<AddressPool>,
        /// Since 1.49.
        omit "FirewallBackend" firewall_backend: Option<FirewallInfo>,
        /// Since 1.46.
        omit "CDISpecDirs" cdi_spec_dirs: Option<List<String>>,
        /// Since 1.50.
        omit "DiscoveredDevices" discovered_devices: List<DiscoveredDevice>,
        /// Since 1.46.
        omit "Containerd" containerd: Option<ContainerdInfo>,
        put "Warnings" warnings: List<String>,
    }
}

wire! {
    /// Which drivers there are.
    pub struct PluginsInfo {
        put "Volume" volume: List<String>,
        put "Network" network: List<String>,
        put "Authorization" authorization: List<String>,
        put "Log" log: List<String>,
    }
}

wire! {
    /// How registries are reached.
    pub struct RegistryInfo {
        omit "AllowNondistributableArtifactsCIDRs" allow_nondistributable_cidrs: Option<List<String>>,
        omit "AllowNondistributableArtifactsHostnames" allow_nondistributable_hostnames: Option<List<String>>,
        put "InsecureRegistryCIDRs" insecure_registry_cidrs: List<String>,
        put "IndexConfigs" index_configs: Map<IndexInfo>,
        put "Mirrors" mirrors: List<String>,
    }
}

wire! {
    /// How one registry is reached.
    pub struct IndexInfo {
        put "Name" name: String,
        put "Mirrors" mirrors: List<String>,
        put "Secure" secure: bool,
        put "Official" official: bool,
    }
}

wire! {
    /// A runtime.
    pub struct RuntimeInfo {
        omit "path" path: String,
        omit "runtimeArgs" runtime_args: List<String>,
        omit "runtimeType" runtime_type: String,
        omit "options" options: Option<Value>,
        omit "status" status: Map<String>,
    }
}

wire! {
    /// Swarm's state: an engine without it is `inactive`.
    pub struct SwarmInfo {
        put "NodeID" node_id: String,
        put "NodeAddr" node_addr: String,
        put "LocalNodeState" local_node_state: String,
        put "ControlAvailable" control_available: bool,
        put "Error" error: String,
        put "RemoteManagers" remote_managers: Value,
    }
}

wire! {
    /// A version of a program.
    pub struct Commit {
        put "ID" id: String,
        /// Before 1.50.
        omit "Expected" expected: Option<String>,
    }
}

wire! {
    /// Where addresses of networks come from.
    pub struct AddressPool {
        put "Base" base: String,
        put "Size" size: i64,
    }
}

wire! {
    /// What filters packets.
    pub struct FirewallInfo {
        put "Driver" driver: String,
        omit "Info" info: List<[String; 2]>,
    }
}

wire! {
    /// A device that CDI or a driver names.
    pub struct DiscoveredDevice {
        put "Source" source: String,
        put "ID" id: String,
    }
}

wire! {
    /// containerd's address and namespaces.
    pub struct ContainerdInfo {
        omit "Address" address: String,
        put "Namespaces" namespaces: ContainerdNamespaces,
    }
}

wire! {
    /// The namespaces in containerd.
    pub struct ContainerdNamespaces {
        put "Containers" containers: String,
        put "Plugins" plugins: String,
    }
}

wire! {
    /// The answer to `GET /system/df`. Lists that were not asked for are not there since 1.42.
    pub struct DiskUsage {
        omit "LayersSize" layers_size: Option<i64>,
        omit "Images" images: Option<List<ImageSummary>>,
        omit "Containers" containers: Option<List<ContainerSummary>>,
        omit "Volumes" volumes: Option<List<Volume>>,
        omit "BuildCache" build_cache: Option<List<BuildCacheItem>>,
        /// Before 1.42.
        omit "BuilderSize" builder_size: Option<i64>,
        /// Since 1.52, as the three below.
        omit "ImageUsage" image_usage: Option<Usage>,
        omit "ContainerUsage" container_usage: Option<Usage>,
        omit "VolumeUsage" volume_usage: Option<Usage>,
        omit "BuildCacheUsage" build_cache_usage: Option<Usage>,
    }
}

wire! {
    /// Totals of one kind.
    pub struct Usage {
        omit "ActiveCount" active_count: i64,
        omit "Items" items: Option<Value>,
        omit "Reclaimable" reclaimable: i64,
        omit "TotalCount" total_count: i64,
        omit "TotalSize" total_size: i64,
    }
}

wire! {
    /// A record of the build cache.
    pub struct BuildCacheItem {
        put "ID" id: String,
        omit "Parents" parents: List<String>,
        put "Type" kind: String,
        put "Description" description: String,
        put "InUse" in_use: bool,
        put "Shared" shared: bool,
        put "Size" size: i64,
        put "CreatedAt" created_at: String,
        put "LastUsedAt" last_used_at: Option<String>,
        put "UsageCount" usage_count: i64,
    }
}

wire! {
    /// The answer to `POST /auth`.
    pub struct AuthResponse {
        put "Status" status: String,
        omit "IdentityToken" identity_token: String,
    }
}

/// The headers of `/_ping`, and which of them every answer has.
pub mod header {
    /// The newest version of the API; on every answer.
    pub const API_VERSION: &str = "Api-Version";
    /// `linux`; on every answer.
    pub const OS_TYPE: &str = "Ostype";
    /// `true` or `false`; on every answer.
    pub const EXPERIMENTAL: &str = "Docker-Experimental";
    /// `1` is the classic builder, `2` BuildKit.
    pub const BUILDER_VERSION: &str = "Builder-Version";
    /// `inactive` where there is no swarm.
    pub const SWARM: &str = "Swarm";
    /// Credentials of the registry that an image is pulled from or pushed to.
    pub const REGISTRY_AUTH: &str = "X-Registry-Auth";
    /// Credentials of several registries, for builds.
    pub const REGISTRY_CONFIG: &str = "X-Registry-Config";
    /// [`crate::container::PathStat`] in base64.
    pub const PATH_STAT: &str = "X-Docker-Container-Path-Stat";
}

/// Media types of streams.
pub mod media_type {
    /// A terminal's bytes, or what is not framed.
    pub const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
    /// Framed streams, since 1.42.
    pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";
    /// JSON, one value or many.
    pub const JSON: &str = "application/json";
    /// JSON values in lines.
    pub const NDJSON: &str = "application/x-ndjson";
    /// The same by another name.
    pub const JSONL: &str = "application/jsonl";
    /// JSON values, each after a record separator (RFC 7464).
    pub const JSON_SEQ: &str = "application/json-seq";
    /// Archives.
    pub const TAR: &str = "application/x-tar";
}
