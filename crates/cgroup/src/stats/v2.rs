//! Statistics of cgroup v2, in the terms of v1.

use super::model::{Blkio, Cpu, Hugetlb, Memory, MemoryEntry, Pids, Stats};
use super::{Source, huge_page_sizes, parse};
use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::walk::{self, Depth};

const NANOSECONDS: u64 = 1000;

pub(super) fn read(cgroup: &Cgroup) -> Result<Stats, Error> {
    let node = cgroup.unified().ok_or(Error::NoCgroup { action: "reading statistics" })?;
    let source = Source { node };
    // The first file tells whether there is a cgroup at all.
    let controllers = node
        .dir()
        .and_then(|dir| dir.read("cgroup.controllers"))
        .map_err(node.error("reading the statistics of"))?;
    let mut stats = Stats { cpu: cpu(&source)?, ..Stats::default() };
    stats.pids = pids(&source)?;
    stats.memory = memory(&source)?;
    stats.blkio = Blkio {
        psi: source.parsed("io.pressure", parse::psi)?,
        ..source.parsed("io.stat", parse::io_stat)?.unwrap_or_default()
    };
    if controllers.split_whitespace().any(|name| name == "hugetlb") {
        for size in huge_page_sizes() {
            if let Some(entry) = huge_pages(&source, &size)? {
                stats.hugetlb.insert(size, entry);
            }
        }
    }
    stats.rdma = source.rdma()?;
    Ok(stats)
}

fn cpu(source: &Source<'_>) -> Result<Cpu, Error> {
    let mut cpu = Cpu { psi: source.parsed("cpu.pressure", parse::psi)?, ..Cpu::default() };
    source.parsed("cpu.stat", |text| {
        parse::key_values(text, |key, value| match key {
            "usage_usec" => cpu.usage.total = value.saturating_mul(NANOSECONDS),
            "user_usec" => cpu.usage.user = value.saturating_mul(NANOSECONDS),
            "system_usec" => cpu.usage.kernel = value.saturating_mul(NANOSECONDS),
            "nr_periods" => cpu.throttling.periods = value,
            "nr_throttled" => cpu.throttling.throttled_periods = value,
            "nr_bursts" => cpu.throttling.bursts = value,
            "burst_usec" => cpu.throttling.burst_time = value.saturating_mul(NANOSECONDS),
            "throttled_usec" => cpu.throttling.throttled_time = value.saturating_mul(NANOSECONDS),
            _ => {}
        })
    })?;
    Ok(cpu)
}

/// Without the controller, the processes are counted.
fn pids(source: &Source<'_>) -> Result<Pids, Error> {
    let Some(current) = source.number("pids.current")? else {
        let own = source.node.dir().and_then(|dir| walk::pids(dir, Depth::Own));
        let current = own.map_err(source.node.error("reading the processes of"))?.len() as u64;
        return Ok(Pids { current, limit: 0 });
    };
    let limit = source.number("pids.max")?.filter(|&limit| limit != u64::MAX).unwrap_or(0);
    Ok(Pids { current, limit })
}

fn memory(source: &Source<'_>) -> Result<Memory, Error> {
    let table = |file| Ok::<_, Error>(source.parsed(file, parse::table)?.unwrap_or_default());
    let mut memory = Memory {
        psi: source.parsed("memory.pressure", parse::psi)?,
        raw: table("memory.stat")?,
        events: table("memory.events")?,
        ..Memory::default()
    };
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    memory.usage = entry(source, "memory")?;
    let swap = entry(source, "memory.swap")?;
    // v1 counts memory and swap together. Their maxima need not have been at the same time.
    memory.swap = MemoryEntry {
        limit: match swap.limit {
            u64::MAX => u64::MAX,
            limit => limit.saturating_add(memory.usage.limit),
        },
        usage: swap.usage.saturating_add(memory.usage.usage),
        max: 0,
        failcnt: 0,
    };
    memory.swap_alone = swap;
    Ok(memory)
}

fn entry(source: &Source<'_>, name: &str) -> Result<MemoryEntry, Error> {
    let Some(usage) = source.number(&format!("{name}.current"))? else { return Ok(MemoryEntry::default()) };
    Ok(MemoryEntry {
        usage,
        limit: source.number(&format!("{name}.max"))?.unwrap_or(0),
        // Linux 5.19, and 6.5 for swap.
        max: source.number(&format!("{name}.peak"))?.unwrap_or(0),
        failcnt: 0,
    })
}

fn huge_pages(source: &Source<'_>, size: &str) -> Result<Option<Hugetlb>, Error> {
    let reserved = source.number(&format!("hugetlb.{size}.rsvd.current"))?;
    let current = source.number(&format!("hugetlb.{size}.current"))?;
    let Some(usage) = reserved.or(current) else { return Ok(None) };
    let mut in_use = entry(source, &format!("hugetlb.{size}"))?;
    let mut failcnt = 0;
    source.parsed(&format!("hugetlb.{size}.events"), |text| {
        parse::key_values(text, |key, value| {
            if key == "max" {
                failcnt = value;
            }
        })
    })?;
    in_use.failcnt = failcnt;
    Ok(Some(Hugetlb { usage, max: 0, failcnt, in_use }))
}
