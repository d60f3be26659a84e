//! Entry points of the fuzz targets in `fuzz/`: everything here that reads what others may have written.
//!
//! Each panics where a promise is broken. None opens a path that its input names.

use std::path::Path;

use gantry_types::oci::{IdMapping, Linux, Spec, from_json};

use crate::config::parse;
use crate::error::Error;
use crate::plan::identity::ProcessPlan;
use crate::plan::mounts::{self, MountContext, clean_target};
use crate::plan::namespaces::{NamespacePlan, check_mapping, map_id, mapped_here, mapping_text};
use crate::plan::options::{Bind, MountOptions};
use crate::plan::{HookPlan, rootfs};
use crate::state::{Record, Status};

pub use crate::checkpoint::fuzzing::criu_message;
pub use crate::seccomp::fuzzing::{bpf_annotation, cache_entry, profile};

/// A `config.json`.
pub fn config(text: &[u8]) {
    match parse(text) {
        Ok(spec) => plan(&spec),
        Err(error) => assert_eq!(error.kind(), gantry_types::ErrorKind::InvalidArgument),
    }
}

/// Everything that is made of a configuration before anything of the host is touched.
pub(crate) fn plan(spec: &Spec) {
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    let process = spec.process.as_ref().map(ProcessPlan::prepare);
    if let Some(Ok(plan)) = &process {
        assert!(plan.uid != u32::MAX && plan.gid != u32::MAX && !plan.candidates.is_empty());
    }
    let joins = linux.namespaces.iter().any(|namespace| !namespace.path.is_empty());
    if !joins && let Ok(plan) = NamespacePlan::prepare(linux) {
        assert_eq!(plan.new & plan.joined, 0);
    }
    for own in [0, u64::MAX] {
        let _ = rootfs::sysctls(spec, linux, own);
        let _ = crate::netdev::prepare(linux, own, false);
        let _ = crate::build::name(&spec.hostname, "hostname", own != 0);
    }
    let _ = crate::build::check_version(&spec.oci_version);
    let _ = crate::build::label_option(&spec.annotations);
    let _ = rootfs::devices(linux);
    for (list, field) in [(&linux.masked_paths, "masked"), (&linux.readonly_paths, "readonly")] {
        for path in rootfs::paths(list, field).iter().flatten() {
            is_clean(path.to_str().expect("made of text"));
        }
    }
    let _ = rootfs::root_propagation(linux).map(|(_, change)| rootfs::bind_propagation(change));
    let _ = linux.personality.as_ref().map(crate::sched::personality);
    let _ = linux.memory_policy.as_ref().map(crate::sched::memory_policy);
    let _ = linux.intel_rdt.as_ref().map(crate::resctrl::schemata);
    if let Some(affinity) = spec.process.as_ref().and_then(|process| process.exec_cpu_affinity.as_ref()) {
        for list in [&affinity.initial, &affinity.final_] {
            let _ = crate::sched::number_list(list, "f").map(|mask| crate::sched::hexadecimal(&mask));
        }
    }
    hooks(spec);
    mount_plans(spec, linux);
    if let Some(profile) = &linux.seccomp {
        self::profile(profile.get().as_bytes());
    }
}

fn hooks(spec: &Spec) {
    let Some(hooks) = &spec.hooks else { return };
    for list in [&hooks.prestart, &hooks.create_runtime, &hooks.create_container, &hooks.poststop] {
        let _ = HookPlan::prepare(list, "f", Some(&[]));
    }
}

/// Mounts but for those whose sources are the host's.
fn mount_plans(spec: &Spec, linux: &Linux) {
    let cgroup = || Err(Error::Unsupported(String::new()));
    let mut context = MountContext {
        bundle: Path::new("/bundle"),
        root: Path::new("/bundle/rootfs"),
        mount_label: &linux.mount_label,
        label_option: "context",
        default_propagation: None,
        user_namespace: false,
        id_maps: &mut |_, _| Err(Error::Unsupported(String::new())),
        cgroup: &cgroup,
    };
    for (index, mount) in spec.mounts.iter().enumerate() {
        let options = MountOptions::parse(&mount.options);
        if let Some(text) = &options.id_map_text {
            let _ = crate::idmap::parse_option(text, (&linux.uid_mappings, &linux.gid_mappings));
        }
        if options.bind == Bind::No && mount.type_ != "bind" {
            if let Ok(plan) = mounts::prepare(index, mount, &mut context) {
                is_clean(plan.target.to_str().expect("made of text"));
            }
        } else if let Ok(target) = clean_target(&mount.destination, "f") {
            is_clean(&target);
        }
    }
}

