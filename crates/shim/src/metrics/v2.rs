//! `io.containerd.cgroups.v2.Metrics`, as containerd/cgroups v3.0 `cgroup2` fills it.

use gantry_cgroup::stats::{BlkioEntry, Cpu, Memory, Psi, PsiData, RdmaEntry, Stats};
use gantry_proto_shim::metrics_v2 as out;

const NANOSECONDS: u64 = 1000;

pub(super) fn metrics(stats: &Stats) -> out::Metrics {
    let hugetlb = stats.hugetlb.iter().map(|(size, pages)| out::HugeTlbStat {
        current: pages.in_use.usage,
        max: pages.in_use.limit,
        pagesize: size.clone(),
        failcnt: pages.in_use.failcnt,
    });
    // No limit is 0 to runc, and the largest number here.
    let pids_limit = if stats.pids.limit == 0 { u64::MAX } else { stats.pids.limit };
    out::Metrics {
        pids: Some(out::PidsStat { current: stats.pids.current, limit: pids_limit }),
        cpu: Some(cpu(&stats.cpu)),
        memory: Some(memory(&stats.memory)),
        rdma: Some(out::RdmaStat { current: rdma(&stats.rdma.current), limit: rdma(&stats.rdma.limit) }),
        io: Some(io(stats)),
        hugetlb: hugetlb.collect(),
        memory_events: memory_events(&stats.memory),
        network: Vec::new(),
    }
}

fn cpu(cpu: &Cpu) -> out::CpuStat {
    out::CpuStat {
        usage_usec: cpu.usage.total / NANOSECONDS,
        user_usec: cpu.usage.user / NANOSECONDS,
        system_usec: cpu.usage.kernel / NANOSECONDS,
        nr_periods: cpu.throttling.periods,
        nr_throttled: cpu.throttling.throttled_periods,
        throttled_usec: cpu.throttling.throttled_time / NANOSECONDS,
        psi: psi(cpu.psi.as_ref()),
        nr_bursts: cpu.throttling.bursts,
        burst_usec: cpu.throttling.burst_time / NANOSECONDS,
    }
}

fn memory(memory: &Memory) -> out::MemoryStat {
    let stat = |key: &str| memory.raw.get(key).copied().unwrap_or_default();
    out::MemoryStat {
        anon: stat("anon"),
        file: stat("file"),
        kernel_stack: stat("kernel_stack"),
        slab: stat("slab"),
        sock: stat("sock"),
        shmem: stat("shmem"),
        file_mapped: stat("file_mapped"),
        file_dirty: stat("file_dirty"),
        file_writeback: stat("file_writeback"),
        anon_thp: stat("anon_thp"),
        inactive_anon: stat("inactive_anon"),
        active_anon: stat("active_anon"),
        inactive_file: stat("inactive_file"),
        active_file: stat("active_file"),
        unevictable: stat("unevictable"),
        slab_reclaimable: stat("slab_reclaimable"),
        slab_unreclaimable: stat("slab_unreclaimable"),
        pgfault: stat("pgfault"),
        pgmajfault: stat("pgmajfault"),
        workingset_refault: stat("workingset_refault"),
        workingset_activate: stat("workingset_activate"),
        workingset_nodereclaim: stat("workingset_nodereclaim"),
        pgrefill: stat("pgrefill"),
        pgscan: stat("pgscan"),
        pgsteal: stat("pgsteal"),
        pgactivate: stat("pgactivate"),
        pgdeactivate: stat("pgdeactivate"),
        pglazyfree: stat("pglazyfree"),
        pglazyfreed: stat("pglazyfreed"),
        thp_fault_alloc: stat("thp_fault_alloc"),
        thp_collapse_alloc: stat("thp_collapse_alloc"),
        usage: memory.usage.usage,
        usage_limit: memory.usage.limit,
        swap_usage: memory.swap_alone.usage,
        swap_limit: memory.swap_alone.limit,
        max_usage: memory.usage.max,
        swap_max_usage: memory.swap_alone.max,
        psi: psi(memory.psi.as_ref()),
        workingset_refault_anon: stat("workingset_refault_anon"),
        workingset_refault_file: stat("workingset_refault_file"),
        workingset_activate_anon: stat("workingset_activate_anon"),
        workingset_activate_file: stat("workingset_activate_file"),
    }
}

