use std::collections::BTreeMap;

use gantry_types::oci::ConsoleSize;

use crate::cdi;
use crate::mounts::Mount;
use crate::namespaces::{CgroupNamespace, Ipc, Network, Pid, UserNamespace, Uts};
use crate::resources::Resources;
use crate::user::User;

/// What a container is to be, with everything resolved that needs the host or the image's files.
///
/// The default is a container with nothing to run: `args` has to be filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// The root file system: absolute, or relative to the bundle; `rootfs` when empty.
    pub root: String,
    /// Whether it is read-only.
    pub read_only_root: bool,
    /// What to run: [`crate::process_args`].
    pub args: Vec<String>,
    /// The container's environment, without what the engine adds: [`crate::merge_env`].
    pub env: Vec<String>,
    /// The working directory; `/` when empty.
    pub cwd: String,
    /// Whether the process has a terminal.
    pub tty: bool,
    /// Its size, if that is known.
    pub console_size: Option<ConsoleSize>,
    /// The host name; with the host's network it is the host's, and the caller says which that is.
    pub hostname: String,
    /// The NIS domain name.
    pub domainname: String,
    /// Who the process is: [`crate::user::resolve`].
    pub user: User,
    /// More groups: [`crate::user::resolve_groups`].
    pub group_add: Vec<u32>,
    /// What the process may do.
    pub confinement: Confinement,
    /// Which namespaces are its own.
    pub namespaces: Namespaces,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Resource limits of its processes.
    pub ulimits: Vec<Ulimit>,
    /// Limits of its cgroup, after [`crate::settle`].
    pub resources: Resources,
    /// Its cgroup: a path, or `slice:prefix:name` for systemd.
    pub cgroups_path: String,
    /// Whether its cgroups can be written to, whatever `confinement.privileged` says.
    pub writable_cgroups: Option<bool>,
    /// -1000 to 1000.
    pub oom_score_adj: i32,
    /// Devices of the host's.
    pub devices: Vec<DeviceMapping>,
    /// Rules of access to devices, such as `c 10:* rwm`.
    pub device_rules: Vec<String>,
    /// Edits of CDI devices: [`cdi::Registry::edits`].
    pub cdi: cdi::Edits,
    /// The size of a /dev/shm of its own; 64 MiB when 0.
    pub shm_size_bytes: u64,
    /// Mounts beyond those that every container has, also those of resolv.conf, hostname and hosts.
    pub mounts: Vec<Mount>,
    /// The host's path of an init that reaps for the process; used only where the PID namespace is new.
    pub init: Option<String>,
    /// Annotations of the configuration.
    pub annotations: BTreeMap<String, String>,
}

/// What a container's processes may do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Confinement {
    /// All capabilities and devices, and nothing masked, read-only or filtered unless it is asked for by name.
    pub privileged: bool,
    /// Capabilities beyond the default ones: `KILL`, `cap_kill` or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities to take away.
    pub cap_drop: Vec<String>,
    /// Whether execve(2) may not gain privileges.
    pub no_new_privileges: bool,
    /// The filter of system calls.
    pub seccomp: crate::seccomp::Choice,
    /// The AppArmor profile by name; the host's default one when `None`.
    pub apparmor: Option<String>,
    /// The SELinux label of the processes; empty for none.
    pub process_label: String,
    /// The SELinux label of the mounts; empty for none.
    pub mount_label: String,
    /// Paths that cannot be read, in place of the default ones.
    pub masked_paths: Option<Vec<String>>,
    /// Paths that cannot be written to, in place of the default ones.
    pub readonly_paths: Option<Vec<String>>,
}

/// Which namespaces are a container's own, or whose they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Namespaces {
    /// Network.
    pub network: Network,
    /// IPC, and with it /dev/shm.
    pub ipc: Ipc,
    /// Processes.
    pub pid: Pid,
    /// Host and domain name.
    pub uts: Uts,
    /// Cgroups.
    pub cgroup: CgroupNamespace,
    /// Users.
    pub user: UserNamespace,
}

/// A limit of a process's resources: getrlimit(2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ulimit {
    /// As in `ulimit`: `nofile`, `core`, ….
    pub name: String,
    /// The limit in force; -1 is unlimited.
    pub soft: i64,
    /// Its ceiling; -1 is unlimited.
    pub hard: i64,
}

/// A device node of the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostDevice {
    /// Where the container has it.
    pub path: String,
    /// `c` or `b`.
    pub kind: String,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Permission bits.
    pub mode: u32,
    /// Owner, in the container's ids.
    pub uid: u32,
    /// Group, in the container's ids.
    pub gid: u32,
}

/// A device that a container gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceMapping {
    /// The device.
    pub device: HostDevice,
    /// Letters of `rwm`; all of them when empty.
    pub access: String,
}
