//! Files of cgroup v1: Documentation/admin-guide/cgroup-v1.

use gantry_types::oci::{BlockIo, Cpu, HugepageLimit, Memory, Network, Resources, ThrottleDevice};
use rustix::io::Errno;

use super::v2::{check_usage, rdma};
use super::{Files, Phase, check_page_size, invalid};
use crate::cgroup::Cgroup;
use crate::controller::Controller;
use crate::dir::Text;
use crate::error::LimitError;

pub(super) fn before_clone(cgroup: &Cgroup, resources: &Resources) -> Result<(), LimitError> {
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        const FIELD: &str = "linux.resources.pids.limit";
        let files = open(cgroup, Controller::Pids, FIELD)?;
        match limit {
            0 => files.put(FIELD, "pids.max", "1")?,
            1.. => files.put_number(FIELD, "pids.max", limit)?,
            _ => files.put(FIELD, "pids.max", "max")?,
        }
    }
    let Some(cpu) = &resources.cpu else { return Ok(()) };
    for (field, file, value) in [
        ("linux.resources.cpu.cpus", "cpuset.cpus", &cpu.cpus),
        ("linux.resources.cpu.mems", "cpuset.mems", &cpu.mems),
    ] {
        if !value.is_empty() {
            open(cgroup, Controller::Cpuset, field)?.put(field, file, value)?;
        }
    }
    // A process that is already real-time cannot enter a cgroup without a budget.
    apply_realtime(cgroup, cpu)
}

pub(super) fn before_start(cgroup: &Cgroup, resources: &Resources, phase: Phase) -> Result<(), LimitError> {
    if let Some(memory) = &resources.memory {
        apply_memory(cgroup, memory, phase)?;
    }
    if let Some(cpu) = &resources.cpu {
        apply_cpu(cgroup, cpu)?;
    }
    if let Some(io) = &resources.block_io {
        apply_io(cgroup, io)?;
    }
    for (index, limit) in resources.hugepage_limits.iter().enumerate() {
        huge_pages(cgroup, index, limit)?;
    }
    if let Some(network) = &resources.network {
        apply_network(cgroup, network)?;
    }
    for (device, limits) in &resources.rdma {
        let files = open(cgroup, Controller::Rdma, "linux.resources.rdma")?;
        rdma(files, device, limits)?;
    }
    Ok(())
}

fn open<'a>(cgroup: &'a Cgroup, controller: Controller, field: &str) -> Result<Files<'a>, LimitError> {
    let Some(node) = cgroup.node(controller) else {
        return Err(LimitError::NoController {
            field: field.into(),
            controller: controller.as_str().into(),
            reason: "container could not join or create cgroup",
        });
    };
    let error =
        |errno| LimitError::Read { field: field.into(), file: node.path.display().to_string(), errno };
    Ok(Files { dir: node.dir().map_err(error)? })
}

fn apply_memory(cgroup: &Cgroup, memory: &Memory, phase: Phase) -> Result<(), LimitError> {
    const LIMIT: &str = "linux.resources.memory.limit";
    const SWAPPINESS: &str = "linux.resources.memory.swappiness";
    const OOM: &str = "linux.resources.memory.disableOOMKiller";
    let files = || open(cgroup, Controller::Memory, LIMIT);
    let set = |value: Option<i64>| value.filter(|&value| value != 0);
    if set(memory.limit).is_some() || set(memory.swap).is_some() {
        let files = files()?;
        check_usage(files, memory, "memory.usage_in_bytes")?;
        limit_and_swap(files, memory.limit.unwrap_or(0), memory.swap.unwrap_or(0))?;
    }
    if let Some(reservation) = set(memory.reservation) {
        let field = "linux.resources.memory.reservation";
        files()?.put_number(field, "memory.soft_limit_in_bytes", reservation)?;
    }
    if let Some(tcp) = set(memory.kernel_tcp) {
        // The kernel's other memory cannot be limited any more; this file is going the same way.
        match files()?.put_number("linux.resources.memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", tcp) {
            Err(LimitError::Write { errno: Errno::NOENT | Errno::OPNOTSUPP, .. }) => {}
            result => result?,
        }
    }
    match memory.disable_oom_killer {
        Some(true) => files()?.put(OOM, "memory.oom_control", "1")?,
        // On is how it starts.
        Some(false) if phase == Phase::Update => files()?.put(OOM, "memory.oom_control", "0")?,
        _ => {}
    }
    match memory.swappiness {
        None | Some(u64::MAX) => Ok(()),
        Some(swappiness @ 0..=100) => files()?.put_number(SWAPPINESS, "memory.swappiness", swappiness),
        Some(swappiness) => Err(invalid(SWAPPINESS, swappiness, "valid range is 0-100")),
    }
}

