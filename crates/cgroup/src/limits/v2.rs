//! Files of cgroup v2: Documentation/admin-guide/cgroup-v2.rst.
//!
//! What v2 has no file for is ignored, as runc ignores it: kernel memory, swappiness, the OOM switch, leaf weights,
//! real-time budgets, network classes and priorities.

use gantry_types::oci::{BlockIo, Cpu, HugepageLimit, Memory, Rdma, Resources, ThrottleDevice};
use rustix::io::Errno;

use super::convert::{Swap, io_weight, shares_to_weight, swap_without_memory};
use super::{DEFAULT_CPU_PERIOD_US, Files, check_page_size, invalid, unified};
use crate::cgroup::Cgroup;
use crate::dir::Text;
use crate::error::LimitError;

pub(super) fn before_clone(cgroup: &Cgroup, resources: &Resources) -> Result<(), LimitError> {
    let Some(files) = open(cgroup, resources)? else { return Ok(()) };
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        pids(files, limit)?;
    }
    if let Some(cpu) = &resources.cpu {
        if !cpu.cpus.is_empty() {
            files.put("linux.resources.cpu.cpus", "cpuset.cpus", &cpu.cpus)?;
        }
        if !cpu.mems.is_empty() {
            files.put("linux.resources.cpu.mems", "cpuset.mems", &cpu.mems)?;
        }
    }
    unified::apply(files, resources, unified::is_early)
}

pub(super) fn before_start(cgroup: &Cgroup, resources: &Resources) -> Result<(), LimitError> {
    let Some(files) = open(cgroup, resources)? else { return Ok(()) };
    if let Some(memory) = &resources.memory {
        apply_memory(files, memory)?;
    }
    if let Some(io) = &resources.block_io {
        apply_io(files, io)?;
    }
    if let Some(cpu) = &resources.cpu {
        apply_cpu(files, cpu)?;
    }
    for (index, limit) in resources.hugepage_limits.iter().enumerate() {
        huge_pages(files, index, limit)?;
    }
    for (device, limits) in &resources.rdma {
        rdma(files, device, limits)?;
    }
    unified::apply(files, resources, |key| !unified::is_early(key))
}

fn open<'a>(cgroup: &'a Cgroup, resources: &Resources) -> Result<Option<Files<'a>>, LimitError> {
    let Some(node) = cgroup.unified() else {
        return if super::any_asked(resources) || !resources.unified.is_empty() {
            Err(LimitError::NoController {
                field: "linux.resources".into(),
                controller: "any".into(),
                reason: "the container could not join or create a cgroup",
            })
        } else {
            Ok(None)
        };
    };
    let error = |errno| LimitError::Read {
        field: "linux.resources".into(),
        file: node.path.display().to_string(),
        errno,
    };
    Ok(Some(Files { dir: node.dir().map_err(error)? }))
}

fn pids(files: Files<'_>, limit: i64) -> Result<(), LimitError> {
    const FIELD: &str = "linux.resources.pids.limit";
    match limit {
        // systemd refuses 0, and a cgroup with one process behaves alike.
        0 => files.put(FIELD, "pids.max", "1"),
        1.. => files.put_number(FIELD, "pids.max", limit),
        _ => files.put(FIELD, "pids.max", "max"),
    }
}

/// The text of a byte limit: nothing for 0, `max` for -1.
fn bytes(field: &str, value: Option<i64>) -> Result<Option<Text>, LimitError> {
    match value.unwrap_or(0) {
        0 => Ok(None),
        -1 => Ok(Some(Text::new(format_args!("max")))),
        value @ 1.. => Ok(Some(Text::new(format_args!("{value}")))),
        value => Err(invalid(field, value, "a limit cannot be negative")),
    }
}