fn is_clean(path: &str) {
    let inside = path.strip_prefix('/').expect("absolute");
    assert!(inside.is_empty() || inside.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path:?}");
}

/// A `state.json`: what is read is written so that it reads the same.
pub fn record(text: &[u8]) {
    let Ok(record) = crate::config::parse_json::<Record>(text, "state.json") else { return };
    let _ = record.oci_state(Status::Running);
    if let Some(cgroup) = &record.cgroup {
        let _ = gantry_cgroup::Cgroup::from_record(cgroup, gantry_cgroup::Features::default()).record();
    }
    let written = serde_json::to_vec(&record).expect("a record can be written");
    let again: Record = from_json(&written).expect("what is written can be read");
    assert_eq!(serde_json::to_vec(&again).ok(), Some(written));
}

/// Mount options, one a line.
pub fn mount_options(text: &str) {
    let options: Vec<String> = text.lines().map(str::to_owned).collect();
    let parsed = MountOptions::parse(&options);
    for attributes in [parsed.attributes, parsed.recursive] {
        // Access times are a field, not a bit.
        let both = attributes.set & attributes.clear & !gantry_sys::mount::ATTR_ATIME;
        assert_eq!(both, 0, "{options:?}");
    }
    assert!(parsed.data.iter().all(|item| !crate::KNOWN_OPTIONS.contains(&item.as_str())), "{parsed:?}");
}

/// The option `idmap=`, and before a line break the container's own map in the form of `/proc/PID/uid_map`.
pub fn idmaps(text: &str) {
    let (own, option) = text.split_once("\n\n").unwrap_or(("", text));
    let own = ranges(own);
    let Ok((uid, gid)) = crate::idmap::parse_option(option, (&own, &own)) else { return };
    for map in [&own, &uid, &gid] {
        if check_mapping(map, "f").is_err() {
            continue;
        }
        for range in map {
            let last = range.size - 1;
            assert_eq!(map_id(map, range.container_id + last), Some(range.host_id + last));
        }
        assert_eq!(map_id(map, u32::MAX), None);
        assert_eq!(ranges(&mapping_text(map)), *map);
    }
}

fn ranges(text: &str) -> Vec<IdMapping> {
    let _ = mapped_here(text);
    let range = |line: &str| {
        let numbers: Vec<u32> = line.split(' ').map_while(|number| number.parse().ok()).collect();
        let [container_id, host_id, size] = numbers[..] else { return None };
        Some(IdMapping { container_id, host_id, size })
    };
    text.lines().filter_map(range).collect()
}

/// A container's `/etc/passwd`.
pub fn passwd(text: &[u8]) {
    for uid in [0, 1000, u32::MAX] {
        if let Some(home) = crate::passwd::find_home(text, uid) {
            assert!(!home.is_empty());
        }
    }
}

/// A message of the child's, and an address as the kernel lists it.
pub fn messages(bytes: &[u8]) {
    if let Some(bytes) = bytes.first_chunk()
        && let Some(message) = crate::sync::Message::decode(bytes)
    {
        let again = crate::sync::Message::decode(&message.encode());
        assert_eq!(again, Some(message));
        let _ = (message.errno(), crate::init::Step::from_number(message.step));
    }
    crate::netdev::fuzz_addresses(bytes);
}

/// The text of files of procfs.
pub fn tables(text: &str) {
    let _ = crate::container::parse_stat(text.as_bytes());
    let _ = crate::resctrl::mount_point(text);
    let _ = mapped_here(text);
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
        each_seed("config", config);
        each_seed("config", |text| plan(&parse(text).unwrap()));
        each_seed("record", record);
        each_seed("seccomp", profile);
        each_seed("tables", passwd);
        each_text("tables", tables);
        each_seed("messages", |bytes| {
            criu_message(bytes);
            messages(bytes);
            cache_entry(bytes);
        });
        each_text("options", |text| {
            mount_options(text);
            idmaps(text);
            bpf_annotation(text);
        });
    }
}
