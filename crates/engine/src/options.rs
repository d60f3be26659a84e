//! What a container is asked to be. Doors translate their own words into these once, when it is made.
//!
//! The values are what the person said: what the image says is merged in by the engine (see `container/create.rs`), and the
//! result is kept in the record.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A container to be made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What runs in it.
    pub process: Process,
    /// How it is fenced in.
    pub isolation: Isolation,
    /// What it may use.
    pub resources: Resources,
    /// What is mounted in it, beside its image.
    pub mounts: Vec<MountRequest>,
    /// Containers whose mounts it has, too: `name[:ro|rw]`.
    pub volumes_from: Vec<String>,
    /// Its network.
    pub network: NetworkOptions,
    /// Where its output goes.
    pub log: LogOptions,
    /// When it starts again.
    pub restart: RestartPolicy,
    /// Whether it is removed when it ends.
    pub auto_remove: bool,
    /// Its labels. Those of the image come below.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to end; empty for the image's, or SIGTERM.
    pub stop_signal: String,
    /// How long it has to end; None for 10 s.
    pub stop_timeout: Option<Duration>,
    /// How its health is asked for; None for the image's.
    pub health: Option<HealthCheck>,
    /// The runtime's name; empty for the default.
    pub runtime: String,
    /// Annotations of its OCI specification.
    pub annotations: BTreeMap<String, String>,
    /// The request as the door had it, for its own answers. Nobody else reads it.
    pub origin: String,
}

/// What runs in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// None for the image's; empty for none.
    pub entrypoint: Option<Vec<String>>,
    /// None for the image's.
    pub cmd: Option<Vec<String>>,
    /// `KEY=VALUE`, or `KEY` to take one away.
    pub env: Vec<String>,
    /// Empty for the image's.
    pub working_dir: String,
    /// Name or number, with a group after a colon; empty for the image's.
    pub user: String,
    /// More groups, names or numbers.
    pub groups: Vec<String>,
    /// Whether its streams are a terminal.
    pub tty: bool,
    /// Whether its standard input stays open.
    pub open_stdin: bool,
    /// Whether that ends with the first client.
    pub stdin_once: bool,
    /// Columns and rows of a new terminal; zeros for the kernel's.
    pub console_size: (u16, u16),
    /// What runs the shell form of a health check; empty for the image's.
    pub shell: Vec<String>,
    /// Whether an init reaps what it leaves behind.
    pub init: Option<bool>,
}

/// How a container is fenced in. The modes are docker's words: `host`, `private`, `container:<name>`, …
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Isolation {
    /// Empty for the beginning of the id.
    pub hostname: String,
    /// NIS domain.
    pub domainname: String,
    /// All capabilities, all devices, nothing masked.
    pub privileged: bool,
    /// Whether its root is read-only.
    pub read_only: bool,
    /// Capabilities beside the default ones.
    pub cap_add: Vec<String>,
    /// Capabilities that it does not get.
    pub cap_drop: Vec<String>,
    /// `no-new-privileges`, `seccomp=…` (the profile's text), `apparmor=…`, `label=…`, `systempaths=unconfined`, …
    pub security_opt: Vec<String>,
    /// The IPC namespace.
    pub ipc_mode: String,
    /// The PID namespace.
    pub pid_mode: String,
    /// The UTS namespace.
    pub uts_mode: String,
    /// The cgroup namespace.
    pub cgroupns_mode: String,
    /// The user namespace.
    pub userns_mode: String,
    /// `net.*`, `kernel.*`, `fs.mqueue.*`
    pub sysctls: BTreeMap<String, String>,
    /// None for docker's.
    pub masked_paths: Option<Vec<String>>,
    /// None for docker's.
    pub readonly_paths: Option<Vec<String>>,
    /// Kernel's preference when memory is short.
    pub oom_score_adj: i32,
    /// Bytes of /dev/shm; 0 for 64 MiB.
    pub shm_size: u64,
}

