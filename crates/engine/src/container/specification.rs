//! From a record to the OCI configuration of its next start.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use gantry_primitives::Opaque;
use gantry_proto_shim::any::Any;
use gantry_proto_shim::options::Options as RuncOptions;
use gantry_spec::{
    CgroupNamespace, Confinement, DeviceMapping, DeviceRate, DeviceWeight, HostDevice, Ipc, Namespaces,
    Network, Options, Pid, Purpose, Ulimit, UserNamespace, Uts, seccomp,
};
use gantry_types::oci::{ConsoleSize, Spec};

use super::user::Identity;
use crate::options::Resources;
use crate::record::Record;
use crate::{Engine, Error, Result};

/// The deepest directory below /dev that a privileged container gets devices of.
const DEV_DEPTH: usize = 8;
/// The most devices of a privileged container.
const MAX_DEVICES: usize = 4096;
const DEVICE_KINDS: [(&str, u32); 2] = [("c", 0o020_000), ("b", 0o060_000)];

/// What only a start knows.
pub(crate) struct Facts {
    pub(crate) network: Network,
    pub(crate) user: UserNamespace,
    pub(crate) identity: Identity,
    pub(crate) mounts: Vec<gantry_spec::Mount>,
}

/// The name of the shim for a runtime of the configuration.
///
/// # Errors
/// Invalid for one that is not configured.
pub(crate) fn runtime(engine: &Engine, name: &str) -> Result<String> {
    let settings = &engine.shared.settings;
    let name = if name.is_empty() { &settings.runtime } else { name };
    if let Some(shim) = settings.runtimes.get(name) {
        return Ok(shim.clone());
    }
    // containerd's names of shims.
    if name.starts_with("io.containerd.") || name.starts_with('/') {
        return Ok(name.to_owned());
    }
    Err(Error::Invalid(format!("unknown or invalid runtime name: {name}")))
}

/// Makes the configuration with stand-ins for what only a start knows: what is wrong with it is known when it is made.
/// Returns what is asked for and not done.
///
/// # Errors
/// Those of the options.
pub(crate) async fn dry_run(engine: &Engine, record: &Record) -> Result<Vec<String>> {
    let user = match record.userns.as_ref().map(|userns| userns.maps.clone()) {
        Some(crate::IdMaps { uids, gids }) => UserNamespace::New { uids, gids },
        None => UserNamespace::Host,
    };
    let facts = Facts { network: Network::New, user, identity: Identity::default(), mounts: Vec::new() };
    let (engine, record) = (engine.clone(), record.clone());
    let again = engine.clone();
    again
        .blocking("checking a configuration", move || {
            make(&engine, &record, facts, Looks::Lightly)?;
            let resources = resources(&record.options.resources)?;
            let settled = gantry_spec::settle(resources, &engine.shared.host.support, Purpose::Create)?;
            Ok(settled.1.iter().map(ToString::to_string).collect())
        })
        .await
}

/// Whether what others have is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looks {
    /// It is not: they may not run yet.
    Lightly,
    /// It is.
    Closely,
}

/// Makes the configuration. Blocks: looks at devices and other containers.
///
/// # Errors
/// Those of the options; Conflict for another container whose namespaces are to be joined and that does not run.
pub(crate) fn make(engine: &Engine, record: &Record, facts: Facts, looks: Looks) -> Result<Spec> {
    let settings = &engine.shared.settings;
    let options = &record.options;
    let isolation = &options.isolation;
    let process = &options.process;
    let (wanted, _) =
        gantry_spec::settle(resources(&options.resources)?, &engine.shared.host.support, Purpose::Create)?;
    let init = match process.init.unwrap_or(settings.init_by_default) {
        true => Some(init(engine)?),
        false => None,
    };
    let ulimits = options.resources.ulimits.iter().chain(
        settings
            .ulimits
            .iter()
            .filter(|default| !options.resources.ulimits.iter().any(|own| own.0 == default.0)),
    );
    let mut host = engine.shared.host.clone();
    if isolation.privileged && looks == Looks::Closely {
        host.devices = all_devices();
    }
    let shm = |bytes: u64| if bytes == 0 { settings.shm_size } else { bytes };
    let made = Options {
        root: String::new(),
        read_only_root: isolation.read_only,
        args: record.args(),
        env: record.process.env.clone(),
        cwd: record.process.working_dir.clone(),
        tty: process.tty,
        console_size: console(process.console_size),
        hostname: record.process.hostname.clone(),
        domainname: isolation.domainname.clone(),
        user: facts.identity.user,
        group_add: facts.identity.groups,
        confinement: confinement(engine, record)?,
        namespaces: namespaces(engine, record, (facts.network, facts.user), looks)?,
        sysctls: isolation.sysctls.clone(),
        ulimits: ulimits
            .map(|(name, soft, hard)| Ulimit { name: name.clone(), soft: *soft, hard: *hard })
            .collect(),
        resources: wanted,
        cgroups_path: cgroups_path(engine, record)?,
        writable_cgroups: security(record, "writable-cgroups").map(|word| word != "false"),
        oom_score_adj: isolation.oom_score_adj,
        devices: devices(&options.resources.devices, looks)?,
        device_rules: options.resources.device_cgroup_rules.clone(),
        cdi: super::cdi::edits(engine, &options.resources.cdi_devices)?,
        shm_size_bytes: shm(isolation.shm_size),
        mounts: facts.mounts,
        init,
        annotations: options.annotations.clone(),
    };
    Ok(gantry_spec::generate(&made, &host)?)
}

