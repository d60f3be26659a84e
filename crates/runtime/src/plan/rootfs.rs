//! The root file system: propagation, mounts, devices, masks, and how the process gets into it.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use gantry_types::oci::{Device, Linux, Spec};

use super::c_string;
use super::mounts::{MountPlan, clean_target};
use super::options::{MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, Propagation, propagation};
use crate::error::Error;

/// How many devices, masked or read-only paths and kernel parameters a configuration may have, of each.
const MAX_ENTRIES: usize = 65_536;

/// Everything about the container's root.
#[derive(Debug)]
pub(crate) struct RootfsPlan {
    /// Absolute path on the host.
    pub(crate) path: CString,
    /// The root as a detached tree, where the caller may open it.
    pub(crate) tree: Option<OwnedFd>,
    /// What becomes of the host's mounts in the container's namespace.
    pub(crate) host_propagation: u64,
    /// What becomes of the container's root in the end.
    pub(crate) root_propagation: Option<Propagation>,
    pub(crate) mounts: Vec<MountPlan>,
    pub(crate) entry: Entry,
    pub(crate) readonly: bool,
    /// Whether /dev is the runtime's to fill.
    pub(crate) fills_dev: bool,
    /// Whether /dev becomes read-only once it is filled.
    pub(crate) readonly_dev: bool,
    pub(crate) devices: Vec<DevicePlan>,
    pub(crate) masked: Vec<CString>,
    pub(crate) readonly_paths: Vec<CString>,
    pub(crate) sysctls: Vec<Sysctl>,
    /// Label for tmpfs masks.
    pub(crate) mount_label: Option<CString>,
}

/// How the process gets into its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// pivot_root(2).
    Pivot,
    /// Moving the root over `/`, for hosts that boot from an initramfs (`--no-pivot`).
    Move,
    /// chroot(2), without a mount namespace.
    Chroot,
}

/// A device node.
#[derive(Debug)]
pub(crate) struct DevicePlan {
    /// Absolute path in the container.
    pub(crate) path: CString,
    /// The name below /dev, where that is where it is.
    pub(crate) name: Option<CString>,
    /// Type and permission bits.
    pub(crate) mode: u32,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The host's node, for where none can be made.
    pub(crate) bind: Option<OwnedFd>,
}

/// A kernel parameter.
#[derive(Debug)]
pub(crate) struct Sysctl {
    /// Path below /proc/sys.
    pub(crate) path: CString,
    pub(crate) value: Vec<u8>,
}

/// The devices of every container: config-linux.md, Default Devices.
const DEFAULT_DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const S_IFIFO: u32 = 0o010_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;

/// The propagation of the host's mounts and of the container's root.
pub(crate) fn root_propagation(linux: &Linux) -> Result<(u64, Option<Propagation>), Error> {
    let word = linux.rootfs_propagation.as_str();
    if word.is_empty() {
        return Ok((MS_SLAVE, None));
    }
    let change = propagation(word)
        .ok_or_else(|| Error::config("linux.rootfsPropagation", format!("unknown value {word:?}")))?;
    let host = match change.kind {
        MS_PRIVATE | MS_UNBINDABLE => MS_PRIVATE,
        _ => MS_SLAVE,
    };
    Ok((host, Some(change)))
}

/// The propagation that bound trees get unless their options say otherwise.
pub(crate) fn bind_propagation(root: Option<Propagation>) -> Option<u64> {
    match root.map(|change| change.kind) {
        Some(MS_SHARED) => None,
        Some(MS_PRIVATE | MS_UNBINDABLE) => Some(MS_PRIVATE),
        _ => Some(MS_SLAVE),
    }
}

