//! Entry points of the fuzz targets in `fuzz/`: everything here that reads what others may have written.
//!
//! Each panics where a promise is broken. None opens a path that its input names: [`limits`] is given a directory, and
//! names from its input stay beneath it.

use std::collections::BTreeMap;
use std::path::Path;

use gantry_types::oci::{DeviceRule, Resources, from_json};

use crate::controller::{Controller, Controllers};
use crate::freeze::flag;
use crate::hierarchy::{Hierarchy, Mode, below_mount, find_own};
use crate::limits::Phase;
use crate::resolve::{CgroupSpec, Driver, Request, clean_below};
use crate::{Cgroup, CgroupRecord, Features, oom};

pub use crate::stats::fuzzing::statistics;
pub use crate::systemd::fuzzing::{bus_message, bus_text, properties};

/// Annotations `org.systemd.property.<name>`, in lines of name and value.
pub fn annotations(text: &str) {
    for line in text.lines() {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        crate::systemd::fuzzing::annotation(name, value);
    }
}

/// Device rules as JSON.
pub fn devices(text: &[u8]) {
    if let Ok(rules) = serde_json::from_slice::<Vec<DeviceRule>>(text) {
        device_rules(&rules);
    }
}

/// Device rules: the program and the lines for cgroup v1 must mean what the policy does.
pub fn device_rules(rules: &[DeviceRule]) {
    crate::devices::fuzzing::rules(rules);
}

/// The text of the kernel's tables: mountinfo, `/proc/<pid>/cgroup`, and files of cgroups.
pub fn tables(text: &str) {
    if let Ok(found) = Hierarchy::from_mountinfo(text) {
        for mount in found.mounts() {
            assert!(found.mode() == Mode::Hybrid || !mount.controllers.is_unified());
            let own = find_own(text, mount.controllers).unwrap_or("/");
            if let Ok(own) = below_mount(own, &mount.root) {
                assert!(!own.starts_with('/') && own.split('/').all(|part| part != ".."), "{own}");
            }
        }
    }
    let _ = find_own(text, Controllers::UNIFIED);
    for key in ["frozen", "populated"] {
        let _ = flag(text.as_bytes(), key);
    }
    let _ = oom::count(text);
    crate::devices::fuzzing::list(text);
}

/// `linux.cgroupsPath`: whatever it is, the container's cgroup is beneath the mount, and is not the mount.
pub fn cgroups_path(path: &str) {
    let beneath = |path: &str| {
        !path.is_empty()
            && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !path.contains('\0')
    };
    // Relative paths depend on where this process is.
    let absolute = format!("/{path}");
    for (path, driver) in [
        (absolute.as_str(), Driver::Fs),
        (path, Driver::Systemd { user: false }),
        (path, Driver::Systemd { user: true }),
    ] {
        let request = Request { path, id: "box", driver, rootless: false };
        if let Ok(spec) = CgroupSpec::resolve(&Hierarchy::unified("/mount"), &request) {
            assert!(spec.targets.iter().all(|target| beneath(&target.path)), "{path:?} {:?}", spec.targets);
        }
    }
    if let Some(below) = clean_below(path) {
        assert!(below.is_empty() || beneath(&below), "{path:?} {below:?}");
    }
}

/// The part of a record that is ours: it must survive a second way through JSON.
pub fn record(text: &[u8]) {
    let Ok(record) = from_json::<CgroupRecord>(text) else { return };
    let cgroup = Cgroup::from_record(&record, Features::default());
    let again = Cgroup::from_record(&cgroup.record(), Features::default());
    assert_eq!(cgroup.record(), again.record());
}