pub(super) fn console(size: (u16, u16)) -> Option<ConsoleSize> {
    let (columns, rows) = size;
    (columns > 0 && rows > 0).then_some(ConsoleSize { width: columns, height: rows })
}

fn init(engine: &Engine) -> Result<String> {
    match &engine.shared.settings.init {
        Some(path) => Ok(path.display().to_string()),
        None => Err(Error::Invalid(
            "there is no init for --init: install docker-init or tini, or name one as init-path in daemon.json".to_owned(),
        )),
    }
}

/// A value of `key=value` among the security options.
fn security<'a>(record: &'a Record, key: &str) -> Option<&'a str> {
    let options = record.options.isolation.security_opt.iter();
    options
        .map(|text| text.split_once(['=', ':']).unwrap_or((text, "")))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

fn confinement(engine: &Engine, record: &Record) -> Result<Confinement> {
    let isolation = &record.options.isolation;
    let settings = &engine.shared.settings;
    let mut made = Confinement {
        privileged: isolation.privileged,
        cap_add: isolation.cap_add.clone(),
        cap_drop: isolation.cap_drop.clone(),
        no_new_privileges: settings.no_new_privileges,
        seccomp: match &settings.seccomp_profile {
            Some(text) if !isolation.privileged => seccomp::Choice::Custom(text.clone()),
            _ => seccomp::Choice::Default,
        },
        masked_paths: isolation.masked_paths.clone(),
        readonly_paths: isolation.readonly_paths.clone(),
        ..Confinement::default()
    };
    for text in &isolation.security_opt {
        let (key, value) = text.split_once(['=', ':']).unwrap_or((text, ""));
        match (key, value) {
            ("no-new-privileges", "" | "true") => made.no_new_privileges = true,
            ("no-new-privileges", "false") => made.no_new_privileges = false,
            ("seccomp", "unconfined") => made.seccomp = seccomp::Choice::Unconfined,
            ("seccomp", "builtin" | "default") => made.seccomp = seccomp::Choice::Builtin,
            ("seccomp", profile) => made.seccomp = seccomp::Choice::Custom(profile.to_owned()),
            ("apparmor", profile) => made.apparmor = Some(profile.to_owned()),
            ("systempaths", "unconfined") => {
                made.masked_paths = Some(Vec::new());
                made.readonly_paths = Some(Vec::new());
            }
            ("label", "disable") | ("writable-cgroups", _) => {}
            ("label", word) if !Path::new("/sys/fs/selinux/enforce").exists() => {
                tracing::debug!(word, "there is no SELinux for a label");
            }
            _ => return Err(Error::Invalid(format!("invalid --security-opt 2: {text:?}"))),
        }
    }
    Ok(made)
}

