//! Statistics of cgroup v1.

use super::model::{
    Blkio, BlkioEntry, CpuUsage, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Stats, Throttling,
};
use super::{Source, huge_page_sizes, parse};
use crate::cgroup::Cgroup;
use crate::controller::Controller;
use crate::error::Error;

/// `USER_HZ`: ticks of `cpuacct.stat` in a second.
const TICKS: u64 = 100;
const NANOSECONDS: u64 = 1_000_000_000;

pub(super) fn read(cgroup: &Cgroup) -> Result<Stats, Error> {
    if cgroup.is_absent() {
        return Err(Error::NoCgroup { action: "reading statistics" });
    }
    let source = |controller| cgroup.node(controller).map(|node| Source { node });
    let mut stats = Stats::default();
    if let Some(source) = source(Controller::Cpuacct) {
        stats.cpu.usage = cpu_usage(&source)?;
    }
    if let Some(source) = source(Controller::Cpu) {
        stats.cpu.throttling = throttling(&source)?;
    }
    if let Some(source) = source(Controller::Cpuset) {
        stats.cpuset = cpuset(&source)?;
    }
    if let Some(source) = source(Controller::Memory) {
        stats.memory = memory(&source)?;
    }
    if let Some(source) = source(Controller::Pids) {
        let limit = source.number("pids.max")?.filter(|&limit| limit != u64::MAX).unwrap_or(0);
        stats.pids = Pids { current: source.number("pids.current")?.unwrap_or(0), limit };
    }
    if let Some(source) = source(Controller::Blkio) {
        stats.blkio = blkio(&source)?;
    }
    if let Some(source) = source(Controller::Hugetlb) {
        for size in huge_page_sizes() {
            if let Some(entry) = huge_pages(&source, &size)? {
                stats.hugetlb.insert(size, entry);
            }
        }
    }
    if let Some(source) = source(Controller::Rdma) {
        stats.rdma = source.rdma()?;
    }
    Ok(stats)
}

fn cpu_usage(source: &Source<'_>) -> Result<CpuUsage, Error> {
    let mut usage = CpuUsage { total: source.number("cpuacct.usage")?.unwrap_or(0), ..CpuUsage::default() };
    source.parsed("cpuacct.stat", |text| {
        let nanoseconds = |ticks: u64| (u128::from(ticks) * u128::from(NANOSECONDS / TICKS)) as u64;
        parse::key_values(text, |key, value| match key {
            "user" => usage.user = nanoseconds(value),
            "system" => usage.kernel = nanoseconds(value),
            _ => {}
        })
    })?;
    usage.percpu = source.parsed("cpuacct.usage_percpu", parse::numbers)?.unwrap_or_default();
    source.parsed("cpuacct.usage_all", |text| {
        // A heading, then: cpu user system.
        for line in text.lines().skip(1) {
            let fields = parse::numbers(line)?;
            if let [_, user, kernel, ..] = fields.as_slice() {
                usage.percpu_user.push(*user);
                usage.percpu_kernel.push(*kernel);
            }
        }
        Some(())
    })?;
    Ok(usage)
}

fn throttling(source: &Source<'_>) -> Result<Throttling, Error> {
    let mut throttling = Throttling::default();
    source.parsed("cpu.stat", |text| {
        parse::key_values(text, |key, value| match key {
            "nr_periods" => throttling.periods = value,
            "nr_throttled" => throttling.throttled_periods = value,
            "throttled_time" => throttling.throttled_time = value,
            _ => {}
        })
    })?;
    Ok(throttling)
}

fn cpuset(source: &Source<'_>) -> Result<Cpuset, Error> {
    let number = |name: &str| Ok::<_, Error>(source.number(&format!("cpuset.{name}"))?.unwrap_or(0));
    let list = |file| Ok::<_, Error>(source.parsed(file, parse::ranges)?.unwrap_or_default());
    let level = source.parsed("cpuset.sched_relax_domain_level", |text| text.trim_ascii().parse().ok())?;
    Ok(Cpuset {
        cpus: list("cpuset.cpus")?,
        cpu_exclusive: number("cpu_exclusive")?,
        mems: list("cpuset.mems")?,
        mem_hardwall: number("mem_hardwall")?,
        mem_exclusive: number("mem_exclusive")?,
        memory_migrate: number("memory_migrate")?,
        memory_spread_page: number("memory_spread_page")?,
        memory_spread_slab: number("memory_spread_slab")?,
        memory_pressure: number("memory_pressure")?,
        sched_load_balance: number("sched_load_balance")?,
        sched_relax_domain_level: level.unwrap_or(0),
    })
}