/// What a container may use. Zeros and empty values are no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes.
    pub memory: i64,
    /// Bytes of memory and swap; -1 for no limit of swap.
    pub memory_swap: i64,
    /// Bytes.
    pub memory_reservation: i64,
    /// Percent; None for the kernel's.
    pub memory_swappiness: Option<i64>,
    /// Whether it waits instead of being killed.
    pub oom_kill_disable: bool,
    /// Relative weight.
    pub cpu_shares: i64,
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds a period.
    pub cpu_quota: i64,
    /// Billionths of a processor.
    pub nano_cpus: i64,
    /// Microseconds.
    pub cpu_realtime_period: i64,
    /// Microseconds a period.
    pub cpu_realtime_runtime: i64,
    /// A list such as `0-3,7`.
    pub cpuset_cpus: String,
    /// A list of memory nodes.
    pub cpuset_mems: String,
    /// Processes; None or not positive for no limit.
    pub pids_limit: Option<i64>,
    /// 10 to 1000.
    pub blkio_weight: u16,
    /// By device.
    pub blkio_weight_device: Vec<(String, u64)>,
    /// Bytes a second, by device.
    pub blkio_read_bps: Vec<(String, u64)>,
    /// Bytes a second, by device.
    pub blkio_write_bps: Vec<(String, u64)>,
    /// Operations a second, by device.
    pub blkio_read_iops: Vec<(String, u64)>,
    /// Operations a second, by device.
    pub blkio_write_iops: Vec<(String, u64)>,
    /// Name, soft, hard; -1 for no limit.
    pub ulimits: Vec<(String, i64, i64)>,
    /// Host path, path in the container, `rwm`.
    pub devices: Vec<(String, String, String)>,
    /// Rules such as `c 42:* rmw`.
    pub device_cgroup_rules: Vec<String>,
    /// Devices by their CDI names.
    pub cdi_devices: Vec<String>,
    /// Where its cgroup is; empty for the default.
    pub cgroup_parent: String,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A directory or file of the host.
    Bind,
    /// A volume, by name; a new one for none.
    #[default]
    Volume,
    /// Memory.
    Tmpfs,
    /// The files of an image, by name, for reading alone.
    Image,
}

/// What is mounted below something that cannot be written to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadOnlyBelow {
    /// It cannot be written to either, if the kernel can do that.
    #[default]
    IfPossible,
    /// It is as it is.
    Never,
    /// It cannot, or the container does not start.
    Always,
}

/// A mount that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountRequest {
    /// What it is.
    pub kind: MountKind,
    /// A path of the host, or the name of a volume or an image.
    pub source: String,
    /// Where it is seen.
    pub target: String,
    /// Whether it cannot be written to.
    pub read_only: bool,
    /// And what is mounted below it.
    pub read_only_below: ReadOnlyBelow,
    /// `rprivate` and so on; empty for the default.
    pub propagation: String,
    /// Of a bind: only itself, without what is mounted below.
    pub non_recursive: bool,
    /// Of a bind: a directory is made where there is none.
    pub create_source: bool,
    /// Of a volume: not filled from the image.
    pub no_copy: bool,
    /// Of a volume, bind or image: a path in it.
    pub subpath: String,
    /// Of a new volume.
    pub volume_labels: BTreeMap<String, String>,
    /// Of a new volume.
    pub volume_driver: String,
    /// Of a new volume.
    pub volume_options: BTreeMap<String, String>,
    /// Of memory: bytes, 0 for no limit.
    pub tmpfs_size: u64,
    /// Of memory: its mode, 0 for 1777.
    pub tmpfs_mode: u32,
    /// Of memory: mount options, as in `noexec,size=64k`.
    pub tmpfs_options: String,
    /// Whether it is that of `-v` or `--volume`, whose mode word is shown.
    pub mode: String,
}

/// A container's network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkOptions {
    /// `bridge` (or `default`, or nothing), `host`, `none`, `container:<name>`, or a network's name.
    pub mode: String,
    /// No network at all.
    pub disabled: bool,
    /// Ports that are published.
    pub ports: Vec<PortRequest>,
    /// Ports that it listens on: `80/tcp`.
    pub exposed: BTreeSet<String>,
    /// Whether all of these are published, on ports of the host's choice.
    pub publish_all: bool,
    /// Servers of names.
    pub dns: Vec<String>,
    /// Domains in which names are looked for.
    pub dns_search: Vec<String>,
    /// Options of the resolver.
    pub dns_options: Vec<String>,
    /// `name:address`
    pub extra_hosts: Vec<String>,
    /// `name[:alias]` of containers that it is to find.
    pub links: Vec<String>,
    /// Its address; None for one of the engine's choice.
    pub address: Option<IpAddr>,
    /// Its hardware address; empty for one of the engine's choice.
    pub mac_address: String,
}

/// A port that is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRequest {
    /// In the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// On which address of the host; None for all.
    pub host_ip: Option<IpAddr>,
    /// The first of the host's ports; 0 for one of the engine's choice.
    pub host_port: u16,
    /// The last of those that will do.
    pub host_port_end: u16,
}

/// Where output goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    /// `json-file`, `local`, `none`, `syslog`, `journald`; empty for the default.
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// When a container starts again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Whenever it has ended, and with the daemon.
    Always,
    /// The same, but not with the daemon if a person had stopped it.
    UnlessStopped,
    /// When it has failed, at most so often; 0 for without end.
    OnFailure(u32),
}

/// How a container's health is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// `CMD` and arguments, `CMD-SHELL` and a line, `NONE`; empty for the image's.
    pub test: Vec<String>,
    /// Between two probes; zero for 30 s.
    pub interval: Duration,
    /// For one probe; zero for 30 s.
    pub timeout: Duration,
    /// In which failures do not count.
    pub start_period: Duration,
    /// Between two probes in that time; zero for 5 s.
    pub start_interval: Duration,
    /// Failures in a row that make it unhealthy; 0 for 3.
    pub retries: u32,
}