fn apply_memory(files: Files<'_>, memory: &Memory) -> Result<(), LimitError> {
    const LIMIT: &str = "linux.resources.memory.limit";
    const RESERVATION: &str = "linux.resources.memory.reservation";
    const SWAP: &str = "linux.resources.memory.swap";
    check_usage(files, memory, "memory.current")?;
    let (limit, swap) = (memory.limit.unwrap_or(0), memory.swap.unwrap_or(0));
    let split = swap_without_memory(swap, limit).map_err(|reason| invalid(SWAP, swap, reason))?;
    let text = match split {
        Swap::Keep => None,
        Swap::Unlimited => Some(Text::new(format_args!("max"))),
        Swap::Bytes(bytes) => Some(Text::new(format_args!("{bytes}"))),
    };
    if let Some(text) = text {
        match files.try_put("memory.swap.max", text.as_str()) {
            Ok(()) => {}
            // A kernel without swap has nothing to lift or to forbid.
            Err(Errno::NOENT) if matches!(split, Swap::Unlimited | Swap::Bytes(0)) => {}
            Err(errno) => return Err(files.refused(SWAP, "memory.swap.max", text.as_str(), errno)),
        }
    }
    if let Some(text) = bytes(LIMIT, memory.limit)? {
        files.put(LIMIT, "memory.max", text.as_str())?;
    }
    if let Some(text) = bytes(RESERVATION, memory.reservation)? {
        files.put(RESERVATION, "memory.low", text.as_str())?;
    }
    Ok(())
}

/// `checkBeforeUpdate`: a limit that would make the kernel kill is refused. The usage is advisory: where it cannot be
/// read, the limit stands.
pub(super) fn check_usage(files: Files<'_>, memory: &Memory, file: &str) -> Result<(), LimitError> {
    if memory.check_before_update != Some(true) {
        return Ok(());
    }
    let fields =
        [("linux.resources.memory.swap", memory.swap), ("linux.resources.memory.limit", memory.limit)];
    for (field, limit) in fields {
        let Some(limit @ 1..) = limit else { continue };
        let Ok(usage) = files.number(field, file) else { continue };
        let limit = limit.unsigned_abs();
        if limit <= usage {
            return Err(LimitError::BelowUsage { field: field.into(), limit, usage });
        }
    }
    Ok(())
}

fn apply_cpu(files: Files<'_>, cpu: &Cpu) -> Result<(), LimitError> {
    const BURST: &str = "linux.resources.cpu.burst";
    if let Some(idle) = cpu.idle {
        files.put_number("linux.resources.cpu.idle", "cpu.idle", idle)?;
    }
    let weight = shares_to_weight(cpu.shares.unwrap_or(0));
    // An idle cgroup has a weight of its own, and refuses another.
    if weight != 0 && cpu.idle != Some(1) {
        files.put_number("linux.resources.cpu.shares", "cpu.weight", weight)?;
    }
    let quota = cpu.quota.unwrap_or(0);
    let mut burst = cpu.burst.map(|burst| Text::new(format_args!("{burst}")));
    if let Some(text) = &burst {
        match files.try_put("cpu.max.burst", text.as_str()) {
            Ok(()) => burst = None,
            // Larger than the present quota: again after the new one.
            Err(Errno::INVAL) if quota != 0 => {}
            Err(errno) => return Err(files.refused(BURST, "cpu.max.burst", text.as_str(), errno)),
        }
    }
    let period = cpu.period.unwrap_or(0);
    if quota != 0 || period != 0 {
        let period = if period == 0 { DEFAULT_CPU_PERIOD_US } else { period };
        let text = match quota {
            1.. => Text::new(format_args!("{quota} {period}")),
            _ => Text::new(format_args!("max {period}")),
        };
        let field = if quota != 0 { "linux.resources.cpu.quota" } else { "linux.resources.cpu.period" };
        files.put(field, "cpu.max", text.as_str())?;
    }
    match burst {
        Some(text) => files.put(BURST, "cpu.max.burst", text.as_str()),
        None => Ok(()),
    }
}

/// Whether anything is asked that cgroup v2 has a file for.
pub(super) fn is_io_asked(io: &BlockIo) -> bool {
    io.weight.is_some_and(|weight| weight != 0)
        || !io.weight_device.is_empty()
        || !io.throttle_read_bps_device.is_empty()
        || !io.throttle_write_bps_device.is_empty()
        || !io.throttle_read_iops_device.is_empty()
        || !io.throttle_write_iops_device.is_empty()
}

