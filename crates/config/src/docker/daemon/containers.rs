//! What containers get that do not say otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::keys::{Keys, size};
use crate::Error;

/// Docker's size of `/dev/shm`.
const SHM_BYTES: u64 = 64 << 20;
/// Docker's directories of devices' specifications.
const CDI_DIRECTORIES: &[&str] = &["/etc/cdi", "/var/run/cdi"];
/// The name of the runtime that is always there.
const STOCK_RUNTIME: &str = "runc";

/// The keys of containers.
#[derive(Debug, Clone, PartialEq)]
pub struct DaemonContainers {
    /// `log-driver`.
    pub log_driver: String,
    /// `log-opts`, of which a container gets those of its own driver.
    pub log_opts: BTreeMap<String, String>,
    /// `default-runtime`.
    pub default_runtime: String,
    /// `runtimes`, by name.
    pub runtimes: BTreeMap<String, DaemonRuntime>,
    /// `init`: whether an init process is put before the container's.
    pub init: bool,
    /// `cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// `exec-opts` with `native.cgroupdriver`.
    pub cgroup_driver: Option<CgroupDriver>,
    /// `default-cgroupns-mode`: whether a container has its own; as the host's cgroups suggest if it is not given.
    pub private_cgroupns: Option<bool>,
    /// `default-ipc-mode` is `shareable`.
    pub shareable_ipc: bool,
    /// `default-shm-size`.
    pub shm_bytes: u64,
    /// `default-ulimits`, by name.
    pub ulimits: BTreeMap<String, DaemonUlimit>,
    /// `seccomp-profile`: a path, `unconfined`, or nothing for the built-in one.
    pub seccomp_profile: Option<String>,
    /// `no-new-privileges`.
    pub no_new_privileges: bool,
    /// `selinux-enabled`.
    pub selinux: bool,
    /// `userns-remap`: `user`, `user:group`, numbers, or `default`.
    pub userns_remap: Option<String>,
    /// `cdi-spec-dirs`.
    pub cdi_spec_dirs: Vec<PathBuf>,
}

/// Who keeps the cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    /// `systemd`.
    Systemd,
    /// `cgroupfs`.
    Cgroupfs,
}

/// One of `runtimes`.
#[derive(Debug, Clone, PartialEq)]
pub enum DaemonRuntime {
    /// An OCI runtime: `path` and `runtimeArgs`.
    Binary {
        /// The binary, or its name in PATH.
        path: PathBuf,
        /// What it gets before the command.
        args: Vec<String>,
    },
    /// A shim of containerd's: `runtimeType` and `options`.
    Shim {
        /// Such as `io.containerd.runc.v2`, or a path.
        kind: String,
        /// Its options, as they are.
        options: Map<String, Value>,
    },
}

/// One of `default-ulimits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaemonUlimit {
    /// `Soft`; -1 for no limit.
    pub soft: i64,
    /// `Hard`; -1 for no limit.
    pub hard: i64,
}

impl DaemonContainers {
    pub(super) fn take(keys: &mut Keys<'_>) -> Result<Self, Error> {
        let shm =
            keys.take("default-shm-size", "a size such as \"64m\"", |v| size(v).filter(|bytes| *bytes > 0))?;
        let cdi = keys.take_list("cdi-spec-dirs", "a list of absolute paths", |value| {
            value.as_str().filter(|path| path.starts_with('/')).map(PathBuf::from)
        })?;
        let private = keys.word("default-cgroupns-mode", &["host", "private"])?.map(|word| word == "private");
        // The newer file has it by this name, the older by the other.
        let init = keys.flag("init")?.or(keys.flag("default-init")?);
        Ok(Self {
            log_driver: keys.text("log-driver")?.unwrap_or_else(|| "json-file".into()),
            log_opts: keys.take_map("log-opts", "a text", |value| value.as_str().map(str::to_owned))?,
            default_runtime: keys.text("default-runtime")?.unwrap_or_else(|| STOCK_RUNTIME.into()),
            runtimes: runtimes(keys)?,
            init: init.unwrap_or(false),
            cgroup_parent: keys.text("cgroup-parent")?,
            cgroup_driver: cgroup_driver(keys)?,
            private_cgroupns: private,
            shareable_ipc: keys
                .word("default-ipc-mode", &["private", "shareable"])?
                .is_some_and(|w| w == "shareable"),
            shm_bytes: shm.unwrap_or(SHM_BYTES),
            ulimits: keys.take_map("default-ulimits", "a table with Soft and Hard", ulimit)?,
            seccomp_profile: keys.text("seccomp-profile")?.filter(|name| name != "builtin"),
            no_new_privileges: keys.flag("no-new-privileges")?.unwrap_or(false),
            selinux: keys.flag("selinux-enabled")?.unwrap_or(false),
            userns_remap: keys.text("userns-remap")?,
            cdi_spec_dirs: if cdi.is_empty() {
                CDI_DIRECTORIES.iter().map(PathBuf::from).collect()
            } else {
                cdi
            },
        })
    }
}

fn ulimit(value: &Value) -> Option<DaemonUlimit> {
    let number = |name: &str| value.get(name).map_or(Some(0), Value::as_i64);
    let (soft, hard) = (number("Soft")?, number("Hard")?);
    value.is_object().then_some(DaemonUlimit { soft, hard })
}

fn cgroup_driver(keys: &mut Keys<'_>) -> Result<Option<CgroupDriver>, Error> {
    const EXPECTED: &str = "a list with native.cgroupdriver=systemd or native.cgroupdriver=cgroupfs";
    let drivers =
        keys.take_list("exec-opts", EXPECTED, |value| match value.as_str()?.trim().split_once('=')? {
            ("native.cgroupdriver", "systemd") => Some(CgroupDriver::Systemd),
            ("native.cgroupdriver", "cgroupfs") => Some(CgroupDriver::Cgroupfs),
            _ => None,
        })?;
    Ok(drivers.last().copied())
}

fn runtimes(keys: &mut Keys<'_>) -> Result<BTreeMap<String, DaemonRuntime>, Error> {
    const EXPECTED: &str = "a table with either path (and runtimeArgs) or runtimeType (and options)";
    let runtimes = keys.take_map("runtimes", EXPECTED, runtime)?;
    if runtimes.contains_key(STOCK_RUNTIME) {
        return Err(keys.wrong(
            "runtimes",
            "without runc, whose name is reserved",
            &Value::Object(Map::new()),
        ));
    }
    Ok(runtimes)
}

fn runtime(value: &Value) -> Option<DaemonRuntime> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let given = |name: &str| value.get(name).filter(|value| !value.is_null());
    match (text("path"), text("runtimeType")) {
        (Some(path), None) if given("options").is_none() => {
            let args =
                given("runtimeArgs").map_or(Some(&[][..]), |args| args.as_array().map(Vec::as_slice))?;
            let args = args.iter().map(|arg| arg.as_str().map(str::to_owned)).collect::<Option<_>>()?;
            Some(DaemonRuntime::Binary { path: path.into(), args })
        }
        (None, Some(kind)) if given("runtimeArgs").is_none() => {
            let options =
                given("options").map_or(Some(Map::new()), |options| options.as_object().cloned())?;
            Some(DaemonRuntime::Shim { kind: kind.to_owned(), options })
        }
        _ => None,
    }
}
