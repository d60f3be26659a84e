use std::collections::BTreeMap;
use std::str::FromStr;

use crate::options::HostDevice;

/// What a configuration depends on besides the options: facts of the host, looked up by the caller, once.
///
/// The default is a plain host: no AppArmor, an old kernel, all capabilities, one CPU that nobody counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The running kernel, for the conditions of seccomp profiles.
    pub kernel: KernelVersion,
    /// The name of the AppArmor profile that containers get; `None` where AppArmor is off.
    pub apparmor: Option<String>,
    /// Whether the kernel has seccomp filters.
    pub seccomp: bool,
    /// Whether a whole tree of mounts can be made read-only: mount_setattr(2), Linux 5.12, and a runtime that knows `rro`.
    pub recursive_read_only: bool,
    /// The capabilities that can be given: those of the daemon's bounding set, as names (`CAP_CHOWN`), in any order.
    pub capabilities: Vec<String>,
    /// The nodes below /dev that a privileged container gets; need not be filled in for others.
    pub devices: Vec<HostDevice>,
    /// Numbers of the CPUs that have /sys/devices/system/cpu/cpuN/thermal_throttle.
    pub thermal_throttle_cpus: Vec<u32>,
    /// Whether this kernel has net.ipv4.ping_group_range: who has a network of their own may ping without a capability.
    pub unprivileged_ping: bool,
    /// Whether it has net.ipv4.ip_unprivileged_port_start: the same of opening low ports.
    pub unprivileged_ports: bool,
    /// Whether the daemon itself runs in a user namespace (rootless).
    pub user_namespace: bool,
    /// The highest limits that can be given, by `RLIMIT_` names, where the daemon lacks CAP_SYS_RESOURCE: higher wishes
    /// are lowered to them.
    pub rlimit_ceilings: BTreeMap<String, u64>,
    /// The lowest OOM score that can be given, where the daemon lacks CAP_SYS_RESOURCE.
    pub oom_score_adj_floor: Option<i32>,
    /// What the cgroups of this host can limit.
    pub support: Support,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            kernel: KernelVersion { major: 5, minor: 10 },
            apparmor: None,
            seccomp: true,
            recursive_read_only: false,
            capabilities: crate::ALL_CAPABILITIES.map(str::to_owned).to_vec(),
            devices: Vec::new(),
            thermal_throttle_cpus: Vec::new(),
            unprivileged_ping: true,
            unprivileged_ports: true,
            user_namespace: false,
            rlimit_ceilings: BTreeMap::new(),
            oom_score_adj_floor: None,
            support: Support::default(),
        }
    }
}

/// What the cgroups of a host can limit; everything, by default, but for what only cgroup v1 has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// memory.max, memory.limit_in_bytes.
    pub memory: bool,
    /// memory.swap.max, memory.memsw.limit_in_bytes.
    pub swap: bool,
    /// memory.low, memory.soft_limit_in_bytes.
    pub reservation: bool,
    /// memory.swappiness: cgroup v1 alone.
    pub swappiness: bool,
    /// Whether the OOM killer can be turned off: cgroup v1 alone.
    pub oom_kill_disable: bool,
    /// pids.max.
    pub pids: bool,
    /// cpu.weight, cpu.shares.
    pub cpu_shares: bool,
    /// cpu.max, cpu.cfs_quota_us.
    pub cpu_quota: bool,
    /// cpu.rt_runtime_us: cgroup v1 and a kernel with RT_GROUP_SCHED.
    pub cpu_realtime: bool,
    /// The cpuset controller.
    pub cpuset: bool,
    /// io.bfq.weight, io.weight, blkio.weight.
    pub blkio_weight: bool,
    /// The same by device.
    pub blkio_weight_device: bool,
    /// io.max, blkio.throttle.*.
    pub blkio_throttle: bool,
    /// How many CPUs there are; 0 if that is not known.
    pub cpus: u32,
    /// The CPUs that can be asked for, as a list such as `0-3,7`; empty if that is not known.
    pub cpuset_cpus: String,
    /// The same of the memory nodes.
    pub cpuset_mems: String,
}

impl Default for Support {
    fn default() -> Self {
        Self {
            memory: true,
            swap: true,
            reservation: true,
            swappiness: false,
            oom_kill_disable: false,
            pids: true,
            cpu_shares: true,
            cpu_quota: true,
            cpu_realtime: false,
            cpuset: true,
            blkio_weight: true,
            blkio_weight_device: true,
            blkio_throttle: true,
            cpus: 0,
            cpuset_cpus: String::new(),
            cpuset_mems: String::new(),
        }
    }
}

/// The first two numbers of a kernel's release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The `6` of `6.18.44-amd64`.
    pub major: u32,
    /// The `18`.
    pub minor: u32,
}

impl FromStr for KernelVersion {
    type Err = crate::Error;

    /// Reads the beginning of a release such as `6.18.44-amd64`, as uname(2) gives it.
    fn from_str(release: &str) -> Result<Self, crate::Error> {
        let mut numbers =
            release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
        match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(crate::Error::invalid("kernel release", release, "it does not begin with two numbers")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_begin_with_two_numbers() {
        for (text, major, minor) in [("6.18.44-fc-v657", 6, 18), ("5.4", 5, 4), ("3.12-rc5", 3, 12)] {
            assert_eq!(text.parse::<KernelVersion>().unwrap(), KernelVersion { major, minor });
        }
        for text in ["", "6", "a.b", "99999999999.1", "-1.2"] {
            assert!(text.parse::<KernelVersion>().is_err(), "{text}");
        }
    }
}
