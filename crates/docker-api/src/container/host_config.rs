//! The part of a container that depends on the host it runs on.

use crate::wire::{List, Map, Words, wire};

use super::Resources;

/// Container ports (`80/tcp`) and where they are published.
pub type PortMap = Map<List<PortBinding>>;

wire! {
    /// What of the host a container gets, and what it may do there.
    pub struct HostConfig {
        put "Binds" binds: List<String>,
        put "ContainerIDFile" container_id_file: String,
        put "LogConfig" log_config: LogConfig,
        /// `default`, `bridge`, `host`, `none`, `container:<id>`, or a network's name.
        put "NetworkMode" network_mode: String,
        put "PortBindings" port_bindings: PortMap,
        put "RestartPolicy" restart_policy: RestartPolicy,
        put "AutoRemove" auto_remove: bool,
        put "VolumeDriver" volume_driver: String,
        put "VolumesFrom" volumes_from: List<String>,
        /// Height and width.
        put "ConsoleSize" console_size: [u32; 2],
        /// Since 1.43.
        omit "Annotations" annotations: Map<String>,
        put "CapAdd" cap_add: Words,
        put "CapDrop" cap_drop: Words,
        put "CgroupnsMode" cgroupns_mode: String,
        put "Dns" dns: List<String>,
        put "DnsOptions" dns_options: List<String>,
        put "DnsSearch" dns_search: List<String>,
        put "ExtraHosts" extra_hosts: List<String>,
        put "GroupAdd" group_add: List<String>,
        put "IpcMode" ipc_mode: String,
        put "Cgroup" cgroup: String,
        put "Links" links: List<String>,
        put "OomScoreAdj" oom_score_adj: i64,
        put "PidMode" pid_mode: String,
        put "Privileged" privileged: bool,
        put "PublishAllPorts" publish_all_ports: bool,
        put "ReadonlyRootfs" readonly_rootfs: bool,
        put "SecurityOpt" security_opt: List<String>,
        omit "StorageOpt" storage_opt: Map<String>,
        omit "Tmpfs" tmpfs: Map<String>,
        put "UTSMode" uts_mode: String,
        put "UsernsMode" userns_mode: String,
        /// Bytes.
        put "ShmSize" shm_size: i64,
        omit "Sysctls" sysctls: Map<String>,
        omit "Runtime" runtime: String,
        put "Isolation" isolation: String,
        /// Its fields stand among the others.
        flat resources: Resources,
        omit "Mounts" mounts: List<Mount>,
        /// `null` is the default list, `[]` none.
        put "MaskedPaths" masked_paths: List<String>,
        /// `null` is the default list, `[]` none.
        put "ReadonlyPaths" readonly_paths: List<String>,
        omit "Init" init: Option<bool>,
    }
}

wire! {
    /// Where a container's output goes.
    pub struct LogConfig {
        put "Type" kind: String,
        put "Config" config: Map<String>,
    }
}

wire! {
    /// Where a port is published.
    pub struct PortBinding {
        put "HostIp" host_ip: String,
        /// A port, a range, or empty for any.
        put "HostPort" host_port: String,
    }
}

wire! {
    /// What happens when a container ends.
    pub struct RestartPolicy {
        /// `no` or empty, `always`, `unless-stopped`, `on-failure`.
        put "Name" name: String,
        put "MaximumRetryCount" maximum_retry_count: i64,
    }
}

wire! {
    /// A mount in the long form.
    pub struct Mount {
        /// `bind`, `volume`, `tmpfs`, `image`, `cluster` or `npipe`.
        omit "Type" kind: String,
        omit "Source" source: String,
        omit "Target" target: String,
        omit "ReadOnly" read_only: bool,
        omit "Consistency" consistency: String,
        omit "BindOptions" bind_options: Option<BindOptions>,
        omit "VolumeOptions" volume_options: Option<VolumeOptions>,
        /// Since 1.48.
        omit "ImageOptions" image_options: Option<ImageOptions>,
        omit "TmpfsOptions" tmpfs_options: Option<TmpfsOptions>,
    }
}

wire! {
    /// Of bind mounts.
    pub struct BindOptions {
        omit "Propagation" propagation: String,
        omit "NonRecursive" non_recursive: bool,
        omit "CreateMountpoint" create_mountpoint: bool,
        /// Since 1.44.
        omit "ReadOnlyNonRecursive" read_only_non_recursive: bool,
        /// Since 1.44.
        omit "ReadOnlyForceRecursive" read_only_force_recursive: bool,
    }
}

wire! {
    /// Of volumes.
    pub struct VolumeOptions {
        omit "NoCopy" no_copy: bool,
        omit "Labels" labels: Map<String>,
        /// Since 1.45.
        omit "Subpath" subpath: String,
        omit "DriverConfig" driver_config: Option<DriverConfig>,
    }
}

wire! {
    /// Who makes a volume, and how.
    pub struct DriverConfig {
        omit "Name" name: String,
        omit "Options" options: Map<String>,
    }
}

wire! {
    /// Of images that are mounted.
    pub struct ImageOptions {
        omit "Subpath" subpath: String,
    }
}

wire! {
    /// Of tmpfs mounts.
    pub struct TmpfsOptions {
        omit "SizeBytes" size_bytes: i64,
        /// The mode's number, in decimal as JSON has it.
        omit "Mode" mode: u32,
        /// Since 1.46: each a name, or a name and a value.
        omit "Options" options: List<List<String>>,
    }
}
