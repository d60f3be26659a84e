//! The JSON of runc's `types/events.go`: the same names, and the same fields left out when they are zero. Objects are
//! there even if all in them is zero, as before runc 1.5, for readers that do not decode into a structure.

use std::collections::BTreeMap;

use serde::Serialize;

/// The `data` of an event of type `stats`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    /// CPU time.
    pub cpu: Cpu,
    /// CPUs and memory nodes; only of cgroup v1.
    pub cpuset: Cpuset,
    /// Memory.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Block I/O.
    pub blkio: Blkio,
    /// Huge pages, by size.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// Resource director; filled by the runtime.
    pub intel_rdt: serde_json::Map<String, serde_json::Value>,
    /// Interfaces; filled by whoever knows the network.
    pub network_interfaces: Option<Vec<NetworkInterface>>,
    /// RDMA devices; runc does not tell of them.
    #[serde(skip)]
    pub rdma: Rdma,
}

/// CPU time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Time used.
    pub usage: CpuUsage,
    /// Time refused.
    pub throttling: Throttling,
    /// Pressure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// Time used, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    /// In all.
    #[serde(skip_serializing_if = "is_default")]
    pub total: u64,
    /// By CPU.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// By CPU, in the kernel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// By CPU, outside the kernel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// Outside the kernel.
    pub user: u64,
}

/// Time refused by the quota.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods with a limit.
    #[serde(skip_serializing_if = "is_default")]
    pub periods: u64,
    /// Periods in which it was reached.
    #[serde(skip_serializing_if = "is_default")]
    pub throttled_periods: u64,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub throttled_time: u64,
    /// Periods in which more than the quota was used; only of cgroup v2.
    #[serde(skip)]
    pub bursts: u64,
    /// Nanoseconds.
    #[serde(skip)]
    pub burst_time: u64,
}

/// The cpuset controller of cgroup v1.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "each is the file of that name")]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Page cache.
    #[serde(skip_serializing_if = "is_default")]
    pub cache: u64,
    /// Memory.
    pub usage: MemoryEntry,
    /// Memory and swap together, as in cgroup v1.
    pub swap: MemoryEntry,
    /// The kernel's; only of cgroup v1.
    pub kernel: MemoryEntry,
    /// The kernel's TCP buffers; only of cgroup v1.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Pressure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
    /// Swap alone; only of cgroup v2.
    #[serde(skip)]
    pub swap_alone: MemoryEntry,
    /// `memory.oom_control` of cgroup v1, `memory.events` of v2.
    #[serde(skip)]
    pub events: BTreeMap<String, u64>,
}

/// One kind of memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MemoryEntry {
    /// The limit; the largest number is none.
    pub limit: u64,
    /// Used.
    #[serde(skip_serializing_if = "is_default")]
    pub usage: u64,
    /// The most that was ever used.
    #[serde(skip_serializing_if = "is_default")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pids {
    /// How many.
    #[serde(skip_serializing_if = "is_default")]
    pub current: u64,
    /// At most; 0 is no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub limit: u64,
}

/// Block I/O.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each is the file of that name")]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// A number about one device.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BlkioEntry {
    /// Major number.
    #[serde(skip_serializing_if = "is_default")]
    pub major: u64,
    /// Minor number.
    #[serde(skip_serializing_if = "is_default")]
    pub minor: u64,
    /// `Read`, `Write`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// Bytes, operations or nanoseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Hugetlb {
    /// Used.
    #[serde(skip_serializing_if = "is_default")]
    pub usage: u64,
    /// The most that was ever used; only of cgroup v1.
    #[serde(skip_serializing_if = "is_default")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
    /// The same of pages in use alone, without those that are only reserved.
    #[serde(skip)]
    pub in_use: MemoryEntry,
}

/// RDMA devices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rdma {
    /// What is in use.
    pub current: Vec<RdmaEntry>,
    /// What may be; the largest number is no limit.
    pub limit: Vec<RdmaEntry>,
}

/// Resources of one RDMA device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RdmaEntry {
    /// The device.
    pub device: String,
    /// Handles.
    pub hca_handles: u32,
    /// Objects.
    pub hca_objects: u32,
}

/// Pressure stall information.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Psi {
    /// Some tasks waited.
    #[serde(skip_serializing_if = "is_default")]
    pub some: PsiData,
    /// All tasks waited.
    #[serde(skip_serializing_if = "is_default")]
    pub full: PsiData,
}

/// How much was waited.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PsiData {
    /// Per cent of the last 10 seconds.
    pub avg10: f64,
    /// Per cent of the last minute.
    pub avg60: f64,
    /// Per cent of the last five minutes.
    pub avg300: f64,
    /// Microseconds.
    pub total: u64,
}

/// Counters of a network interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "each is the counter of that name")]
pub struct NetworkInterface {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_looks_as_it_does_in_runc() {
        let json = serde_json::to_string(&Stats::default()).unwrap();
        let expect =
            r#"{"cpu":{"usage":{"kernel":0,"user":0},"throttling":{}},"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"#
                .to_owned()
                + r#""mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"#
                + r#""memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},"memory":{"#
                + r#""usage":{"limit":0,"failcnt":0},"swap":{"limit":0,"failcnt":0},"kernel":{"limit":0,"failcnt":0},"#
                + r#""kernelTCP":{"limit":0,"failcnt":0}},"pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"#
                + r#""network_interfaces":null}"#;
        assert_eq!(json, expect);
    }

    #[test]
    fn the_names_are_those_of_runc() {
        let entry = BlkioEntry { major: 8, op: "Read".into(), value: 5, ..BlkioEntry::default() };
        let stats = Stats {
            cpu: Cpu {
                usage: CpuUsage { total: 3, percpu: vec![1, 2], ..CpuUsage::default() },
                throttling: Throttling { throttled_periods: 1, ..Throttling::default() },
                psi: None,
            },
            memory: Memory {
                kernel_tcp: MemoryEntry { limit: 7, ..MemoryEntry::default() },
                ..Memory::default()
            },
            blkio: Blkio { io_queued_recursive: vec![entry], ..Blkio::default() },
            network_interfaces: Some(vec![NetworkInterface { name: "eth0".into(), ..Default::default() }]),
            ..Stats::default()
        };
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(json["cpu"]["usage"], serde_json::json!({"total":3,"percpu":[1,2],"kernel":0,"user":0}));
        assert_eq!(json["cpu"]["throttling"], serde_json::json!({"throttledPeriods":1}));
        assert_eq!(json["memory"]["kernelTCP"], serde_json::json!({"limit":7,"failcnt":0}));
        assert_eq!(
            json["blkio"]["ioQueueRecursive"][0],
            serde_json::json!({"major":8,"op":"Read","value":5})
        );
        assert_eq!(json["network_interfaces"][0]["RxBytes"], 0);
    }
}
