//! Scheduling, I/O priority, NUMA policy and CPU lists of the configuration, in the kernel's numbers.

use gantry_sys::sched::SchedAttr;
use gantry_types::oci::{IoPriority, MemoryPolicy, Personality, Scheduler};

use crate::error::Error;

/// The highest CPU or node number that a list may name.
const MAX_LIST_NUMBER: usize = 65_535;

const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

const SCHED_FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// Modes of set_mempolicy(2).
pub const MEMORY_POLICY_MODES: [(&str, i32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// Mode flags of set_mempolicy(2).
pub const MEMORY_POLICY_FLAGS: [(&str, i32); 3] = [
    ("MPOL_F_STATIC_NODES", 1 << 15),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
];

fn lookup<T: Copy>(table: &[(&str, T)], name: &str, field: &str) -> Result<T, Error> {
    table
        .iter()
        .find(|entry| entry.0 == name)
        .map(|entry| entry.1)
        .ok_or_else(|| Error::config(field, format!("unknown value {name:?}")))
}

pub(crate) fn scheduler(scheduler: &Scheduler) -> Result<SchedAttr, Error> {
    let field = "process.scheduler";
    let policy = lookup(&POLICIES, &scheduler.policy, "process.scheduler.policy")?;
    let mut flags = 0;
    for flag in &scheduler.flags {
        flags |= lookup(&SCHED_FLAGS, flag, "process.scheduler.flags")?;
    }
    if !(-20..=19).contains(&scheduler.nice) {
        return Err(Error::config(
            "process.scheduler.nice",
            format!("{} is not between -20 and 19", scheduler.nice),
        ));
    }
    let realtime = matches!(policy, 1 | 2);
    if scheduler.priority != 0 && !realtime {
        return Err(Error::config(
            "process.scheduler.priority",
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        ));
    }
    let priority = u32::try_from(scheduler.priority)
        .map_err(|_| Error::config("process.scheduler.priority", "must not be negative"))?;
    if policy != 6 && (scheduler.runtime, scheduler.deadline, scheduler.period) != (0, 0, 0) {
        return Err(Error::config(
            field,
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
        ));
    }
    Ok(SchedAttr {
        size: 0,
        policy,
        flags,
        nice: scheduler.nice,
        priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
    })
}

pub(crate) fn io_priority(priority: &IoPriority) -> Result<(i32, i32), Error> {
    const CLASSES: [(&str, i32); 3] =
        [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
    let class = lookup(&CLASSES, &priority.class, "process.ioPriority.class")?;
    if !(0..=7).contains(&priority.priority) {
        return Err(Error::config(
            "process.ioPriority.priority",
            format!("{} is not between 0 and 7", priority.priority),
        ));
    }
    Ok((class, priority.priority))
}

pub(crate) fn memory_policy(policy: &MemoryPolicy) -> Result<(i32, Vec<u64>), Error> {
    let invalid = |field: &str, what: &str, value: &str| {
        Error::config(
            format!("linux.memoryPolicy.{field}"),
            format!("invalid memory policy {what} {value:?}"),
        )
    };
    let find =
        |table: &[(&str, i32)], name: &str| table.iter().find(|entry| entry.0 == name).map(|entry| entry.1);
    let mut mode =
        find(&MEMORY_POLICY_MODES, &policy.mode).ok_or_else(|| invalid("mode", "mode", &policy.mode))?;
    let takes_none = matches!(policy.mode.as_str(), "MPOL_DEFAULT" | "MPOL_LOCAL");
    for flag in &policy.flags {
        mode |= find(&MEMORY_POLICY_FLAGS, flag).ok_or_else(|| invalid("flags", "flag", flag))?;
    }
    let nodes = number_list(&policy.nodes, "linux.memoryPolicy.nodes")
        .map_err(|_| invalid("nodes", "node list", &policy.nodes))?;
    let count: u32 = nodes.iter().map(|word| word.count_ones()).sum();
    if takes_none && count > 0 {
        let reason = format!("{} mode requires 0 nodes but got {count}", policy.mode);
        return Err(Error::config("linux.memoryPolicy.nodes", reason));
    }
    Ok((mode, nodes))
}

/// personality(2) of the configuration.
pub(crate) fn personality(personality: &Personality) -> Result<u64, Error> {
    const DOMAINS: [(&str, u64); 2] = [("LINUX", 0), ("LINUX32", 8)];
    if !personality.flags.is_empty() {
        return Err(Error::config("linux.personality.flags", "no flags are defined"));
    }
    lookup(&DOMAINS, &personality.domain, "linux.personality.domain")
}

/// A list such as `0-3,7` as a bit mask; empty for an empty list.
pub(crate) fn number_list(text: &str, field: &str) -> Result<Vec<u64>, Error> {
    let bad = || Error::config(field, format!("{text:?} is not a list such as 0-3,7"));
    let mut mask = Vec::new();
    let mut named = 0;
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let parse =
            |number: &str| number.parse::<usize>().ok().filter(|&n| n <= MAX_LIST_NUMBER).ok_or_else(bad);
        let (first, last) = (parse(first)?, parse(last)?);
        // Whoever names so many numbers names some again and again.
        named += last.saturating_sub(first) + 1;
        if first > last || named > MAX_LIST_NUMBER + 1 {
            return Err(bad());
        }
        if mask.len() <= last / 64 {
            mask.resize(last / 64 + 1, 0);
        }
        for number in first..=last {
            mask[number / 64] |= 1u64 << (number % 64);
        }
    }
    Ok(mask)
}

/// A mask as a number, as runc prints it.
pub(crate) fn hexadecimal(mask: &[u64]) -> String {
    use std::fmt::Write;
    let mut words = mask.iter().rev().skip_while(|word| **word == 0);
    let mut text = format!("0x{:x}", words.next().unwrap_or(&0));
    for word in words {
        let _ = write!(text, "{word:016x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_read_as_one_number() {
        for (list, expect) in [("0-1", "0x3"), ("5", "0x20"), ("0,64", "0x10000000000000001"), ("", "0x0")] {
            assert_eq!(hexadecimal(&number_list(list, "f").unwrap()), expect);
        }
    }

    #[test]
    fn lists_become_masks() {
        assert_eq!(number_list("0-3, 7", "f").unwrap(), [0x8f]);
        assert_eq!(number_list("64", "f").unwrap(), [0, 1]);
        assert!(number_list("", "f").unwrap().is_empty());
        for bad in ["a", "3-1", "-1", "1-", "65536", "99999999999999999999"] {
            assert!(number_list(bad, "f").is_err(), "{bad}");
        }
        assert_eq!(number_list("0-65535", "f").unwrap().len(), 1024);
        assert!(number_list(&"0-65535,".repeat(1 << 20), "f").is_err(), "it would take minutes");
    }

    #[test]
    fn memory_policies_are_checked_before_the_kernel_sees_them() {
        let make = |mode: &str, nodes: &str, flag: &str| {
            memory_policy(&MemoryPolicy {
                mode: mode.into(),
                nodes: nodes.into(),
                flags: Some(flag).filter(|flag| !flag.is_empty()).map(str::to_owned).into_iter().collect(),
            })
        };
        assert_eq!(make("MPOL_BIND", "0-1", "MPOL_F_STATIC_NODES").unwrap(), (2 | 1 << 15, vec![3]));
        assert!(make("MPOL_DEFAULT", "", "").is_ok());
        for (mode, nodes, flag) in [
            ("", "0", ""),
            ("MPOL_BIND", "0", "X"),
            ("MPOL_BIND", "0-9876543210", ""),
            ("MPOL_DEFAULT", "0-7", ""),
        ] {
            assert!(make(mode, nodes, flag).is_err(), "{mode} {nodes} {flag}");
        }
    }

    #[test]
    fn priorities_belong_to_real_time_policies() {
        let make =
            |policy: &str, priority| Scheduler { policy: policy.into(), priority, ..Scheduler::default() };
        assert!(scheduler(&make("SCHED_OTHER", 1)).is_err());
        assert!(scheduler(&make("SCHED_FIFO", -1)).is_err());
        assert_eq!(scheduler(&make("SCHED_FIFO", 10)).unwrap().policy, 1);
        assert!(scheduler(&make("SCHED_NOPE", 0)).is_err());
    }
}