/// The nodes to make: the configuration's, and the default ones that it does not name.
pub(crate) fn devices(linux: &Linux) -> Result<Vec<DevicePlan>, Error> {
    limit(linux.devices.len(), "linux.devices")?;
    let mut plans = Vec::with_capacity(linux.devices.len() + DEFAULT_DEVICES.len());
    for (index, device) in linux.devices.iter().enumerate() {
        plans.push(device_plan(device, &format!("linux.devices[{index}]"))?);
    }
    for (name, major, minor) in DEFAULT_DEVICES {
        let path = format!("/dev/{name}");
        if plans.iter().any(|plan| plan.path.to_bytes() == path.as_bytes()) {
            continue;
        }
        plans.push(plan(path, S_IFCHR | 0o666, (major, minor), (0, 0), "linux.devices")?);
    }
    Ok(plans)
}

fn device_plan(device: &Device, field: &str) -> Result<DevicePlan, Error> {
    let kind = match device.type_.as_str() {
        "c" | "u" => S_IFCHR,
        "b" => S_IFBLK,
        "p" => S_IFIFO,
        other => {
            return Err(Error::config(format!("{field}.type"), format!("unknown device type {other:?}")));
        }
    };
    if !device.path.starts_with('/') {
        return Err(Error::config(format!("{field}.path"), format!("{:?} is not absolute", device.path)));
    }
    let number = |value: i64, name: &str| {
        u32::try_from(value)
            .map_err(|_| Error::config(format!("{field}.{name}"), format!("{value} is not a device number")))
    };
    let numbers = if kind == S_IFIFO {
        (0, 0)
    } else {
        (number(device.major, "major")?, number(device.minor, "minor")?)
    };
    let mode = kind | device.file_mode.unwrap_or(0o666) & 0o7777;
    let owner = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
    plan(clean_target(&device.path, &format!("{field}.path"))?, mode, numbers, owner, field)
}

fn plan(
    path: String,
    mode: u32,
    numbers: (u32, u32),
    owner: (u32, u32),
    field: &str,
) -> Result<DevicePlan, Error> {
    let name = path.strip_prefix("/dev/").filter(|name| !name.contains('/'));
    Ok(DevicePlan {
        name: name.map(|name| c_string(name, field)).transpose()?,
        path: c_string(&path, field)?,
        mode,
        major: numbers.0,
        minor: numbers.1,
        uid: owner.0,
        gid: owner.1,
        bind: None,
    })
}

/// Paths of the container, such as those to mask; each once.
pub(crate) fn paths(paths: &[String], field: &str) -> Result<Vec<CString>, Error> {
    limit(paths.len(), field)?;
    let mut seen = std::collections::HashSet::with_capacity(paths.len());
    paths
        .iter()
        .enumerate()
        .filter(|(_, path)| seen.insert(path.as_str()))
        .map(|(index, path)| {
            let field = format!("{field}[{index}]");
            // A relative one is taken from the root, as in runc.
            c_string(&clean_target(path, &field)?, &field)
        })
        .collect()
}

