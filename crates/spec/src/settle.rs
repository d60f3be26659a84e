//! Limits against what makes sense, and against what this host can limit.

use crate::Error;
use crate::host::Support;
use crate::resources::{DeviceRate, Resources};

/// The least memory that a process and the runtime's beginning of it fit into (docker's).
const MIN_MEMORY_BYTES: i64 = 6 << 20;
const NANOS: i64 = 1_000_000_000;
/// CVE-2018-20699: numbers beyond it are refused before anything is allocated for them.
const MAX_CPU: u32 = 8191;
/// The longest list of CPUs or memory nodes.
const MAX_LIST_BYTES: usize = 64 << 10;

/// What the limits are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A new container.
    Create,
    /// One that exists, and keeps what is not asked for.
    Update,
}

/// A limit that was asked for and that this host cannot set: the container runs without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What is not limited.
    pub what: &'static str,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cannot be limited by this kernel or its cgroups, and is not", self.what)
    }
}

/// Checks limits, fills in what follows from them, and takes away what the host cannot set.
///
/// # Errors
/// Limits that contradict each other, that are out of range, or that name CPUs and nodes which are not there.
pub fn settle(
    mut wanted: Resources,
    support: &Support,
    purpose: Purpose,
) -> Result<(Resources, Vec<Warning>), Error> {
    let mut warnings = Vec::new();
    memory(&mut wanted, support, purpose, &mut warnings)?;
    cpu(&mut wanted, support, &mut warnings)?;
    cpuset(&mut wanted, support, &mut warnings)?;
    block_io(&mut wanted, support, &mut warnings)?;
    if wanted.pids.is_some() && !support.pids {
        discard(
            &mut wanted.pids,
            |pids| pids.is_some_and(|pids| pids > 0),
            "the number of processes",
            &mut warnings,
        );
    }
    Ok((wanted, warnings))
}

/// Takes a limit away, and says so if it was one.
fn discard<T: Default>(
    value: &mut T,
    set: impl Fn(&T) -> bool,
    what: &'static str,
    warnings: &mut Vec<Warning>,
) {
    if set(value) {
        warnings.push(Warning { what });
    }
    *value = T::default();
}

fn memory(
    wanted: &mut Resources,
    support: &Support,
    purpose: Purpose,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    let invalid = |field, value: i64, reason: &str| Err(Error::invalid(field, value, reason));
    if wanted.memory_swappiness == Some(-1) {
        wanted.memory_swappiness = None;
    }
    if wanted.memory_bytes != 0 && wanted.memory_bytes < MIN_MEMORY_BYTES {
        return invalid("memory limit", wanted.memory_bytes, "the minimum is 6 MiB");
    }
    if wanted.memory_swap_bytes < -1 {
        return invalid("memory and swap limit", wanted.memory_swap_bytes, "it is -1 or a number of bytes");
    }
    if purpose == Purpose::Create && wanted.memory_bytes > 0 && wanted.memory_swap_bytes == 0 {
        wanted.memory_swap_bytes = wanted.memory_bytes.saturating_mul(2);
    }
    if !support.memory {
        discard(&mut wanted.memory_bytes, |bytes| *bytes > 0, "memory", warnings);
        discard(&mut wanted.memory_swap_bytes, |_| false, "memory and swap", warnings);
    }
    if !support.swap {
        // Unlimited is what it is then: there is no file to say so.
        discard(&mut wanted.memory_swap_bytes, |bytes| *bytes > 0, "swap", warnings);
    }
    let (limit, both) = (wanted.memory_bytes, wanted.memory_swap_bytes);
    if limit > 0 && both > 0 && both < limit {
        return invalid("memory and swap limit", both, "it is below the memory limit");
    }
    if limit == 0 && both > 0 && purpose == Purpose::Create {
        return invalid("memory and swap limit", both, "a memory limit is needed with it");
    }
    if !support.swappiness {
        discard(&mut wanted.memory_swappiness, Option::is_some, "swappiness", warnings);
    }
    if let Some(value) = wanted.memory_swappiness.filter(|value| !(0..=100).contains(value)) {
        return invalid("swappiness", value, "it is from 0 to 100");
    }
    reservation(wanted, support, warnings)?;
    if !support.oom_kill_disable {
        discard(&mut wanted.oom_kill_disable, |off| *off == Some(true), "the OOM killer", warnings);
    }
    Ok(())
}

