//! What a container uses, in docker's measures, whatever the version of cgroups.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_proto_shim::Message as _;
use gantry_proto_shim::{metrics_v1, metrics_v2};
use jiff::Timestamp;

use super::Container;
use crate::{Engine, Error, Result};

const MICROSECONDS: u64 = 1000;
/// The kernel's USER_HZ, which is the same everywhere.
const TICKS_PER_SECOND: u64 = 100;

/// What a container uses at a moment. Times are in nanoseconds, sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// When.
    pub read: Timestamp,
    /// Processor time.
    pub cpu_total: u64,
    /// Of that in user mode.
    pub cpu_user: u64,
    /// Of that in the kernel.
    pub cpu_system: u64,
    /// By processor; cgroup v1 alone.
    pub cpu_each: Vec<u64>,
    /// Of the whole machine.
    pub machine_cpu: u64,
    /// Processors of the machine.
    pub online_cpus: u32,
    /// Periods of a quota, those in which it ran out, and for how long.
    pub throttling: (u64, u64, u64),
    /// Memory.
    pub memory_usage: u64,
    /// The most there was; cgroup v1 alone.
    pub memory_peak: u64,
    /// The limit; the machine's memory where there is none.
    pub memory_limit: u64,
    /// How often the limit was met.
    pub memory_failures: u64,
    /// The kernel's counters by their names.
    pub memory: BTreeMap<String, u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Their limit; 0 for none.
    pub pids_limit: u64,
    /// Block devices: major, minor, operation, bytes.
    pub io_bytes: Vec<(u64, u64, String, u64)>,
    /// Block devices: major, minor, operation, how many.
    pub io_operations: Vec<(u64, u64, String, u64)>,
    /// Network devices by name; nothing for a container without a network of its own.
    pub networks: BTreeMap<String, Traffic>,
    /// Whether the counters are those of cgroup v2.
    pub unified: bool,
}

/// What went through a network device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that came.
    pub rx_bytes: u64,
    /// Packets that came.
    pub rx_packets: u64,
    /// Packets that came damaged.
    pub rx_errors: u64,
    /// Packets that had no place.
    pub rx_dropped: u64,
    /// Bytes that went.
    pub tx_bytes: u64,
    /// Packets that went.
    pub tx_packets: u64,
    /// Packets that could not go.
    pub tx_errors: u64,
    /// Packets that had no place.
    pub tx_dropped: u64,
}

impl Engine {
    /// What a container uses; None for one that does not run.
    ///
    /// # Errors
    /// What the shim says.
    pub async fn container_stats(&self, container: &Arc<Container>) -> Result<Option<Stats>> {
        let record = container.record();
        if !record.state.status.is_alive() {
            return Ok(None);
        }
        let (namespace, id) = container.key();
        let found = self.shared.tasks.metrics(&namespace, vec![format!("id=={id}")]).await?;
        let Some(metric) = found.into_iter().next() else { return Ok(None) };
        let mut stats = if metric.data.type_url.contains("v2") {
            metrics_v2::Metrics::decode(metric.data.value.as_slice()).map(of_v2)
        } else {
            metrics_v1::Metrics::decode(metric.data.value.as_slice()).map(of_v1)
        }
        .map_err(|error| Error::Conflict(format!("the counters of {id} cannot be read: {error}")))?;
        let (pid, own_network) = (record.state.pid, record.endpoint.is_some());
        self.blocking("reading counters", move || {
            machine(&mut stats);
            if own_network {
                stats.networks =
                    traffic(&std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default());
            }
            Ok(Some(stats))
        })
        .await
    }
}

fn machine(stats: &mut Stats) {
    stats.read = Timestamp::now();
    let all = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = all.lines().next().unwrap_or_default();
    // The time of guests is in that of user mode already.
    let ticks: u64 =
        first.split_whitespace().skip(1).take(8).filter_map(|word| word.parse::<u64>().ok()).sum();
    stats.machine_cpu = ticks * (1_000_000_000 / TICKS_PER_SECOND);
    let cpus = all.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
    stats.online_cpus = u32::try_from(cpus).unwrap_or(0);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10;
    if stats.memory_limit == 0 || stats.memory_limit > total {
        stats.memory_limit = total;
    }
}

/// `/proc/PID/net/dev`: proc_pid_net(5).
fn traffic(text: &str) -> BTreeMap<String, Traffic> {
    let device = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let name = name.trim();
        let counters: Vec<u64> = counters.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let &[
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            _,
            _,
            _,
            _,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
            ..,
        ] = &counters[..]
        else {
            return None;
        };
        let traffic = Traffic {
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
        };
        (name != "lo").then(|| (name.to_owned(), traffic))
    };
    text.lines().filter_map(device).collect()
}

