//! Counters of a running container.

use crate::wire::{List, Map, wire};

wire! {
    /// An answer to `GET /containers/{id}/stats`.
    pub struct ContainerStats {
        put "read" read: String,
        put "preread" preread: String,
        put "pids_stats" pids_stats: PidsStats,
        put "blkio_stats" blkio_stats: BlkioStats,
        put "num_procs" num_procs: u32,
        put "storage_stats" storage_stats: Map<u64>,
        put "cpu_stats" cpu_stats: CpuStats,
        put "precpu_stats" precpu_stats: CpuStats,
        put "memory_stats" memory_stats: MemoryStats,
        omit "name" name: String,
        omit "id" id: String,
        /// Since 1.51.
        omit "os_type" os_type: String,
        omit "networks" networks: Map<NetworkStats>,
    }
}

wire! {
    /// Processes and threads.
    pub struct PidsStats {
        omit "current" current: u64,
        omit "limit" limit: u64,
    }
}

wire! {
    /// Input and output of block devices.
    pub struct BlkioStats {
        put "io_service_bytes_recursive" io_service_bytes_recursive: List<BlkioEntry>,
        put "io_serviced_recursive" io_serviced_recursive: List<BlkioEntry>,
        put "io_queue_recursive" io_queue_recursive: List<BlkioEntry>,
        put "io_service_time_recursive" io_service_time_recursive: List<BlkioEntry>,
        put "io_wait_time_recursive" io_wait_time_recursive: List<BlkioEntry>,
        put "io_merged_recursive" io_merged_recursive: List<BlkioEntry>,
        put "io_time_recursive" io_time_recursive: List<BlkioEntry>,
        put "sectors_recursive" sectors_recursive: List<BlkioEntry>,
    }
}

wire! {
    /// A counter of one device and operation.
    pub struct BlkioEntry {
        put "major" major: u64,
        put "minor" minor: u64,
        put "op" op: String,
        put "value" value: u64,
    }
}

wire! {
    /// Time of processors.
    pub struct CpuStats {
        put "cpu_usage" cpu_usage: CpuUsage,
        /// Of the whole machine, nanoseconds.
        omit "system_cpu_usage" system_cpu_usage: u64,
        omit "online_cpus" online_cpus: u32,
        put "throttling_data" throttling_data: ThrottlingData,
    }
}

wire! {
    /// Nanoseconds.
    pub struct CpuUsage {
        put "total_usage" total_usage: u64,
        omit "percpu_usage" percpu_usage: List<u64>,
        put "usage_in_kernelmode" usage_in_kernelmode: u64,
        put "usage_in_usermode" usage_in_usermode: u64,
    }
}

wire! {
    /// How the quota worked.
    pub struct ThrottlingData {
        put "periods" periods: u64,
        put "throttled_periods" throttled_periods: u64,
        put "throttled_time" throttled_time: u64,
    }
}

wire! {
    /// Memory, in bytes.
    pub struct MemoryStats {
        omit "usage" usage: u64,
        omit "max_usage" max_usage: u64,
        omit "stats" stats: Map<u64>,
        omit "failcnt" failcnt: u64,
        omit "limit" limit: u64,
    }
}

wire! {
    /// One interface.
    pub struct NetworkStats {
        put "rx_bytes" rx_bytes: u64,
        put "rx_packets" rx_packets: u64,
        put "rx_errors" rx_errors: u64,
        put "rx_dropped" rx_dropped: u64,
        put "tx_bytes" tx_bytes: u64,
        put "tx_packets" tx_packets: u64,
        put "tx_errors" tx_errors: u64,
        put "tx_dropped" tx_dropped: u64,
    }
}
