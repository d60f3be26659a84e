//! Limits of a container's cgroup, from docker's words to runtime-spec's.

use std::collections::BTreeMap;

use gantry_types::oci::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, Memory, Pids, Resources as OciResources, ThrottleDevice,
    WeightDevice,
};

use crate::Error;
use crate::devices::is_access;
use crate::error::at_most;

/// The period of a CPU quota where none is asked for, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;
const NANOS: i64 = 1_000_000_000;
/// The most devices with a limit of their own, of each kind; and the most huge page sizes and raw settings.
const MAX_LIMITS: usize = 1024;

/// Limits, as docker has them: 0, an empty text or `None` asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory.
    pub memory_bytes: i64,
    /// Memory and swap together; -1 is unlimited.
    pub memory_swap_bytes: i64,
    /// Memory that is taken last.
    pub memory_reservation_bytes: i64,
    /// 0 to 100; -1 is as not asked for.
    pub memory_swappiness: Option<i64>,
    /// Whether processes wait for memory instead of being killed.
    pub oom_kill_disable: Option<bool>,
    /// Relative weight, 1024 by default.
    pub cpu_shares: i64,
    /// Billionths of a CPU.
    pub nano_cpus: i64,
    /// Microseconds.
    pub cpu_period_us: i64,
    /// Microseconds of each period.
    pub cpu_quota_us: i64,
    /// Microseconds.
    pub cpu_realtime_period_us: i64,
    /// Microseconds of each real-time period.
    pub cpu_realtime_runtime_us: i64,
    /// CPUs, as in `0-3,7`.
    pub cpuset_cpus: String,
    /// Memory nodes.
    pub cpuset_mems: String,
    /// Processes and threads; 0 and below are unlimited, which is more than not to ask.
    pub pids: Option<i64>,
    /// 10 to 1000.
    pub blkio_weight: u16,
    /// The same by device.
    pub blkio_weight_device: Vec<DeviceWeight>,
    /// Bytes read in a second.
    pub blkio_read_bps: Vec<DeviceRate>,
    /// Bytes written in a second.
    pub blkio_write_bps: Vec<DeviceRate>,
    /// Reads in a second.
    pub blkio_read_iops: Vec<DeviceRate>,
    /// Writes in a second.
    pub blkio_write_iops: Vec<DeviceRate>,
    /// Huge pages.
    pub hugepages: Vec<Hugepages>,
    /// Files of cgroup v2 and what is written to them.
    pub unified: BTreeMap<String, String>,
}

/// The weight of a block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceWeight {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// 10 to 1000.
    pub weight: u16,
}

/// The rate of a block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceRate {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Bytes or operations a second.
    pub rate: u64,
}

/// A limit of huge pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hugepages {
    /// The size of a page, as in `2MB`.
    pub page_size: String,
    /// How much.
    pub limit_bytes: u64,
}

/// Translates limits, for a new container and for `update`: without device rules, which the first has from its options
/// and the second does not change.
///
/// # Errors
/// Values that no kernel takes; [`crate::settle`] finds more, and those that this host does not.
pub fn resources(wanted: &Resources) -> Result<OciResources, Error> {
    at_most("huge page sizes", wanted.hugepages.len(), MAX_LIMITS)?;
    at_most("settings of the cgroup", wanted.unified.len(), MAX_LIMITS)?;
    for (file, value) in &wanted.unified {
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !file.contains('.') || file.starts_with('.') || !file.chars().all(name) || value.contains('\0') {
            return Err(Error::invalid("setting of the cgroup", file, "it is no file of a controller's"));
        }
    }
    let hugepage =
        |limit: &Hugepages| HugepageLimit { page_size: limit.page_size.clone(), limit: limit.limit_bytes };
    Ok(OciResources {
        memory: memory(wanted),
        cpu: cpu(wanted)?,
        pids: wanted.pids.map(|limit| Pids { limit: Some(if limit <= 0 { -1 } else { limit }) }),
        block_io: block_io(wanted)?,
        hugepage_limits: wanted.hugepages.iter().map(hugepage).collect(),
        unified: wanted.unified.clone(),
        ..OciResources::default()
    })
}

fn memory(wanted: &Resources) -> Option<Memory> {
    let positive = |bytes: i64| (bytes > 0).then_some(bytes);
    let memory = Memory {
        limit: positive(wanted.memory_bytes),
        reservation: positive(wanted.memory_reservation_bytes),
        // Without a limit of memory there is none of both, and -1 says so of a container that had one.
        swap: positive(wanted.memory_swap_bytes).or((wanted.memory_swap_bytes == -1).then_some(-1)),
        swappiness: wanted.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: wanted.oom_kill_disable,
        ..Memory::default()
    };
    (memory != Memory::default()).then_some(memory)
}

fn cpu(wanted: &Resources) -> Result<Option<Cpu>, Error> {
    let amount = |field: &'static str, value: i64| match u64::try_from(value) {
        Ok(0) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(Error::invalid(field, value, "it is negative")),
    };
    let some = |value: i64| (value != 0).then_some(value);
    let mut cpu = Cpu {
        shares: amount("cpu shares", wanted.cpu_shares)?,
        period: amount("cpu period", wanted.cpu_period_us)?,
        quota: some(wanted.cpu_quota_us),
        realtime_period: amount("real-time period", wanted.cpu_realtime_period_us)?,
        realtime_runtime: some(wanted.cpu_realtime_runtime_us),
        cpus: wanted.cpuset_cpus.clone(),
        mems: wanted.cpuset_mems.clone(),
        ..Cpu::default()
    };
    if wanted.nano_cpus > 0 {
        let period = CPU_PERIOD_US.cast_signed();
        let quota = (wanted.nano_cpus / NANOS)
            .checked_mul(period)
            .and_then(|whole| whole.checked_add(wanted.nano_cpus % NANOS * period / NANOS));
        let quota =
            quota.ok_or_else(|| Error::invalid("cpus", wanted.nano_cpus, "so many there are nowhere"))?;
        cpu.period = Some(CPU_PERIOD_US);
        cpu.quota = Some(quota);
    }
    Ok((cpu != Cpu::default()).then_some(cpu))
}

