//! What this machine is, as far as specifications depend on it: looked up once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gantry_spec::{ALL_CAPABILITIES, Host, KernelVersion, Support};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};

/// Since when a whole tree of mounts can be made read-only.
const MOUNT_SETATTR: KernelVersion = KernelVersion { major: 5, minor: 12 };

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Looks at the machine. Blocks.
pub(crate) fn facts() -> Host {
    let release = text("/proc/sys/kernel/osrelease");
    let kernel = release.trim().parse().unwrap_or(KernelVersion { major: 5, minor: 10 });
    let capabilities = ALL_CAPABILITIES.iter().enumerate().filter(|(number, _)| {
        let bit = CapabilitySet::from_bits_retain(1 << number);
        capability_is_in_bounding_set(bit).unwrap_or(false)
    });
    let capabilities: Vec<String> = capabilities.map(|(_, name)| (*name).to_owned()).collect();
    let can_raise = capabilities.iter().any(|name| name == "CAP_SYS_RESOURCE");
    let user_namespace =
        text("/proc/self/uid_map").split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"];
    Host {
        kernel,
        // Policies are loaded by the host's administrator.
        apparmor: if user_namespace { None } else { super::apparmor::default_profile() },
        seccomp: exists("/proc/sys/kernel/seccomp"),
        recursive_read_only: kernel >= MOUNT_SETATTR,
        capabilities,
        devices: Vec::new(),
        thermal_throttle_cpus: throttles(),
        unprivileged_ping: exists("/proc/sys/net/ipv4/ping_group_range"),
        unprivileged_ports: exists("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
        user_namespace,
        rlimit_ceilings: if can_raise { BTreeMap::new() } else { ceilings() },
        oom_score_adj_floor: if can_raise {
            None
        } else {
            text("/proc/self/oom_score_adj").trim().parse().ok()
        },
        support: support(),
    }
}

fn throttles() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu") else { return Vec::new() };
    let number = |name: &str| name.strip_prefix("cpu")?.parse::<u32>().ok();
    let found = entries.flatten().filter(|entry| entry.path().join("thermal_throttle").exists());
    let mut numbers: Vec<u32> = found.filter_map(|entry| number(entry.file_name().to_str()?)).collect();
    numbers.sort_unstable();
    numbers
}

/// The limits that a daemon without CAP_SYS_RESOURCE can give.
fn ceilings() -> BTreeMap<String, u64> {
    let limits = [
        ("RLIMIT_CORE", Resource::Core),
        ("RLIMIT_CPU", Resource::Cpu),
        ("RLIMIT_DATA", Resource::Data),
        ("RLIMIT_FSIZE", Resource::Fsize),
        ("RLIMIT_LOCKS", Resource::Locks),
        ("RLIMIT_MEMLOCK", Resource::Memlock),
        ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
        ("RLIMIT_NICE", Resource::Nice),
        ("RLIMIT_NOFILE", Resource::Nofile),
        ("RLIMIT_NPROC", Resource::Nproc),
        ("RLIMIT_RSS", Resource::Rss),
        ("RLIMIT_RTPRIO", Resource::Rtprio),
        ("RLIMIT_RTTIME", Resource::Rttime),
        ("RLIMIT_SIGPENDING", Resource::Sigpending),
        ("RLIMIT_STACK", Resource::Stack),
    ];
    limits.into_iter().filter_map(|(name, kind)| Some((name.to_owned(), getrlimit(kind).maximum?))).collect()
}

fn support() -> Support {
    let unified = exists("/sys/fs/cgroup/cgroup.controllers");
    let controllers = if unified { text("/sys/fs/cgroup/cgroup.controllers") } else { text("/proc/cgroups") };
    let has = |name: &str| controllers.split_whitespace().any(|word| word == name);
    let cpus =
        std::thread::available_parallelism().map_or(0, |count| u32::try_from(count.get()).unwrap_or(0));
    let v1 = |file: &str| !unified && exists(&format!("/sys/fs/cgroup/{file}"));
    Support {
        memory: has("memory"),
        swap: has("memory") && (unified || v1("memory/memory.memsw.limit_in_bytes")),
        reservation: has("memory"),
        swappiness: v1("memory/memory.swappiness"),
        oom_kill_disable: v1("memory/memory.oom_control"),
        pids: has("pids"),
        cpu_shares: has("cpu"),
        cpu_quota: if unified { has("cpu") } else { v1("cpu/cpu.cfs_quota_us") },
        cpu_realtime: v1("cpu/cpu.rt_runtime_us"),
        cpuset: has("cpuset"),
        blkio_weight: if unified {
            has("io")
        } else {
            v1("blkio/blkio.weight") || v1("blkio/blkio.bfq.weight")
        },
        blkio_weight_device: if unified { has("io") } else { v1("blkio/blkio.weight_device") },
        blkio_throttle: if unified { has("io") } else { v1("blkio/blkio.throttle.read_bps_device") },
        cpus,
        cpuset_cpus: online(if unified {
            "/sys/fs/cgroup/cpuset.cpus.effective"
        } else {
            "/sys/fs/cgroup/cpuset/cpuset.cpus"
        }),
        cpuset_mems: online(if unified {
            "/sys/fs/cgroup/cpuset.mems.effective"
        } else {
            "/sys/fs/cgroup/cpuset/cpuset.mems"
        }),
    }
}

fn online(path: &str) -> String {
    text(path).trim().to_owned()
}