/// The kernel keeps memory <= memory+swap at every moment, so the order of the two writes depends on the direction.
fn limit_and_swap(files: Files<'_>, limit: i64, swap: i64) -> Result<(), LimitError> {
    const LIMIT: &str = "linux.resources.memory.limit";
    const SWAP: &str = "linux.resources.memory.swap";
    const LIMIT_FILE: &str = "memory.limit_in_bytes";
    const SWAP_FILE: &str = "memory.memsw.limit_in_bytes";
    // Unlimited memory, and no word of swap: unlimited too, where the kernel counts it.
    let swap = if limit == -1 && swap == 0 && files.dir.has(SWAP_FILE) { -1 } else { swap };
    let put_swap = || if swap == 0 { Ok(()) } else { files.put_number(SWAP, SWAP_FILE, swap) };
    let put_limit = || match limit {
        0 => Ok(()),
        _ => files.put_number(LIMIT, LIMIT_FILE, limit).map_err(|error| below_usage(files, error, limit)),
    };
    let swap_first =
        limit != 0 && swap != 0 && (swap == -1 || files.number(LIMIT, LIMIT_FILE)? < swap.unsigned_abs());
    if swap_first {
        put_swap()?;
        put_limit()
    } else {
        put_limit()?;
        put_swap()
    }
}

/// EBUSY means that the kernel could not reclaim down to the limit.
fn below_usage(files: Files<'_>, error: LimitError, limit: i64) -> LimitError {
    if let LimitError::Write { field, errno: Errno::BUSY, .. } = &error
        && let Ok(usage) = files.number(field, "memory.usage_in_bytes")
    {
        return LimitError::BelowUsage { field: field.clone(), limit: limit.unsigned_abs(), usage };
    }
    error
}

fn apply_cpu(cgroup: &Cgroup, cpu: &Cpu) -> Result<(), LimitError> {
    const SHARES: &str = "linux.resources.cpu.shares";
    let files = |field| open(cgroup, Controller::Cpu, field);
    if let Some(shares @ 1..) = cpu.shares {
        let files = files(SHARES)?;
        files.put_number(SHARES, "cpu.shares", shares)?;
        // The kernel takes any value, and clamps it.
        let taken = files.number(SHARES, "cpu.shares")?;
        if taken != shares {
            let bound = if shares > taken { "maximum" } else { "minimum" };
            return Err(LimitError::Shares { field: SHARES.into(), bound, limit: taken });
        }
    }
    let quota = cpu.quota.filter(|&quota| quota != 0);
    let period = cpu.period.filter(|&period| period != 0);
    if quota.is_some() || period.is_some() || cpu.burst.is_some() {
        bandwidth(files("linux.resources.cpu.quota")?, quota, period, cpu.burst)?;
    }
    if let Some(idle) = cpu.idle {
        files("linux.resources.cpu.idle")?.put_number("linux.resources.cpu.idle", "cpu.idle", idle)?;
    }
    Ok(())
}

/// Quota, period and burst bound one another: a value that is refused beside the old ones may be taken beside the new.
fn bandwidth(
    files: Files<'_>,
    quota: Option<i64>,
    period: Option<u64>,
    burst: Option<u64>,
) -> Result<(), LimitError> {
    let settings = [
        ("linux.resources.cpu.period", "cpu.cfs_period_us", period),
        ("linux.resources.cpu.burst", "cpu.cfs_burst_us", burst),
    ];
    let mut again = [false; 2];
    for ((field, file, value), again) in settings.into_iter().zip(&mut again) {
        let Some(value) = value else { continue };
        match files.put_number(field, file, value) {
            Err(LimitError::Write { errno: Errno::INVAL, .. }) if quota.is_some() => *again = true,
            Err(LimitError::Write { errno: Errno::NOENT, .. }) if file == "cpu.cfs_burst_us" => {}
            result => result?,
        }
    }
    let Some(quota) = quota else { return Ok(()) };
    files.put_number("linux.resources.cpu.quota", "cpu.cfs_quota_us", quota)?;
    for ((field, file, value), again) in settings.into_iter().zip(again) {
        if let Some(value) = value.filter(|_| again) {
            files.put_number(field, file, value)?;
        }
    }
    Ok(())
}