fn apply_io(files: Files<'_>, io: &BlockIo) -> Result<(), LimitError> {
    const WEIGHT: &str = "linux.resources.blockIO.weight";
    let weight = io.weight.unwrap_or(0);
    if weight != 0 || !io.weight_device.is_empty() {
        // BFQ takes the weight as it is; the cost model has ten times the range.
        let bfq = files.dir.has("io.bfq.weight");
        let file = if bfq { "io.bfq.weight" } else { "io.weight" };
        let convert = |weight: u16| if bfq { u64::from(weight) } else { io_weight(weight) };
        if weight != 0 {
            check_io_weight(WEIGHT, weight)?;
            files.put_number(WEIGHT, file, convert(weight))?;
        }
        for (index, device) in io.weight_device.iter().enumerate() {
            let Some(weight @ 1..) = device.weight else { continue };
            let field = format!("linux.resources.blockIO.weightDevice[{index}].weight");
            check_io_weight(&field, weight)?;
            let line = |weight: u64| Text::new(format_args!("{}:{} {weight}", device.major, device.minor));
            let text = line(convert(weight));
            match files.try_put(file, text.as_str()) {
                Ok(()) => {}
                // A disk with another scheduler than BFQ.
                Err(Errno::OPNOTSUPP) if bfq && files.dir.has("io.weight") => {
                    files.put(&field, "io.weight", line(io_weight(weight)).as_str())?;
                }
                Err(errno) => return Err(files.refused(&field, file, text.as_str(), errno)),
            }
        }
    }
    io_max(files, "throttleReadBpsDevice", "rbps", &io.throttle_read_bps_device)?;
    io_max(files, "throttleWriteBpsDevice", "wbps", &io.throttle_write_bps_device)?;
    io_max(files, "throttleReadIOPSDevice", "riops", &io.throttle_read_iops_device)?;
    io_max(files, "throttleWriteIOPSDevice", "wiops", &io.throttle_write_iops_device)
}

fn check_io_weight(field: &str, weight: u16) -> Result<(), LimitError> {
    match weight {
        10..=1000 => Ok(()),
        _ => Err(invalid(field, weight, "not between 10 and 1000")),
    }
}

fn io_max(files: Files<'_>, name: &str, key: &str, devices: &[ThrottleDevice]) -> Result<(), LimitError> {
    for (index, device) in devices.iter().enumerate() {
        let ThrottleDevice { major, minor, rate } = device;
        // 0 lifts the limit on v1; v2 has a word for that.
        let text = match rate {
            0 => Text::new(format_args!("{major}:{minor} {key}=max")),
            _ => Text::new(format_args!("{major}:{minor} {key}={rate}")),
        };
        files.try_put("io.max", text.as_str()).map_err(|errno| {
            let field = format!("linux.resources.blockIO.{name}[{index}]");
            files.refused(&field, "io.max", text.as_str(), errno)
        })?;
    }
    Ok(())
}

fn huge_pages(files: Files<'_>, index: usize, limit: &HugepageLimit) -> Result<(), LimitError> {
    check_page_size(index, &limit.page_size)?;
    let field = format!("linux.resources.hugepageLimits[{index}].limit");
    let file = format!("hugetlb.{}.max", limit.page_size);
    files.put_number(&field, &file, limit.limit)?;
    let reserved = format!("hugetlb.{}.rsvd.max", limit.page_size);
    match files.put_number(&field, &reserved, limit.limit) {
        Err(LimitError::Write { errno: Errno::NOENT, .. }) => Ok(()),
        result => result,
    }
}

pub(super) fn rdma(files: Files<'_>, device: &str, limits: &Rdma) -> Result<(), LimitError> {
    let mut line = device.to_owned();
    if let Some(handles) = limits.hca_handles {
        line.push_str(&format!(" hca_handle={handles}"));
    }
    if let Some(objects) = limits.hca_objects {
        line.push_str(&format!(" hca_object={objects}"));
    }
    files.put(&format!("linux.resources.rdma[{device:?}]"), "rdma.max", &line)
}
