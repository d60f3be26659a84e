//! Limits of a container: part of its host configuration, and what an update changes.

use crate::wire::{List, Map, wire};

wire! {
    /// Limits. Sizes are bytes, zero is "none".
    pub struct Resources {
        put "CpuShares" cpu_shares: i64,
        put "Memory" memory: i64,
        put "NanoCpus" nano_cpus: i64,
        put "CgroupParent" cgroup_parent: String,
        put "BlkioWeight" blkio_weight: u16,
        put "BlkioWeightDevice" blkio_weight_device: List<WeightDevice>,
        put "BlkioDeviceReadBps" blkio_device_read_bps: List<ThrottleDevice>,
        put "BlkioDeviceWriteBps" blkio_device_write_bps: List<ThrottleDevice>,
        put "BlkioDeviceReadIOps" blkio_device_read_iops: List<ThrottleDevice>,
        put "BlkioDeviceWriteIOps" blkio_device_write_iops: List<ThrottleDevice>,
        /// Microseconds.
        put "CpuPeriod" cpu_period: i64,
        /// Microseconds.
        put "CpuQuota" cpu_quota: i64,
        put "CpuRealtimePeriod" cpu_realtime_period: i64,
        put "CpuRealtimeRuntime" cpu_realtime_runtime: i64,
        put "CpusetCpus" cpuset_cpus: String,
        put "CpusetMems" cpuset_mems: String,
        put "Devices" devices: List<DeviceMapping>,
        put "DeviceCgroupRules" device_cgroup_rules: List<String>,
        put "DeviceRequests" device_requests: List<DeviceRequest>,
        /// Before 1.42.
        omit "KernelMemory" kernel_memory: Option<i64>,
        /// Before 1.42.
        omit "KernelMemoryTCP" kernel_memory_tcp: Option<i64>,
        put "MemoryReservation" memory_reservation: i64,
        /// With memory; -1 is no limit.
        put "MemorySwap" memory_swap: i64,
        put "MemorySwappiness" memory_swappiness: Option<i64>,
        put "OomKillDisable" oom_kill_disable: Option<bool>,
        put "PidsLimit" pids_limit: Option<i64>,
        put "Ulimits" ulimits: List<Ulimit>,
        put "CpuCount" cpu_count: i64,
        put "CpuPercent" cpu_percent: i64,
        put "IOMaximumIOps" io_maximum_iops: u64,
        put "IOMaximumBandwidth" io_maximum_bandwidth: u64,
    }
}

wire! {
    /// A device's share of the input and output.
    pub struct WeightDevice {
        put "Path" path: String,
        put "Weight" weight: u16,
    }
}

wire! {
    /// A device's limit, in bytes or operations a second.
    pub struct ThrottleDevice {
        put "Path" path: String,
        put "Rate" rate: u64,
    }
}

wire! {
    /// A device of the host's in the container.
    pub struct DeviceMapping {
        put "PathOnHost" path_on_host: String,
        put "PathInContainer" path_in_container: String,
        put "CgroupPermissions" cgroup_permissions: String,
    }
}

wire! {
    /// Devices by what they can do (`--gpus`, CDI).
    pub struct DeviceRequest {
        put "Driver" driver: String,
        /// -1 is all.
        put "Count" count: i64,
        put "DeviceIDs" device_ids: List<String>,
        put "Capabilities" capabilities: List<List<String>>,
        put "Options" options: Map<String>,
    }
}

wire! {
    /// A resource limit of the process.
    pub struct Ulimit {
        put "Name" name: String,
        put "Hard" hard: i64,
        put "Soft" soft: i64,
    }
}