fn block_io(wanted: &Resources) -> Result<Option<BlockIo>, Error> {
    let rates = |rates: &[DeviceRate]| -> Result<Vec<ThrottleDevice>, Error> {
        at_most("rates of devices", rates.len(), MAX_LIMITS)?;
        let rate =
            |rate: &DeviceRate| ThrottleDevice { major: rate.major, minor: rate.minor, rate: rate.rate };
        Ok(rates.iter().map(rate).collect())
    };
    at_most("weights of devices", wanted.blkio_weight_device.len(), MAX_LIMITS)?;
    let weight = |weight: &DeviceWeight| WeightDevice {
        major: weight.major,
        minor: weight.minor,
        weight: Some(weight.weight),
        leaf_weight: None,
    };
    let block_io = BlockIo {
        weight: (wanted.blkio_weight != 0).then_some(wanted.blkio_weight),
        leaf_weight: None,
        weight_device: wanted.blkio_weight_device.iter().map(weight).collect(),
        throttle_read_bps_device: rates(&wanted.blkio_read_bps)?,
        throttle_write_bps_device: rates(&wanted.blkio_write_bps)?,
        throttle_read_iops_device: rates(&wanted.blkio_read_iops)?,
        throttle_write_iops_device: rates(&wanted.blkio_write_iops)?,
    };
    Ok((block_io != BlockIo::default()).then_some(block_io))
}

/// A rule of access to devices: a type of `abc`, `major:minor` with `*` for any, letters of `rwm`, with a space between.
///
/// # Errors
/// Any other text.
pub fn device_rule(text: &str) -> Result<DeviceRule, Error> {
    let invalid = || Error::invalid("device rule", text, "it is as in \"c 10:* rwm\"");
    let number = |text: &str| match text {
        "*" => Some(-1),
        digits if digits.len() <= 10 && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse::<u32>().ok().map(i64::from)
        }
        _ => None,
    };
    let parts: Vec<&str> = text.splitn(4, ' ').collect();
    let [kind @ ("a" | "b" | "c"), numbers, access] = parts[..] else { return Err(invalid()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let (major, minor) = number(major).zip(number(minor)).ok_or_else(invalid)?;
    if !is_access(access) {
        return Err(invalid());
    }
    Ok(DeviceRule {
        allow: true,
        type_: kind.to_owned(),
        major: Some(major),
        minor: Some(minor),
        access: access.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_for_where_nothing_was() {
        assert_eq!(resources(&Resources::default()).unwrap(), OciResources::default());
    }

    #[test]
    fn cpus_become_a_quota_of_a_tenth_of_a_second() {
        let check = |nano_cpus| {
            let cpu = resources(&Resources { nano_cpus, ..Resources::default() }).unwrap().cpu.unwrap();
            (cpu.quota.unwrap(), cpu.period.unwrap())
        };
        assert_eq!(check(1_500_000_000), (150_000, 100_000));
        assert_eq!(check(500_000_000), (50_000, 100_000));
        assert_eq!(check(10_000), (1, 100_000));
        assert!(check(i64::MAX).0 > 0);
        assert!(resources(&Resources { cpu_shares: -1, ..Resources::default() }).is_err());
    }

    #[test]
    fn memory_is_in_the_words_of_the_runtime() {
        let check = |memory, swap| {
            let wanted = Resources { memory_bytes: memory, memory_swap_bytes: swap, ..Resources::default() };
            resources(&wanted).unwrap().memory.map(|memory| (memory.limit, memory.swap))
        };
        assert_eq!(check(5, 10), Some((Some(5), Some(10))));
        assert_eq!(check(5, -1), Some((Some(5), Some(-1))));
        assert_eq!(check(0, 0), None);
        let pids = |pids| resources(&Resources { pids, ..Resources::default() }).unwrap().pids;
        assert_eq!(pids(Some(0)), Some(Pids { limit: Some(-1) }));
        assert_eq!(pids(Some(7)), Some(Pids { limit: Some(7) }));
        assert_eq!(pids(None), None);
    }

    #[test]
    fn settings_are_files_of_a_controller() {
        let check = |file: &str| {
            let unified = BTreeMap::from([(file.to_owned(), "1".to_owned())]);
            resources(&Resources { unified, ..Resources::default() }).is_ok()
        };
        assert!(check("memory.high") && check("io.cost.qos"));
        for bad in ["../memory.high", "memory", "a/b.c", ".", "..", ""] {
            assert!(!check(bad), "{bad}");
        }
    }

    #[test]
    fn device_rules_are_one_line_of_the_kernels() {
        let rule = device_rule("b 8:* r").unwrap();
        assert_eq!(
            (rule.type_.as_str(), rule.major, rule.minor, rule.access.as_str()),
            ("b", Some(8), Some(-1), "r")
        );
        assert!(device_rule("a *:* rwm").is_ok() && device_rule("c 4294967295:0 m").is_ok());
        for bad in [
            "",
            "c",
            "c 1:2",
            "d 1:2 r",
            "c 1 r",
            "c 1:2 x",
            "c 1:2 rr",
            "c 1:2 r ",
            "c -1:2 r",
            "c 1:4294967296 r",
            "c +1:2 r",
            "c 1:2  r",
            "c 1:2 r\n",
        ] {
            assert!(device_rule(bad).is_err(), "{bad:?}");
        }
    }
}
