//! `io.containerd.cgroups.v1.Metrics`, as containerd/cgroups v3.0 `cgroup1` fills it.

use std::collections::BTreeMap;

use gantry_cgroup::stats::{BlkioEntry, Cpu, Memory, MemoryEntry, RdmaEntry, Stats};
use gantry_proto_shim::metrics_v1 as out;

/// The names of devices by their numbers.
pub(super) type Devices = BTreeMap<(u64, u64), String>;

/// Reads `/proc/partitions`: a heading, an empty line, and lines of `major minor #blocks name`.
pub(super) fn devices(partitions: &str) -> Devices {
    let mut devices = Devices::new();
    for line in partitions.lines().skip(2) {
        let mut words = line.split_ascii_whitespace();
        let mut number = || words.next()?.parse().ok();
        let (Some(major), Some(minor)) = (number(), number()) else { continue };
        if let Some(name) = words.nth(1) {
            devices.entry((major, minor)).or_insert_with(|| format!("/dev/{name}"));
        }
    }
    devices
}

pub(super) fn metrics(stats: &Stats, devices: &Devices) -> out::Metrics {
    let memory = &stats.memory;
    let hugetlb = stats.hugetlb.iter().map(|(size, pages)| out::HugetlbStat {
        usage: pages.in_use.usage,
        max: pages.in_use.max,
        failcnt: pages.in_use.failcnt,
        pagesize: size.clone(),
    });
    let event = |key: &str| memory.events.get(key).copied().unwrap_or_default();
    let oom_control = || out::MemoryOomControl {
        oom_kill_disable: event("oom_kill_disable"),
        under_oom: event("under_oom"),
        oom_kill: event("oom_kill"),
    };
    let rdma = || out::RdmaStat { current: rdma(&stats.rdma.current), limit: rdma(&stats.rdma.limit) };
    out::Metrics {
        hugetlb: hugetlb.collect(),
        pids: Some(out::PidsStat { current: stats.pids.current, limit: stats.pids.limit }),
        cpu: Some(cpu(&stats.cpu)),
        memory: Some(self::memory(memory)),
        blkio: Some(blkio(stats, devices)),
        rdma: (!stats.rdma.current.is_empty()).then(rdma),
        network: Vec::new(),
        cgroup_stats: None,
        memory_oom_control: (!memory.events.is_empty()).then(oom_control),
    }
}

fn cpu(cpu: &Cpu) -> out::CpuStat {
    out::CpuStat {
        usage: Some(out::CpuUsage {
            total: cpu.usage.total,
            kernel: cpu.usage.kernel,
            user: cpu.usage.user,
            per_cpu: cpu.usage.percpu.clone(),
        }),
        throttling: Some(out::Throttle {
            periods: cpu.throttling.periods,
            throttled_periods: cpu.throttling.throttled_periods,
            throttled_time: cpu.throttling.throttled_time,
        }),
    }
}

fn memory(memory: &Memory) -> out::MemoryStat {
    let stat = |key: &str| memory.raw.get(key).copied().unwrap_or_default();
    out::MemoryStat {
        cache: stat("cache"),
        rss: stat("rss"),
        rss_huge: stat("rss_huge"),
        mapped_file: stat("mapped_file"),
        dirty: stat("dirty"),
        writeback: stat("writeback"),
        pg_pg_in: stat("pgpgin"),
        pg_pg_out: stat("pgpgout"),
        pg_fault: stat("pgfault"),
        pg_maj_fault: stat("pgmajfault"),
        inactive_anon: stat("inactive_anon"),
        active_anon: stat("active_anon"),
        inactive_file: stat("inactive_file"),
        active_file: stat("active_file"),
        unevictable: stat("unevictable"),
        hierarchical_memory_limit: stat("hierarchical_memory_limit"),
        hierarchical_swap_limit: stat("hierarchical_memsw_limit"),
        total_cache: stat("total_cache"),
        total_rss: stat("total_rss"),
        total_rss_huge: stat("total_rss_huge"),
        total_mapped_file: stat("total_mapped_file"),
        total_dirty: stat("total_dirty"),
        total_writeback: stat("total_writeback"),
        total_pg_pg_in: stat("total_pgpgin"),
        total_pg_pg_out: stat("total_pgpgout"),
        total_pg_fault: stat("total_pgfault"),
        total_pg_maj_fault: stat("total_pgmajfault"),
        total_inactive_anon: stat("total_inactive_anon"),
        total_active_anon: stat("total_active_anon"),
        total_inactive_file: stat("total_inactive_file"),
        total_active_file: stat("total_active_file"),
        total_unevictable: stat("total_unevictable"),
        usage: Some(entry(&memory.usage)),
        swap: Some(entry(&memory.swap)),
        kernel: Some(entry(&memory.kernel)),
        kernel_tcp: Some(entry(&memory.kernel_tcp)),
    }
}