fn reservation(wanted: &mut Resources, support: &Support, warnings: &mut Vec<Warning>) -> Result<(), Error> {
    if !support.reservation {
        discard(&mut wanted.memory_reservation_bytes, |bytes| *bytes > 0, "memory reservation", warnings);
    }
    let reservation = wanted.memory_reservation_bytes;
    let invalid = |reason: &str| Err(Error::invalid("memory reservation", reservation, reason));
    if reservation != 0 && reservation < MIN_MEMORY_BYTES {
        return invalid("the minimum is 6 MiB");
    }
    if wanted.memory_bytes > 0 && reservation > wanted.memory_bytes {
        return invalid("it is above the memory limit");
    }
    Ok(())
}

fn cpu(wanted: &mut Resources, support: &Support, warnings: &mut Vec<Warning>) -> Result<(), Error> {
    let conflict = |second| Err(Error::Conflict { first: "a number of CPUs", second, hint: "" });
    if wanted.nano_cpus > 0 && wanted.cpu_period_us > 0 {
        return conflict("a CPU period");
    }
    if wanted.nano_cpus > 0 && wanted.cpu_quota_us > 0 {
        return conflict("a CPU quota");
    }
    let most = if support.cpus == 0 { i64::MAX } else { i64::from(support.cpus) * NANOS };
    if !(0..=most).contains(&wanted.nano_cpus) {
        let reason = format!("there are {} of them", support.cpus);
        return Err(Error::invalid("number of CPUs (in billionths)", wanted.nano_cpus, reason));
    }
    if wanted.nano_cpus > 0 && !support.cpu_quota {
        return Err(Error::Unsupported {
            what: "a number of CPUs",
            reason: "the kernel's scheduler or the cgroups have no quota",
        });
    }
    if !support.cpu_shares {
        discard(&mut wanted.cpu_shares, |shares| *shares > 0, "the share of CPU time", warnings);
    }
    if !support.cpu_quota {
        let asked = wanted.cpu_period_us != 0 || wanted.cpu_quota_us != 0;
        discard(&mut wanted.cpu_period_us, |_| asked, "CPU time in a period", warnings);
        wanted.cpu_quota_us = 0;
    }
    if wanted.cpu_period_us != 0 && !(1000..=1_000_000).contains(&wanted.cpu_period_us) {
        let reason = "it is from 1000 to 1000000 microseconds";
        return Err(Error::invalid("CPU period", wanted.cpu_period_us, reason));
    }
    if (1..1000).contains(&wanted.cpu_quota_us) {
        return Err(Error::invalid("CPU quota", wanted.cpu_quota_us, "the minimum is 1000 microseconds"));
    }
    realtime(wanted, support, warnings)
}

fn realtime(wanted: &mut Resources, support: &Support, warnings: &mut Vec<Warning>) -> Result<(), Error> {
    let (runtime, period) = (wanted.cpu_realtime_runtime_us, wanted.cpu_realtime_period_us);
    if !support.cpu_realtime {
        let asked = runtime != 0 || period != 0;
        discard(&mut wanted.cpu_realtime_runtime_us, |_| asked, "real-time scheduling", warnings);
        wanted.cpu_realtime_period_us = 0;
    } else if runtime != 0 && period != 0 && runtime > period {
        return Err(Error::invalid("real-time runtime", runtime, "it is above the real-time period"));
    }
    Ok(())
}

fn cpuset(wanted: &mut Resources, support: &Support, warnings: &mut Vec<Warning>) -> Result<(), Error> {
    if !support.cpuset {
        let asked = !wanted.cpuset_cpus.is_empty() || !wanted.cpuset_mems.is_empty();
        discard(&mut wanted.cpuset_cpus, |_| asked, "the set of CPUs and memory nodes", warnings);
        wanted.cpuset_mems.clear();
    }
    within("cpuset CPUs", &wanted.cpuset_cpus, &support.cpuset_cpus)?;
    within("cpuset memory nodes", &wanted.cpuset_mems, &support.cpuset_mems)
}

