//! Counters.

use gantry_docker_api::container::{
    BlkioEntry, BlkioStats, ContainerStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats,
    ThrottlingData,
};
use gantry_docker_api::{ApiVersion, List, Map, timestamp};
use gantry_engine::{Record, Stats, Traffic};

use super::time;

const V1_51: ApiVersion = ApiVersion::new(1, 51);

/// The counters of a container that does not run.
pub(crate) fn empty(record: &Record, version: ApiVersion) -> ContainerStats {
    ContainerStats {
        read: timestamp::ZERO.to_owned(),
        preread: timestamp::ZERO.to_owned(),
        storage_stats: Map::empty(),
        name: format!("/{}", record.name),
        id: record.id.clone(),
        os_type: os_type(version),
        ..ContainerStats::default()
    }
}

fn os_type(version: ApiVersion) -> String {
    if version > V1_51 { "linux".to_owned() } else { String::new() }
}

/// Counters, and those before them.
pub(crate) fn stats(
    record: &Record,
    now: &Stats,
    before: Option<&Stats>,
    version: ApiVersion,
) -> ContainerStats {
    ContainerStats {
        read: time(Some(now.read)),
        preread: time(before.map(|before| before.read)),
        pids_stats: PidsStats { current: now.pids, limit: now.pids_limit },
        blkio_stats: blkio(now),
        cpu_stats: cpu(now),
        precpu_stats: before.map(cpu).unwrap_or_default(),
        memory_stats: memory(now),
        networks: networks(now),
        ..empty(record, version)
    }
}

fn cpu(stats: &Stats) -> CpuStats {
    let (periods, throttled_periods, throttled_time) = stats.throttling;
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: stats.cpu_total,
            percpu_usage: stats.cpu_each.clone().into(),
            usage_in_kernelmode: stats.cpu_system,
            usage_in_usermode: stats.cpu_user,
        },
        system_cpu_usage: stats.machine_cpu,
        online_cpus: stats.online_cpus,
        throttling_data: ThrottlingData { periods, throttled_periods, throttled_time },
    }
}

fn memory(stats: &Stats) -> MemoryStats {
    MemoryStats {
        usage: stats.memory_usage,
        max_usage: stats.memory_peak,
        stats: stats.memory.clone().into(),
        failcnt: stats.memory_failures,
        limit: stats.memory_limit,
    }
}

fn blkio(stats: &Stats) -> BlkioStats {
    let list = |counters: &[(u64, u64, String, u64)]| {
        let entry = |(major, minor, op, value): &(u64, u64, String, u64)| BlkioEntry {
            major: *major,
            minor: *minor,
            op: op.clone(),
            value: *value,
        };
        counters.iter().map(entry).collect::<List<_>>()
    };
    // What cgroup v2 does not count is null there, and empty in version 1.
    let others = || if stats.unified { List::default() } else { List::empty() };
    BlkioStats {
        io_service_bytes_recursive: list(&stats.io_bytes),
        io_serviced_recursive: if stats.unified { List::default() } else { list(&stats.io_operations) },
        io_queue_recursive: others(),
        io_service_time_recursive: others(),
        io_wait_time_recursive: others(),
        io_merged_recursive: others(),
        io_time_recursive: others(),
        sectors_recursive: others(),
    }
}

fn networks(stats: &Stats) -> Map<NetworkStats> {
    let counters = |traffic: &Traffic| NetworkStats {
        rx_bytes: traffic.rx_bytes,
        rx_packets: traffic.rx_packets,
        rx_errors: traffic.rx_errors,
        rx_dropped: traffic.rx_dropped,
        tx_bytes: traffic.tx_bytes,
        tx_packets: traffic.tx_packets,
        tx_errors: traffic.tx_errors,
        tx_dropped: traffic.tx_dropped,
    };
    stats.networks.iter().map(|(name, traffic)| (name.clone(), counters(traffic))).collect()
}