fn namespaces(
    engine: &Engine,
    record: &Record,
    (network, user): (Network, UserNamespace),
    looks: Looks,
) -> Result<Namespaces> {
    let isolation = &record.options.isolation;
    let settings = &engine.shared.settings;
    let of = |name: &str, kind: &str| match looks {
        Looks::Closely => joined(engine, name, kind),
        Looks::Lightly => engine.container(name).map(|_| format!("/proc/self/ns/{kind}")),
    };
    let or = |own: &str, default: &str| if own.is_empty() { default.to_owned() } else { own.to_owned() };
    let ipc = match or(&isolation.ipc_mode, &settings.ipc_mode).as_str() {
        "" | "private" => Ipc::Private,
        "shareable" => Ipc::Shareable { shm: shm(engine, &record.id) },
        "none" => Ipc::None,
        "host" => Ipc::Host,
        mode => match mode.strip_prefix("container:") {
            Some(name) => Ipc::Shared { namespace: of(name, "ipc")?, shm: shared_shm(engine, name)? },
            None => return Err(Error::Invalid(format!("invalid IPC mode: {mode}"))),
        },
    };
    let pid = match isolation.pid_mode.as_str() {
        "" | "private" => Pid::Private,
        "host" => Pid::Host,
        mode => match mode.strip_prefix("container:") {
            Some(name) => Pid::Shared(of(name, "pid")?),
            None => return Err(Error::Invalid(format!("invalid PID mode: {mode}"))),
        },
    };
    let uts = match isolation.uts_mode.as_str() {
        "" | "private" => Uts::Private,
        "host" => Uts::Host,
        mode => return Err(Error::Invalid(format!("invalid UTS mode: {mode}"))),
    };
    let cgroup = match or(&isolation.cgroupns_mode, &settings.cgroupns_mode).as_str() {
        "private" => CgroupNamespace::Private,
        "host" => CgroupNamespace::Host,
        "" if isolation.privileged || !is_unified() => CgroupNamespace::Host,
        "" => CgroupNamespace::Private,
        mode => return Err(Error::Invalid(format!("invalid cgroup namespace mode: {mode}"))),
    };
    Ok(Namespaces { network, ipc, pid, uts, cgroup, user })
}

fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The namespace of another container's first process.
pub(crate) fn joined(engine: &Engine, name: &str, kind: &str) -> Result<String> {
    let other = engine.container(name)?;
    let record = other.record();
    if !record.state.status.is_alive() {
        let (id, kind) = (&record.id, kind.to_uppercase());
        return Err(Error::Conflict(format!(
            "failed to join {kind} namespace: container {id} is not running"
        )));
    }
    Ok(format!("/proc/{}/ns/{kind}", record.state.pid))
}

/// The /dev/shm of a container that lets others have it.
pub(crate) fn shm(engine: &Engine, id: &str) -> String {
    engine.shared.settings.state.join("shm").join(id).display().to_string()
}

fn shared_shm(engine: &Engine, name: &str) -> Result<String> {
    let other = engine.container(name)?.record();
    match other.options.isolation.ipc_mode.as_str() {
        "shareable" => Ok(shm(engine, &other.id)),
        "host" => Ok("/dev/shm".to_owned()),
        _ => Err(Error::Conflict(format!(
            "cannot join IPC of container {}: it is not shareable (give it --ipc shareable)",
            other.short_id()
        ))),
    }
}

/// `slice:prefix:name` for systemd, a path else. Monitors know docker's containers by these names.
fn cgroups_path(engine: &Engine, record: &Record) -> Result<String> {
    let settings = &engine.shared.settings;
    let parent = match record.options.resources.cgroup_parent.as_str() {
        "" => settings.cgroup_parent.as_str(),
        own => own,
    };
    if !settings.systemd_cgroups {
        let parent = if parent.is_empty() { "/docker" } else { parent };
        return Ok(format!("/{}/{}", parent.trim_matches('/'), record.id));
    }
    let parent = if parent.is_empty() { "system.slice" } else { parent };
    if !parent.ends_with(".slice") || parent.contains(['/', ':']) {
        return Err(Error::Invalid(format!(
            "invalid cgroup parent {parent:?}: with systemd's cgroups it is the name of a slice, such as batch.slice"
        )));
    }
    Ok(format!("{parent}:docker:{}", record.id))
}

/// The options of the runtime of a container's next start, for the shims that have such.
pub(crate) fn runtime_options(engine: &Engine, record: &Record) -> Result<Option<Opaque>> {
    let settings = &engine.shared.settings;
    let shim = runtime(engine, &record.options.runtime)?;
    let systemd_cgroup = settings.systemd_cgroups && settings.runc_like.contains(&shim);
    // The streams are its root's, which may open them again by /dev/stdout. Only our shim runs it there.
    let (io_uid, io_gid) = record.userns.as_ref().and_then(|userns| userns.maps.root()).unwrap_or_default();
    if !systemd_cgroup && (io_uid, io_gid) == (0, 0) {
        return Ok(None);
    }
    let any = Any::pack(&RuncOptions { systemd_cgroup, io_uid, io_gid, ..RuncOptions::default() });
    Ok(Some(Opaque { type_url: any.type_url, value: any.value }))
}