fn of_v1(metrics: metrics_v1::Metrics) -> Stats {
    let mut stats = Stats::default();
    if let Some(cpu) = metrics.cpu {
        let usage = cpu.usage.unwrap_or_default();
        (stats.cpu_total, stats.cpu_user, stats.cpu_system) = (usage.total, usage.user, usage.kernel);
        stats.cpu_each = usage.per_cpu;
        let throttling = cpu.throttling.unwrap_or_default();
        stats.throttling = (throttling.periods, throttling.throttled_periods, throttling.throttled_time);
    }
    if let Some(memory) = metrics.memory {
        let usage = memory.usage.clone().unwrap_or_default();
        (stats.memory_usage, stats.memory_peak) = (usage.usage, usage.max);
        (stats.memory_limit, stats.memory_failures) = (usage.limit, usage.failcnt);
        let counters = [
            ("cache", memory.cache),
            ("rss", memory.rss),
            ("rss_huge", memory.rss_huge),
            ("mapped_file", memory.mapped_file),
            ("dirty", memory.dirty),
            ("writeback", memory.writeback),
            ("pgpgin", memory.pg_pg_in),
            ("pgpgout", memory.pg_pg_out),
            ("pgfault", memory.pg_fault),
            ("pgmajfault", memory.pg_maj_fault),
            ("inactive_anon", memory.inactive_anon),
            ("active_anon", memory.active_anon),
            ("inactive_file", memory.inactive_file),
            ("active_file", memory.active_file),
            ("unevictable", memory.unevictable),
            ("hierarchical_memory_limit", memory.hierarchical_memory_limit),
            ("total_cache", memory.total_cache),
            ("total_rss", memory.total_rss),
            ("total_inactive_file", memory.total_inactive_file),
            ("total_active_file", memory.total_active_file),
            ("total_pgfault", memory.total_pg_fault),
            ("total_pgmajfault", memory.total_pg_maj_fault),
        ];
        stats.memory = counters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    }
    if let Some(pids) = metrics.pids {
        (stats.pids, stats.pids_limit) = (pids.current, pids.limit);
    }
    if let Some(io) = metrics.blkio {
        let entry =
            |entry: metrics_v1::BlkIoEntry| (entry.major, entry.minor, entry.op.to_lowercase(), entry.value);
        stats.io_bytes = io.io_service_bytes_recursive.into_iter().map(entry).collect();
        stats.io_operations = io.io_serviced_recursive.into_iter().map(entry).collect();
    }
    stats
}

fn of_v2(metrics: metrics_v2::Metrics) -> Stats {
    let mut stats = Stats { unified: true, ..Stats::default() };
    if let Some(cpu) = metrics.cpu {
        let [total, user, system] =
            [cpu.usage_usec, cpu.user_usec, cpu.system_usec].map(|time| time * MICROSECONDS);
        (stats.cpu_total, stats.cpu_user, stats.cpu_system) = (total, user, system);
        stats.throttling = (cpu.nr_periods, cpu.nr_throttled, cpu.throttled_usec * MICROSECONDS);
    }
    if let Some(memory) = metrics.memory {
        (stats.memory_usage, stats.memory_limit) = (memory.usage, memory.usage_limit);
        stats.memory_failures = metrics.memory_events.map_or(0, |events| events.max);
        let counters = [
            ("anon", memory.anon),
            ("file", memory.file),
            ("kernel_stack", memory.kernel_stack),
            ("slab", memory.slab),
            ("sock", memory.sock),
            ("shmem", memory.shmem),
            ("file_mapped", memory.file_mapped),
            ("file_dirty", memory.file_dirty),
            ("file_writeback", memory.file_writeback),
            ("anon_thp", memory.anon_thp),
            ("inactive_anon", memory.inactive_anon),
            ("active_anon", memory.active_anon),
            ("inactive_file", memory.inactive_file),
            ("active_file", memory.active_file),
            ("unevictable", memory.unevictable),
            ("slab_reclaimable", memory.slab_reclaimable),
            ("slab_unreclaimable", memory.slab_unreclaimable),
            ("pgfault", memory.pgfault),
            ("pgmajfault", memory.pgmajfault),
            ("workingset_refault", memory.workingset_refault),
            ("workingset_activate", memory.workingset_activate),
            ("workingset_nodereclaim", memory.workingset_nodereclaim),
            ("pgrefill", memory.pgrefill),
            ("pgscan", memory.pgscan),
            ("pgsteal", memory.pgsteal),
            ("pgactivate", memory.pgactivate),
            ("pgdeactivate", memory.pgdeactivate),
            ("pglazyfree", memory.pglazyfree),
            ("pglazyfreed", memory.pglazyfreed),
            ("thp_fault_alloc", memory.thp_fault_alloc),
            ("thp_collapse_alloc", memory.thp_collapse_alloc),
        ];
        stats.memory = counters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    }
    if let Some(pids) = metrics.pids {
        (stats.pids, stats.pids_limit) = (pids.current, pids.limit);
    }
    for entry in metrics.io.into_iter().flat_map(|io| io.usage) {
        let of = |operation: &str, value: u64| (entry.major, entry.minor, operation.to_owned(), value);
        stats.io_bytes.extend([of("read", entry.rbytes), of("write", entry.wbytes)]);
        stats.io_operations.extend([of("read", entry.rios), of("write", entry.wios)]);
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_read_by_device() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n";
        let found = traffic(text);
        assert_eq!(found.len(), 1);
        assert_eq!((found["eth0"].rx_bytes, found["eth0"].tx_bytes, found["eth0"].tx_dropped), (10, 50, 8));
    }
}
