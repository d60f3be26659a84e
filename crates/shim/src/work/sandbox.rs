//! The pause of a sandbox: a container whose program is our own, which holds the pod's namespaces.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use gantry_proto_shim::cri::{NamespaceMode, NamespaceOption, PodSandboxConfig};
use gantry_runtime::{CreateRequest, Force};
use gantry_types::ContainerId;
use serde_json::{Value, json};

use super::Made;
use crate::failure::Failure;
use crate::options::RuntimeOptions;
use crate::stdio::{Opened, Role};
use crate::worker::Done;

/// What a sandbox is made from.
#[derive(Debug, Clone)]
pub(crate) struct Pausing {
    pub(crate) id: ContainerId,
    pub(crate) namespace: String,
    /// A directory of the pod's for the bundle.
    pub(crate) bundle: PathBuf,
    /// The network namespace; empty for the host's.
    pub(crate) netns: String,
    pub(crate) config: PodSandboxConfig,
    pub(crate) options: RuntimeOptions,
}

/// Makes the pause, running.
pub(crate) fn pause(pausing: &Pausing) -> Result<Done, Failure> {
    let Pausing { id, bundle, .. } = pausing;
    write_bundle(pausing)?;
    let mut host = pausing.options.host(&pausing.namespace);
    let request = CreateRequest { bundle: bundle.clone(), ..CreateRequest::default() };
    let mut streams = Opened::default();
    for own in &mut streams.own {
        *own = Some(crate::stdio::null()?);
    }
    streams.install()?;
    let created = gantry_runtime::create(&host, id, &request)?;
    let started = gantry_runtime::start(&host, id, None);
    if let Err(error) = started {
        host.notices = gantry_runtime::Notices::default();
        let _ = gantry_runtime::delete(&host, id, Force::Yes);
        return Err(error.into());
    }
    let record = created.record;
    let made = Made {
        pid: created.child.pid,
        start_time: record.start_time,
        cgroup: record.cgroup,
        own_pids: record.exec.pid_namespace,
        options: pausing.options.clone(),
        ..Made::default()
    };
    made.into_done(Opened::default(), vec![(Role::Pidfd, created.child.pidfd)])
}

/// Removes the pause, whatever it is doing.
pub(crate) fn unpause(pausing: &Pausing) -> Result<Done, Failure> {
    let host = pausing.options.host(&pausing.namespace);
    gantry_runtime::delete(&host, &pausing.id, Force::Yes)?;
    match std::fs::remove_dir_all(&pausing.bundle) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::io(format!("remove {}", pausing.bundle.display()))(error))
        }
        _ => Ok(Done::default()),
    }
}

fn write_bundle(pausing: &Pausing) -> Result<(), Failure> {
    let root = super::rootfs(&pausing.bundle);
    std::fs::create_dir_all(root.join("dev")).map_err(Failure::io(format!("mkdir {}", root.display())))?;
    write(&root.join("pause"), &program()?, 0o555)?;
    let text = serde_json::to_vec(&configuration(pausing))
        .map_err(|error| Failure::invalid(format!("the pause's configuration: {error}")))?;
    write(&pausing.bundle.join("config.json"), &text, 0o600)
}

#[cfg(target_arch = "x86_64")]
fn program() -> Result<Vec<u8>, Failure> {
    Ok(gantry_sys::pause::executable())
}

#[cfg(not(target_arch = "x86_64"))]
fn program() -> Result<Vec<u8>, Failure> {
    Err(Failure::new(gantry_types::ErrorKind::Unimplemented, "the built-in pause is for x86_64"))
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
    let mut file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .map_err(Failure::io(format!("open {}", path.display())))?;
    file.write_all(content).map_err(Failure::io(format!("write {}", path.display())))
}

/// The pause has nothing: no capability, no writable file, a handful of system calls.
fn configuration(pausing: &Pausing) -> Value {
    let linux = pausing.config.linux.clone().unwrap_or_default();
    let modes = linux.security_context.and_then(|it| it.namespace_options);
    let modes = modes
        .unwrap_or_else(|| NamespaceOption { pid: NamespaceMode::Container.into(), ..Default::default() });
    let mut namespaces = vec![json!({"type": "mount"}), json!({"type": "pid"}), json!({"type": "uts"})];
    if modes.ipc() != NamespaceMode::Node {
        namespaces.push(json!({"type": "ipc"}));
    }
    let network_of_node = modes.network() == NamespaceMode::Node;
    if !network_of_node && !pausing.netns.is_empty() {
        namespaces.push(json!({"type": "network", "path": pausing.netns}));
    }
    let hostname = if network_of_node { String::new() } else { pausing.config.hostname.clone() };
    let hostname = if hostname.is_empty() { pausing.id.to_string() } else { hostname };
    let parent = linux.cgroup_parent;
    let cgroups_path = match parent.as_str() {
        "" => String::new(),
        parent if pausing.options.systemd_cgroup => {
            let slice = parent.rsplit('/').next().unwrap_or(parent);
            format!("{slice}:gantry:{}", pausing.id)
        }
        parent => format!("{}/{}", parent.trim_end_matches('/'), pausing.id),
    };
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 65535, "gid": 65535},
            "args": ["/pause"],
            "env": [],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {"bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": []},
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": hostname,
        "mounts": [{
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"],
        }],
        "linux": {
            "namespaces": namespaces,
            "sysctl": linux.sysctls,
            "cgroupsPath": cgroups_path,
            "resources": {"devices": [{"allow": false, "access": "rwm"}], "cpu": {"shares": 2}},
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "syscalls": [{
                    "names": [
                        "execve", "execveat", "rt_sigaction", "rt_sigreturn", "pause", "exit", "exit_group",
                        "read", "write", "close", "prctl", "capset",
                    ],
                    "action": "SCMP_ACT_ALLOW",
                }],
            },
        },
    })
}