/// Docker's words as those of `spec`.
pub(crate) fn resources(wanted: &Resources) -> Result<gantry_spec::Resources> {
    let rates = |list: &[(String, u64)]| -> Result<Vec<DeviceRate>> {
        let rate = |(path, rate): &(String, u64)| {
            let (major, minor) = block_device(path)?;
            Ok(DeviceRate { major, minor, rate: *rate })
        };
        list.iter().map(rate).collect()
    };
    let weight = |(path, weight): &(String, u64)| -> Result<DeviceWeight> {
        let (major, minor) = block_device(path)?;
        let weight = u16::try_from(*weight)
            .map_err(|_| Error::Invalid(format!("{weight} is no weight of a device")))?;
        Ok(DeviceWeight { major, minor, weight })
    };
    Ok(gantry_spec::Resources {
        memory_bytes: wanted.memory,
        memory_swap_bytes: wanted.memory_swap,
        memory_reservation_bytes: wanted.memory_reservation,
        memory_swappiness: wanted.memory_swappiness,
        oom_kill_disable: wanted.oom_kill_disable.then_some(true),
        cpu_shares: wanted.cpu_shares,
        nano_cpus: wanted.nano_cpus,
        cpu_period_us: wanted.cpu_period,
        cpu_quota_us: wanted.cpu_quota,
        cpu_realtime_period_us: wanted.cpu_realtime_period,
        cpu_realtime_runtime_us: wanted.cpu_realtime_runtime,
        cpuset_cpus: wanted.cpuset_cpus.clone(),
        cpuset_mems: wanted.cpuset_mems.clone(),
        pids: wanted.pids_limit,
        blkio_weight: wanted.blkio_weight,
        blkio_weight_device: wanted.blkio_weight_device.iter().map(weight).collect::<Result<_>>()?,
        blkio_read_bps: rates(&wanted.blkio_read_bps)?,
        blkio_write_bps: rates(&wanted.blkio_write_bps)?,
        blkio_read_iops: rates(&wanted.blkio_read_iops)?,
        blkio_write_iops: rates(&wanted.blkio_write_iops)?,
        hugepages: Vec::new(),
        unified: Default::default(),
    })
}

fn block_device(path: &str) -> Result<(i64, i64)> {
    let metadata = std::fs::metadata(path).map_err(Error::io("looking at", path))?;
    if !metadata.file_type().is_block_device() {
        return Err(Error::Invalid(format!("{path} is no block device")));
    }
    Ok(numbers(metadata.rdev()))
}

fn numbers(device: u64) -> (i64, i64) {
    (rustix::fs::major(device).into(), rustix::fs::minor(device).into())
}

/// A device node of the host's, as the container is to see it.
pub(super) fn node(path: &Path, shown: &str) -> Option<HostDevice> {
    let metadata = std::fs::metadata(path).ok()?;
    let kind = DEVICE_KINDS.iter().find(|(_, bits)| metadata.mode() & 0o170_000 == *bits)?.0;
    let (major, minor) = numbers(metadata.rdev());
    Some(HostDevice {
        path: shown.to_owned(),
        kind: kind.to_owned(),
        major,
        minor,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

fn devices(wanted: &[(String, String, String)], looks: Looks) -> Result<Vec<DeviceMapping>> {
    let mut made = Vec::new();
    for (host, inside, access) in wanted {
        let inside = if inside.is_empty() { host } else { inside };
        let path = Path::new(host);
        if path.is_dir() {
            let mut found = Vec::new();
            below(path, inside, 0, &mut found);
            if found.is_empty() && looks == Looks::Closely {
                return Err(Error::Invalid(format!(
                    "error gathering device information while adding custom device {host:?}: not a device node"
                )));
            }
            made.extend(found.into_iter().map(|device| DeviceMapping { device, access: access.clone() }));
        } else if let Some(device) = node(path, inside) {
            made.push(DeviceMapping { device, access: access.clone() });
        } else if looks == Looks::Closely {
            return Err(Error::Invalid(format!(
                "error gathering device information while adding custom device {host:?}: no such device"
            )));
        }
    }
    Ok(made)
}

/// All devices that a privileged container gets; those that it has of its own are not among them.
fn all_devices() -> Vec<HostDevice> {
    let mut found = Vec::new();
    below(Path::new("/dev"), "/dev", 0, &mut found);
    found
}

fn below(directory: &Path, shown: &str, depth: usize, found: &mut Vec<HostDevice>) {
    /// What a container has of its own below /dev.
    const OWN: [&str; 5] = ["pts", "shm", "fd", "mqueue", ".lxc"];
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Ok(kind) = entry.file_type() else { continue };
        let shown = format!("{shown}/{name}");
        if found.len() >= MAX_DEVICES || (depth == 0 && (OWN.contains(&name.as_str()) || name == "console")) {
            continue;
        }
        if kind.is_dir() && depth < DEV_DEPTH {
            below(&entry.path(), &shown, depth + 1, found);
        } else if !kind.is_symlink() {
            found.extend(node(&entry.path(), &shown));
        }
    }
}