/// Kernel parameters, of the container's own namespaces only: a parameter of the host's is refused.
pub(crate) fn sysctls(spec: &Spec, linux: &Linux, own: u64) -> Result<Vec<Sysctl>, Error> {
    use super::namespaces::{NEWIPC, NEWNET, NEWUTS};
    limit(linux.sysctl.len(), "linux.sysctl")?;
    let mut sysctls = Vec::with_capacity(linux.sysctl.len());
    for (key, value) in &linux.sysctl {
        let refuse = |reason: String| Error::config("linux.sysctl", reason);
        // Both a.b/c and a/b.c are in use; the first separator tells which is the directory's.
        let path = normalize_sysctl(key);
        let separate = match path.as_str() {
            "kernel/msgmax"
            | "kernel/msgmnb"
            | "kernel/msgmni"
            | "kernel/sem"
            | "kernel/shmall"
            | "kernel/shmmax"
            | "kernel/shmmni"
            | "kernel/shm_rmid_forced"
            | "kernel/msg_next_id"
            | "kernel/sem_next_id"
            | "kernel/shm_next_id" => own & NEWIPC != 0,
            "kernel/domainname" => own & NEWUTS != 0,
            "kernel/hostname" => {
                if own & NEWUTS != 0 && spec.hostname.is_empty() {
                    true
                } else {
                    return Err(refuse(format!(
                        "sysctl {key:?} is not allowed as it conflicts with the OCI \"hostname\" field"
                    )));
                }
            }
            path if path.starts_with("fs/mqueue/") => own & NEWIPC != 0,
            path if path.starts_with("net/") => own & NEWNET != 0,
            path if path.starts_with("user/") => own & super::namespaces::NEWUSER != 0,
            _ => return Err(refuse(format!("sysctl {key:?} is not in a separate kernel namespace"))),
        };
        if !separate {
            return Err(refuse(format!("sysctl {key:?} is not allowed in the hosts namespace")));
        }
        if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            return Err(refuse(format!("sysctl {key:?} is not a name")));
        }
        // CVE-2022-0811: what looks like a value must not become another assignment.
        if value.contains(['\0', '\n']) {
            return Err(refuse(format!("the value of {key:?} contains a line break")));
        }
        sysctls.push(Sysctl { path: c_string(&path, "linux.sysctl")?, value: value.clone().into_bytes() });
    }
    Ok(sysctls)
}

/// The path below /proc/sys of a name in either of the two notations of sysctl(8).
fn normalize_sysctl(key: &str) -> String {
    match key.find(['.', '/']).map(|at| key.as_bytes()[at]) {
        Some(b'.') => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => key.to_owned(),
    }
}

fn limit(len: usize, field: &str) -> Result<(), Error> {
    if len > MAX_ENTRIES {
        return Err(Error::config(field, format!("{len} entries are more than {MAX_ENTRIES}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::namespaces::{NEWIPC, NEWNET};

    #[test]
    fn default_devices_are_added_once() {
        let linux: Linux = serde_json::from_str(
            r#"{"devices":[{"path":"/dev/null","type":"c","major":1,"minor":3,"fileMode":384},{"path":"/dev/x/y","type":"b","major":8,"minor":0}]}"#,
        )
        .unwrap();
        let plans = devices(&linux).unwrap();
        assert_eq!(plans.len(), 7);
        assert_eq!((plans[0].mode, plans[1].mode), (S_IFCHR | 0o600, S_IFBLK | 0o666));
        assert_eq!((plans[0].name.as_deref(), plans[1].name.as_deref()), (Some(c"null"), None));
    }

    #[test]
    fn relative_paths_begin_at_the_root() {
        let given = ["proc/kcore", "/sys/../etc//x"].map(str::to_owned);
        assert_eq!(paths(&given, "f").unwrap(), [c"/proc/kcore".to_owned(), c"/etc/x".to_owned()]);
        assert!(paths(&[String::new()], "f").is_err());
    }

    #[test]
    fn parameters_of_the_host_are_refused() {
        let check = |key: &str, value: &str, own| {
            let mut linux = Linux::default();
            linux.sysctl.insert(key.into(), value.into());
            sysctls(&Spec::default(), &linux, own).map(|s| s[0].path.to_str().unwrap().to_owned())
        };
        assert_eq!(
            check("net.ipv4.conf.eth0/1.forwarding", "1", NEWNET).unwrap(),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(check("net/ipv4/ip_forward", "1", NEWNET).unwrap(), "net/ipv4/ip_forward");
        assert_eq!(check("kernel.shmmax", "1", NEWIPC).unwrap(), "kernel/shmmax");
        assert!(check("kernel.shmmax", "1", NEWNET).is_err());
        assert!(check("kernel.core_pattern", "|/x", NEWIPC | NEWNET).is_err());
        assert!(check("net.ipv4/../../kernel/core_pattern", "x", NEWNET).is_err());
        assert!(check("net/../kernel/core_pattern", "x", NEWNET).is_err());
        assert!(check("net.ipv4.ip_forward", "1\nkernel.core_pattern=x", NEWNET).is_err());
    }
}