fn memory(source: &Source<'_>) -> Result<Memory, Error> {
    let table = |file| Ok::<_, Error>(source.parsed(file, parse::table)?.unwrap_or_default());
    let mut memory =
        Memory { raw: table("memory.stat")?, events: table("memory.oom_control")?, ..Memory::default() };
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    memory.usage = entry(source, "memory")?;
    memory.swap = entry(source, "memory.memsw")?;
    memory.kernel = entry(source, "memory.kmem")?;
    memory.kernel_tcp = entry(source, "memory.kmem.tcp")?;
    Ok(memory)
}

fn entry(source: &Source<'_>, name: &str) -> Result<MemoryEntry, Error> {
    let Some(usage) = source.number(&format!("{name}.usage_in_bytes"))? else {
        return Ok(MemoryEntry::default());
    };
    let number = |file: &str| Ok::<_, Error>(source.number(&format!("{name}.{file}"))?.unwrap_or(0));
    Ok(MemoryEntry {
        usage,
        max: number("max_usage_in_bytes")?,
        failcnt: number("failcnt")?,
        limit: number("limit_in_bytes")?,
    })
}

type Table = fn(&mut Blkio) -> &mut Vec<BlkioEntry>;

/// The same figures from whoever counts them: the first group whose first file has anything is taken.
const GROUPS: [&[(&str, Table)]; 5] = [
    &[
        ("blkio.bfq.sectors_recursive", |io| &mut io.sectors_recursive),
        ("blkio.bfq.io_service_time_recursive", |io| &mut io.io_service_time_recursive),
        ("blkio.bfq.io_wait_time_recursive", |io| &mut io.io_wait_time_recursive),
        ("blkio.bfq.io_merged_recursive", |io| &mut io.io_merged_recursive),
        ("blkio.bfq.io_queued_recursive", |io| &mut io.io_queued_recursive),
        ("blkio.bfq.time_recursive", |io| &mut io.io_time_recursive),
        ("blkio.bfq.io_serviced_recursive", |io| &mut io.io_serviced_recursive),
        ("blkio.bfq.io_service_bytes_recursive", |io| &mut io.io_service_bytes_recursive),
    ],
    &[
        ("blkio.bfq.io_serviced_recursive", |io| &mut io.io_serviced_recursive),
        ("blkio.bfq.io_service_bytes_recursive", |io| &mut io.io_service_bytes_recursive),
    ],
    &[
        ("blkio.sectors_recursive", |io| &mut io.sectors_recursive),
        ("blkio.io_service_time_recursive", |io| &mut io.io_service_time_recursive),
        ("blkio.io_wait_time_recursive", |io| &mut io.io_wait_time_recursive),
        ("blkio.io_merged_recursive", |io| &mut io.io_merged_recursive),
        ("blkio.io_queued_recursive", |io| &mut io.io_queued_recursive),
        ("blkio.time_recursive", |io| &mut io.io_time_recursive),
        ("blkio.io_serviced_recursive", |io| &mut io.io_serviced_recursive),
        ("blkio.io_service_bytes_recursive", |io| &mut io.io_service_bytes_recursive),
    ],
    &[
        ("blkio.throttle.io_serviced_recursive", |io| &mut io.io_serviced_recursive),
        ("blkio.throttle.io_service_bytes_recursive", |io| &mut io.io_service_bytes_recursive),
    ],
    &[
        ("blkio.throttle.io_serviced", |io| &mut io.io_serviced_recursive),
        ("blkio.throttle.io_service_bytes", |io| &mut io.io_service_bytes_recursive),
    ],
];

fn blkio(source: &Source<'_>) -> Result<Blkio, Error> {
    let mut out = Blkio::default();
    for group in GROUPS {
        for (index, (file, table)) in group.iter().enumerate() {
            let entries = source.parsed(file, parse::blkio)?.unwrap_or_default();
            if entries.is_empty() && index == 0 {
                break;
            }
            *table(&mut out) = entries;
            if index == group.len() - 1 {
                return Ok(out);
            }
        }
    }
    Ok(out)
}

fn huge_pages(source: &Source<'_>, size: &str) -> Result<Option<Hugetlb>, Error> {
    let name = format!("hugetlb.{size}");
    // Reservations are counted from Linux 5.7 on.
    let reserved = format!("{name}.rsvd");
    let told = match source.number(&format!("{reserved}.usage_in_bytes"))? {
        Some(_) => entry(source, &reserved)?,
        None if source.number(&format!("{name}.usage_in_bytes"))?.is_none() => return Ok(None),
        None => entry(source, &name)?,
    };
    let in_use = entry(source, &name)?;
    Ok(Some(Hugetlb { usage: told.usage, max: told.max, failcnt: told.failcnt, in_use }))
}