fn entry(entry: &MemoryEntry) -> out::MemoryEntry {
    out::MemoryEntry { limit: entry.limit, usage: entry.usage, max: entry.max, failcnt: entry.failcnt }
}

fn blkio(stats: &Stats, devices: &Devices) -> out::BlkIoStat {
    let table = |entries: &[BlkioEntry]| -> Vec<out::BlkIoEntry> {
        let each = entries.iter().map(|entry| out::BlkIoEntry {
            op: entry.op.clone(),
            device: devices.get(&(entry.major, entry.minor)).cloned().unwrap_or_default(),
            major: entry.major,
            minor: entry.minor,
            value: entry.value,
        });
        each.collect()
    };
    let io = &stats.blkio;
    out::BlkIoStat {
        io_service_bytes_recursive: table(&io.io_service_bytes_recursive),
        io_serviced_recursive: table(&io.io_serviced_recursive),
        io_queued_recursive: table(&io.io_queued_recursive),
        io_service_time_recursive: table(&io.io_service_time_recursive),
        io_wait_time_recursive: table(&io.io_wait_time_recursive),
        io_merged_recursive: table(&io.io_merged_recursive),
        io_time_recursive: table(&io.io_time_recursive),
        sectors_recursive: table(&io.sectors_recursive),
    }
}

fn rdma(entries: &[RdmaEntry]) -> Vec<out::RdmaEntry> {
    let each = entries.iter().map(|entry| out::RdmaEntry {
        device: entry.device.clone(),
        hca_handles: entry.hca_handles,
        hca_objects: entry.hca_objects,
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use gantry_cgroup::stats::Hugetlb;

    use super::*;

    #[test]
    fn devices_have_the_first_of_their_names() {
        let text = "major minor  #blocks  name\n\n   8        0   10485760 sda\n 253        0       1024 dm-0\n   8 0 1 again\nodd\n";
        let devices = devices(text);
        assert_eq!(devices.get(&(8, 0)).map(String::as_str), Some("/dev/sda"));
        assert_eq!(devices.get(&(253, 0)).map(String::as_str), Some("/dev/dm-0"));
        assert_eq!(devices.len(), 2);
    }

    #[test]
    fn figures_find_their_fields() {
        let mut stats = Stats::default();
        stats.cpu.usage.percpu = vec![1, 2];
        stats.memory.raw = [("hierarchical_memsw_limit".to_owned(), 5), ("total_rss".to_owned(), 6)].into();
        stats.memory.usage = MemoryEntry { limit: 1, usage: 2, max: 3, failcnt: 4 };
        stats.memory.events = [("oom_kill".to_owned(), 7)].into();
        let entry = BlkioEntry { major: 8, minor: 1, op: "Read".into(), value: 9 };
        stats.blkio.io_serviced_recursive = vec![entry];
        let in_use = MemoryEntry { usage: 10, ..MemoryEntry::default() };
        stats.hugetlb.insert("2MB".into(), Hugetlb { usage: 99, in_use, ..Hugetlb::default() });
        let metrics = metrics(&stats, &Devices::from([((8, 1), "/dev/sda1".to_owned())]));
        let memory = metrics.memory.unwrap();
        assert_eq!((memory.hierarchical_swap_limit, memory.total_rss), (5, 6));
        assert_eq!(memory.usage, Some(out::MemoryEntry { limit: 1, usage: 2, max: 3, failcnt: 4 }));
        assert_eq!(metrics.memory_oom_control.unwrap().oom_kill, 7);
        assert_eq!(metrics.cpu.unwrap().usage.unwrap().per_cpu, [1, 2]);
        let io = &metrics.blkio.unwrap().io_serviced_recursive[0];
        assert_eq!((io.device.as_str(), io.op.as_str(), io.value), ("/dev/sda1", "Read", 9));
        assert_eq!((metrics.hugetlb[0].usage, metrics.hugetlb[0].pagesize.as_str()), (10, "2MB"));
        assert!(metrics.rdma.is_none());
    }
}