/// Checks a list against what there is, as far as that is known.
fn within(field: &'static str, wanted: &str, available: &str) -> Result<(), Error> {
    let ranges = list(field, wanted)?;
    if available.is_empty() {
        return Ok(());
    }
    let there = list(field, available)?;
    let has = |number: u32| there.iter().any(|(first, last)| (*first..=*last).contains(&number));
    match ranges.iter().flat_map(|(first, last)| *first..=*last).find(|number| !has(*number)) {
        Some(_) => Err(Error::invalid(field, wanted, format!("there are {available}"))),
        None => Ok(()),
    }
}

/// The ranges of a list such as `0-3,7`.
fn list(field: &'static str, text: &str) -> Result<Vec<(u32, u32)>, Error> {
    let invalid = |reason: &str| {
        let shown: String = text.chars().take(100).collect();
        Error::invalid(field, shown, reason)
    };
    if text.len() > MAX_LIST_BYTES {
        return Err(invalid("the list is too long"));
    }
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number <= MAX_CPU)
    };
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for part in text.trim_end().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range = number(first).zip(number(last)).filter(|(first, last)| first <= last);
        let range = range.ok_or_else(|| invalid("it is a list such as 0-3,7 of numbers up to 8191"))?;
        if !ranges.contains(&range) {
            ranges.push(range);
        }
        if ranges.len() > MAX_CPU as usize {
            return Err(invalid("the list is too long"));
        }
    }
    Ok(ranges)
}

