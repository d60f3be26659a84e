use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use gantry_types::oci::{
    Capabilities, DeviceRule, IdMapping, Linux, Mount, Namespace, OCI_VERSION, Process, Resources, Rlimit,
    Root, Spec,
};

use super::flags;
use crate::args::{Command, Flag, Flags};
use crate::failure::Failure;
use crate::invocation::Invocation;

static ROOTLESS: Flag = Flag::switch(&["rootless"], "write one that an ordinary user can run");
static FILE: Flag = Flag::text(&["file"], "name of the file").with_default("\"config.json\"");

pub(super) static COMMAND: Command = Command {
    name: "spec",
    summary: "write a configuration to start from",
    usage: "",
    about: "Writes config.json into the bundle: a shell with few privileges in new namespaces. The root file\n   \
            system is to be put into the directory \"rootfs\" beside it. An existing file is left alone.",
    flags: &[&flags::BUNDLE, &FILE, &ROOTLESS],
    placement: Flags::Anywhere,
    min: 0,
    max: 0,
    run,
};

fn run(call: &Invocation<'_>) -> Result<u8, Failure> {
    let name = call.args.text("file").unwrap_or("config.json");
    let path = Path::new(call.args.text("bundle").unwrap_or_default()).join(name);
    let mut spec = example();
    if call.args.switch("rootless") {
        make_rootless(&mut spec);
    }
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o666).open(&path);
    let mut file = opened.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(format!("File {name} exists. Remove it first")),
        _ => Failure::of_path("open", &path, &error),
    })?;
    file.write_all(&to_json(&spec)).map_err(|error| Failure::of_path("write", &path, &error))?;
    Ok(0)
}

/// The text with tabs, as runc indents it, so that people's `sed` and `patch` go on working.
fn to_json(spec: &Spec) -> Vec<u8> {
    let mut text = Vec::with_capacity(4096);
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, tabs);
    serde::Serialize::serialize(spec, &mut serializer).expect("plain data has a form in JSON");
    text
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn example() -> Spec {
    Spec {
        oci_version: OCI_VERSION.to_owned(),
        process: Some(example_process()),
        root: Some(Root { path: "rootfs".to_owned(), readonly: true }),
        hostname: "gantry".to_owned(),
        mounts: example_mounts(),
        linux: Some(example_linux()),
        ..Spec::default()
    }
}

fn example_process() -> Process {
    let capabilities = || strings(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    Process {
        terminal: true,
        args: strings(&["sh"]),
        env: strings(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]),
        cwd: "/".to_owned(),
        capabilities: Some(Capabilities {
            bounding: capabilities(),
            effective: capabilities(),
            permitted: capabilities(),
            ..Capabilities::default()
        }),
        rlimits: vec![Rlimit { type_: "RLIMIT_NOFILE".to_owned(), hard: 1024, soft: 1024 }],
        no_new_privileges: true,
        ..Process::default()
    }
}

fn example_mounts() -> Vec<Mount> {
    let mount = |destination: &str, type_: &str, source: &str, options: &[&str]| Mount {
        destination: destination.to_owned(),
        type_: type_.to_owned(),
        source: source.to_owned(),
        options: strings(options),
        ..Mount::default()
    };
    vec![
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ]
}

fn namespaces(types: &[&str]) -> Vec<Namespace> {
    types.iter().map(|type_| Namespace { type_: (*type_).to_owned(), ..Namespace::default() }).collect()
}

fn example_linux() -> Linux {
    let mut namespaces = namespaces(&["pid", "network", "ipc", "uts", "mount"]);
    if on_unified_cgroups() {
        namespaces.push(Namespace { type_: "cgroup".to_owned(), ..Namespace::default() });
    }
    Linux {
        resources: Some(Resources {
            devices: vec![DeviceRule { allow: false, access: "rwm".to_owned(), ..DeviceRule::default() }],
            ..Resources::default()
        }),
        namespaces,
        masked_paths: strings(&[
            "/proc/acpi",
            "/proc/asound",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/sys/firmware",
            "/proc/scsi",
        ]),
        readonly_paths: strings(&["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]),
        ..Linux::default()
    }
}

/// Whether the host has cgroup v2 alone, where a container should see no more than its own cgroup.
fn on_unified_cgroups() -> bool {
    /// statfs(2)'s CGROUP2_SUPER_MAGIC.
    const CGROUP2: i64 = 0x6367_7270;
    rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|fs| fs.f_type == CGROUP2)
}

/// Changes what an ordinary user may not do: network and ids are the caller's own, /sys is bound, limits are left out.
fn make_rootless(spec: &mut Spec) {
    let linux = spec.linux.get_or_insert_default();
    linux.namespaces.retain(|namespace| namespace.type_ != "network");
    linux.namespaces.extend(namespaces(&["user"]));
    linux.uid_mappings = only_this_id(rustix::process::geteuid().as_raw());
    linux.gid_mappings = only_this_id(rustix::process::getegid().as_raw());
    linux.resources = None;
    for mount in &mut spec.mounts {
        mount.options.retain(|option| !option.starts_with("gid=") && !option.starts_with("uid="));
        if mount.destination == "/sys" {
            mount.type_ = "none".to_owned();
            mount.source = "/sys".to_owned();
            mount.options = strings(&["rbind", "nosuid", "noexec", "nodev", "ro"]);
        }
    }
}

fn only_this_id(host_id: u32) -> Vec<IdMapping> {
    vec![IdMapping { container_id: 0, host_id, size: 1 }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        for rootless in [false, true] {
            let mut spec = example();
            if rootless {
                make_rootless(&mut spec);
            }
            let text = to_json(&spec);
            let again: Spec = serde_json::from_slice(&text).unwrap();
            assert_eq!(to_json(&again), text);
        }
    }

    #[test]
    fn an_ordinary_user_gets_no_option_that_needs_other_ids() {
        let mut spec = example();
        make_rootless(&mut spec);
        let linux = spec.linux.unwrap();
        assert!(linux.resources.is_none());
        assert!(linux.namespaces.iter().any(|namespace| namespace.type_ == "user"));
        assert!(linux.namespaces.iter().all(|namespace| namespace.type_ != "network"));
        assert_eq!(linux.uid_mappings.len(), 1);
        assert!(
            spec.mounts.iter().flat_map(|mount| &mount.options).all(|option| !option.starts_with("gid="))
        );
    }
}