fn apply_realtime(cgroup: &Cgroup, cpu: &Cpu) -> Result<(), LimitError> {
    const RUNTIME: &str = "linux.resources.cpu.realtimeRuntime";
    const PERIOD: &str = "linux.resources.cpu.realtimePeriod";
    let runtime = cpu.realtime_runtime.filter(|&runtime| runtime != 0);
    let mut period = cpu.realtime_period.filter(|&period| period != 0);
    if runtime.is_none() && period.is_none() {
        return Ok(());
    }
    let files = open(cgroup, Controller::Cpu, RUNTIME)?;
    if let Some(value) = period {
        match files.put_number(PERIOD, "cpu.rt_period_us", value) {
            Ok(()) => period = None,
            // Shorter than the present runtime: again after the new one.
            Err(LimitError::Write { errno: Errno::INVAL, .. }) if runtime.is_some() => {}
            Err(error) => return Err(error),
        }
    }
    let Some(runtime) = runtime else { return Ok(()) };
    files.put_number(RUNTIME, "cpu.rt_runtime_us", runtime)?;
    match period {
        Some(period) => files.put_number(PERIOD, "cpu.rt_period_us", period),
        None => Ok(()),
    }
}

fn apply_io(cgroup: &Cgroup, io: &BlockIo) -> Result<(), LimitError> {
    const WEIGHT: &str = "linux.resources.blockIO.weight";
    let files = |field: &str| open(cgroup, Controller::Blkio, field);
    if io.weight.is_some_and(|weight| weight != 0) || !io.weight_device.is_empty() {
        let files = files(WEIGHT)?;
        // The files are CFQ's, which is gone; BFQ has the same under its own name.
        let (file, device_file) = match files.dir.has("blkio.weight") {
            true => ("blkio.weight", "blkio.weight_device"),
            false => ("blkio.bfq.weight", "blkio.bfq.weight_device"),
        };
        if let Some(weight @ 1..) = io.weight {
            files.put_number(WEIGHT, file, weight)?;
        }
        for (index, device) in io.weight_device.iter().enumerate() {
            let put = |name: &str, file: &str, weight: Option<u16>| {
                let Some(weight @ 1..) = weight else { return Ok(()) };
                let field = format!("linux.resources.blockIO.weightDevice[{index}].{name}");
                let text = Text::new(format_args!("{}:{} {weight}", device.major, device.minor));
                files.put(&field, file, text.as_str())
            };
            put("weight", device_file, device.weight)?;
            put("leafWeight", "blkio.leaf_weight_device", device.leaf_weight)?;
        }
    }
    if let Some(weight @ 1..) = io.leaf_weight {
        const LEAF: &str = "linux.resources.blockIO.leafWeight";
        files(LEAF)?.put_number(LEAF, "blkio.leaf_weight", weight)?;
    }
    for (name, file, devices) in [
        ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", &io.throttle_read_bps_device),
        ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", &io.throttle_write_bps_device),
        ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", &io.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", &io.throttle_write_iops_device),
    ] {
        for (index, ThrottleDevice { major, minor, rate }) in devices.iter().enumerate() {
            let field = format!("linux.resources.blockIO.{name}[{index}]");
            let text = Text::new(format_args!("{major}:{minor} {rate}"));
            files(&field)?.put(&field, file, text.as_str())?;
        }
    }
    Ok(())
}

fn huge_pages(cgroup: &Cgroup, index: usize, limit: &HugepageLimit) -> Result<(), LimitError> {
    check_page_size(index, &limit.page_size)?;
    let field = format!("linux.resources.hugepageLimits[{index}].limit");
    let files = open(cgroup, Controller::Hugetlb, &field)?;
    files.put_number(&field, &format!("hugetlb.{}.limit_in_bytes", limit.page_size), limit.limit)?;
    match files.put_number(&field, &format!("hugetlb.{}.rsvd.limit_in_bytes", limit.page_size), limit.limit) {
        Err(LimitError::Write { errno: Errno::NOENT, .. }) => Ok(()),
        result => result,
    }
}

fn apply_network(cgroup: &Cgroup, network: &Network) -> Result<(), LimitError> {
    if let Some(class @ 1..) = network.class_id {
        const CLASS: &str = "linux.resources.network.classID";
        open(cgroup, Controller::NetCls, CLASS)?.put_number(CLASS, "net_cls.classid", class)?;
    }
    for (index, priority) in network.priorities.iter().enumerate() {
        let field = format!("linux.resources.network.priorities[{index}]");
        let line = format!("{} {}", priority.name, priority.priority);
        open(cgroup, Controller::NetPrio, &field)?.put(&field, "net_prio.ifpriomap", &line)?;
    }
    Ok(())
}