fn block_io(wanted: &mut Resources, support: &Support, warnings: &mut Vec<Warning>) -> Result<(), Error> {
    if !support.blkio_weight {
        discard(&mut wanted.blkio_weight, |weight| *weight > 0, "the weight of block I/O", warnings);
    }
    if !support.blkio_weight_device {
        let what = "the weight of block I/O by device";
        discard(&mut wanted.blkio_weight_device, |list| !list.is_empty(), what, warnings);
    }
    let weights = wanted.blkio_weight_device.iter().map(|device| device.weight);
    let mut weights = weights.chain(Some(wanted.blkio_weight).filter(|weight| *weight != 0));
    if let Some(weight) = weights.find(|weight| !(10..=1000).contains(weight)) {
        return Err(Error::invalid("block I/O weight", weight, "it is from 10 to 1000"));
    }
    if !support.blkio_throttle {
        let set = |list: &Vec<DeviceRate>| !list.is_empty();
        discard(&mut wanted.blkio_read_bps, set, "the rate of reading", warnings);
        discard(&mut wanted.blkio_write_bps, set, "the rate of writing", warnings);
        discard(&mut wanted.blkio_read_iops, set, "the number of reads", warnings);
        discard(&mut wanted.blkio_write_iops, set, "the number of writes", warnings);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::DeviceWeight;

    const MIB: i64 = 1 << 20;

    fn create(wanted: Resources) -> Result<(Resources, Vec<Warning>), Error> {
        settle(wanted, &Support::default(), Purpose::Create)
    }

    fn none() -> Support {
        Support {
            memory: false,
            swap: false,
            reservation: false,
            pids: false,
            cpu_shares: false,
            cpu_quota: false,
            cpuset: false,
            blkio_weight: false,
            blkio_weight_device: false,
            blkio_throttle: false,
            ..Support::default()
        }
    }

    #[test]
    fn swap_is_as_much_again_where_nothing_is_said() {
        let wanted = Resources { memory_bytes: 100 * MIB, ..Resources::default() };
        assert_eq!(create(wanted.clone()).unwrap().0.memory_swap_bytes, 200 * MIB);
        let updated = settle(wanted, &Support::default(), Purpose::Update).unwrap().0;
        assert_eq!(updated.memory_swap_bytes, 0);
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let base = Resources::default;
        for bad in [
            Resources { memory_bytes: MIB, ..base() },
            Resources { memory_bytes: -5, ..base() },
            Resources { memory_swap_bytes: -2, ..base() },
            Resources { memory_swap_bytes: 100 * MIB, ..base() },
            Resources { memory_bytes: 100 * MIB, memory_swap_bytes: 50 * MIB, ..base() },
            Resources { memory_reservation_bytes: MIB, ..base() },
            Resources { memory_bytes: 10 * MIB, memory_reservation_bytes: 20 * MIB, ..base() },
            Resources { nano_cpus: 1, cpu_period_us: 1000, ..base() },
            Resources { nano_cpus: 1, cpu_quota_us: 1000, ..base() },
            Resources { nano_cpus: -1, ..base() },
            Resources { cpu_period_us: 999, ..base() },
            Resources { cpu_period_us: 1_000_001, ..base() },
            Resources { cpu_quota_us: 999, ..base() },
            Resources { blkio_weight: 9, ..base() },
            Resources {
                blkio_weight_device: vec![DeviceWeight { weight: 1001, ..DeviceWeight::default() }],
                ..base()
            },
        ] {
            assert!(create(bad.clone()).is_err(), "{bad:?}");
        }
        let v1 = Support { swappiness: true, ..Support::default() };
        let wanted = Resources { memory_swappiness: Some(101), ..base() };
        assert!(settle(wanted, &v1, Purpose::Create).is_err());
    }

    #[test]
    fn what_the_host_cannot_limit_is_left_out_with_a_warning() {
        let rate = vec![DeviceRate::default()];
        let wanted = Resources {
            memory_bytes: 100 * MIB,
            memory_reservation_bytes: 50 * MIB,
            memory_swappiness: Some(5),
            oom_kill_disable: Some(true),
            cpu_shares: 5,
            cpu_quota_us: 5000,
            cpu_realtime_runtime_us: 5,
            cpuset_cpus: "0".into(),
            pids: Some(5),
            blkio_weight: 500,
            blkio_weight_device: vec![DeviceWeight { weight: 10, ..DeviceWeight::default() }],
            blkio_read_bps: rate.clone(),
            blkio_write_bps: rate.clone(),
            blkio_read_iops: rate.clone(),
            blkio_write_iops: rate,
            ..Resources::default()
        };
        let (settled, warnings) = settle(wanted, &none(), Purpose::Create).unwrap();
        assert_eq!(settled, Resources::default());
        assert_eq!(warnings.len(), 15);
        let harmless = Resources { oom_kill_disable: Some(false), pids: Some(-1), ..Resources::default() };
        assert!(settle(harmless, &none(), Purpose::Create).unwrap().1.is_empty());
        assert!(
            settle(Resources { nano_cpus: 5, ..Resources::default() }, &none(), Purpose::Create).is_err()
        );
    }

    #[test]
    fn no_more_cpus_than_there_are() {
        let support = Support { cpus: 2, cpuset_cpus: "0-1,4".into(), ..Support::default() };
        let check = |nano_cpus, cpus: &str| {
            let wanted = Resources { nano_cpus, cpuset_cpus: cpus.into(), ..Resources::default() };
            settle(wanted, &support, Purpose::Create).is_ok()
        };
        assert!(check(2 * NANOS, "0,1") && check(0, "0-1,4") && check(0, "4,"));
        assert!(!check(2 * NANOS + 1, "") && !check(0, "2") && !check(0, "0-4"));
        for bad in ["-1", "1-", "3-1", "a", "+1", "1--2", "0x1", " "] {
            assert!(!check(0, bad) || bad == " ", "{bad}");
        }
    }

    #[test]
    fn cve_2018_20699_large_cpu_numbers_cost_nothing() {
        for bad in ["0-4294967295", "8192", "99999999999999999999", &"1,".repeat(70_000)] {
            let wanted = Resources { cpuset_cpus: bad.into(), ..Resources::default() };
            assert!(create(wanted).is_err());
        }
        let wanted = Resources { cpuset_mems: "0-4294967295".into(), ..Resources::default() };
        assert!(create(wanted).is_err());
    }
}