fn memory_events(memory: &Memory) -> Option<out::MemoryEvents> {
    let event = |key: &str| memory.events.get(key).copied().unwrap_or_default();
    let events = || out::MemoryEvents {
        low: event("low"),
        high: event("high"),
        max: event("max"),
        oom: event("oom"),
        oom_kill: event("oom_kill"),
        oom_group_kill: event("oom_group_kill"),
    };
    (!memory.events.is_empty()).then(events)
}

fn io(stats: &Stats) -> out::IoStat {
    let mut usage = Vec::new();
    for entry in &stats.blkio.io_service_bytes_recursive {
        let device = device(&mut usage, entry);
        match entry.op.as_str() {
            "Read" => device.rbytes = entry.value,
            "Write" => device.wbytes = entry.value,
            _ => {}
        }
    }
    for entry in &stats.blkio.io_serviced_recursive {
        let device = device(&mut usage, entry);
        match entry.op.as_str() {
            "Read" => device.rios = entry.value,
            "Write" => device.wios = entry.value,
            _ => {}
        }
    }
    out::IoStat { usage, psi: psi(stats.blkio.psi.as_ref()) }
}

/// The figures of a figure's device.
fn device<'a>(devices: &'a mut Vec<out::IoEntry>, entry: &BlkioEntry) -> &'a mut out::IoEntry {
    let (major, minor) = (entry.major, entry.minor);
    let place = devices.iter().position(|seen| (seen.major, seen.minor) == (major, minor));
    let place = place.unwrap_or(devices.len());
    if place == devices.len() {
        devices.push(out::IoEntry { major, minor, ..out::IoEntry::default() });
    }
    &mut devices[place]
}

fn psi(psi: Option<&Psi>) -> Option<out::PsiStats> {
    let data = |data: &PsiData| out::PsiData {
        avg10: data.avg10,
        avg60: data.avg60,
        avg300: data.avg300,
        total: data.total,
    };
    psi.map(|psi| out::PsiStats { some: Some(data(&psi.some)), full: Some(data(&psi.full)) })
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
    use gantry_cgroup::stats::{Hugetlb, MemoryEntry};

    use super::*;

    #[test]
    fn figures_find_their_fields() {
        let mut stats = Stats::default();
        stats.cpu.usage.total = 5_000;
        stats.cpu.throttling.bursts = 3;
        stats.memory.raw = [("anon".to_owned(), 1), ("workingset_activate_file".to_owned(), 2)].into();
        stats.memory.usage = MemoryEntry { limit: u64::MAX, usage: 3, max: 4, failcnt: 0 };
        stats.memory.swap_alone = MemoryEntry { limit: 5, usage: 6, max: 7, failcnt: 0 };
        let entry = |op: &str, value| BlkioEntry { major: 8, minor: 1, op: op.into(), value };
        stats.blkio.io_service_bytes_recursive = vec![entry("Read", 1), entry("Write", 2)];
        stats.blkio.io_serviced_recursive = vec![entry("Read", 3), entry("Write", 4)];
        let in_use = MemoryEntry { limit: 11, usage: 10, ..MemoryEntry::default() };
        stats.hugetlb.insert("2MB".into(), Hugetlb { usage: 99, in_use, ..Hugetlb::default() });
        let metrics = metrics(&stats);
        assert_eq!(metrics.pids, Some(out::PidsStat { current: 0, limit: u64::MAX }));
        let cpu = metrics.cpu.unwrap();
        assert_eq!((cpu.usage_usec, cpu.nr_bursts, cpu.psi), (5, 3, None));
        let memory = metrics.memory.unwrap();
        assert_eq!((memory.anon, memory.workingset_activate_file), (1, 2));
        assert_eq!((memory.usage_limit, memory.usage, memory.max_usage), (u64::MAX, 3, 4));
        assert_eq!((memory.swap_limit, memory.swap_usage, memory.swap_max_usage), (5, 6, 7));
        let device = out::IoEntry { major: 8, minor: 1, rbytes: 1, wbytes: 2, rios: 3, wios: 4 };
        assert_eq!(metrics.io.unwrap().usage, [device]);
        assert_eq!((metrics.hugetlb[0].current, metrics.hugetlb[0].max), (10, 11));
        assert!(metrics.memory_events.is_none());
    }
}