/// `linux.resources` as JSON, written to the files of `directory` as if it were a cgroup of v2, and of v1.
pub fn limits(text: &[u8], directory: &Path) {
    let Ok(resources) = from_json::<Resources>(text) else { return };
    if crate::devices::policy(&resources.devices).is_err() {
        return;
    }
    properties(&resources);
    for mode in [Mode::V2, Mode::V1] {
        let names = if mode == Mode::V2 { &[""][..] } else { &V1 };
        let paths: BTreeMap<_, _> =
            names.iter().map(|name| ((*name).to_owned(), directory.to_owned())).collect();
        let record = CgroupRecord {
            mode,
            driver: Driver::Fs,
            rootless: true,
            paths,
            unified_mount: directory.to_owned(),
            unit: None,
        };
        // In a user namespace no device program is attached.
        let features = Features { in_user_namespace: true, ..Features::default() };
        let cgroup = Cgroup::from_record(&record, features);
        for phase in [Phase::BeforeClone, Phase::DuringSetup, Phase::BeforeStart, Phase::Update] {
            if let Err(error) = cgroup.apply(&resources, phase) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

const V1: [&str; 9] = ["cpuset", "memory", "cpu", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma"];

/// The files that [`limits`] reads, each before a run as the kernel might have it.
pub const READ_FILES: [(&str, &str); 8] = [
    ("cpu.max", "20000 100000\n"),
    ("cpu.cfs_quota_us", "-1\n"),
    ("cpu.cfs_period_us", "100000\n"),
    ("cpu.shares", "1024\n"),
    ("memory.current", "65536\n"),
    ("memory.limit_in_bytes", "9223372036854771712\n"),
    ("memory.usage_in_bytes", "65536\n"),
    ("cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma\n"),
];

/// The names that it writes to besides.
pub const LIMIT_FILES: [&str; 36] = [
    "pids.max",
    "cpuset.cpus",
    "cpuset.mems",
    "memory.max",
    "memory.low",
    "memory.min",
    "memory.high",
    "memory.swap.max",
    "memory.oom.group",
    "cpu.idle",
    "cpu.weight",
    "cpu.max.burst",
    "io.weight",
    "io.bfq.weight",
    "io.max",
    "hugetlb.2MB.max",
    "hugetlb.2MB.rsvd.max",
    "rdma.max",
    "memory.memsw.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.kmem.tcp.limit_in_bytes",
    "memory.oom_control",
    "memory.swappiness",
    "cpu.cfs_burst_us",
    "cpu.rt_period_us",
    "cpu.rt_runtime_us",
    "blkio.weight",
    "blkio.weight_device",
    "blkio.leaf_weight",
    "blkio.throttle.read_bps_device",
    "blkio.throttle.write_bps_device",
    "blkio.throttle.read_iops_device",
    "blkio.throttle.write_iops_device",
    "hugetlb.2MB.limit_in_bytes",
    "net_cls.classid",
    "net_prio.ifpriomap",
];

/// Names of controllers, one by one and in lists.
pub fn controllers(text: &str) {
    let set = Controllers::from_list(text);
    assert_eq!(set.is_unified(), set.iter().next().is_none());
    assert!(Controller::from_name(text).is_none_or(|one| one.as_str() == text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_seed(target: &str, check: impl Fn(&[u8])) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
        let files: Vec<_> = std::fs::read_dir(directory).unwrap().flatten().collect();
        assert!(!files.is_empty());
        files.iter().for_each(|file| check(&std::fs::read(file.path()).unwrap()));
    }

    fn each_text(target: &str, check: impl Fn(&str)) {
        each_seed(target, |bytes| check(&String::from_utf8_lossy(bytes)));
    }

    #[test]
    fn the_seeds_of_the_fuzz_targets_hold() {
        each_text("annotations", annotations);
        each_text("options", |text| {
            cgroups_path(text);
            controllers(text);
        });
        each_text("tables", |text| {
            tables(text);
            statistics(text);
        });
        each_seed("bus", bus_message);
        each_text("bus", bus_text);
        each_seed("devices", devices);
        each_seed("record", record);
        let directory = tempfile::tempdir().unwrap();
        let files = LIMIT_FILES.map(|name| (name, "0\n"));
        for (name, text) in files.into_iter().chain(READ_FILES) {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        each_seed("limits", |text| limits(text, directory.path()));
        assert_ne!(std::fs::read_to_string(directory.path().join("cpu.max")).unwrap(), "0\n");
        assert_ne!(std::fs::read_to_string(directory.path().join("memory.limit_in_bytes")).unwrap(), "0\n");
    }
}
