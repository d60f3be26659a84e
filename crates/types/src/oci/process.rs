use serde::{Deserialize, Serialize};

/// A process to run in a container: the first one, or one of `exec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether the process has a terminal of its own.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "std::ops::Not::not")]
    pub terminal: bool,
    /// The terminal's size; ignored without a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Who the process is.
    #[serde(default, deserialize_with = "super::nullable")]
    pub user: User,
    /// Program and arguments, as for execvp(3).
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Windows only; accepted and ignored.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub command_line: String,
    /// The environment, as `KEY=value`.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The working directory, absolute in the container.
    #[serde(default, deserialize_with = "super::nullable")]
    pub cwd: String,
    /// The five capability sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Resource limits.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    /// Whether execve(2) may not gain privileges: prctl(2) PR_SET_NO_NEW_PRIVS.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privileges: bool,
    /// The AppArmor profile.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub apparmor_profile: String,
    /// The value for /proc/PID/oom_score_adj, -1000 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Scheduling policy: sched_setattr(2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// The SELinux label of the process.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub selinux_label: String,
    /// I/O scheduling class and priority: ioprio_set(2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<IoPriority>,
    /// CPUs on which a process of `exec` is set up and runs.
    #[serde(rename = "execCPUAffinity", default, skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<CpuAffinity>,
}

/// A terminal's size, in characters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsoleSize {
    /// Rows.
    #[serde(default, deserialize_with = "super::nullable")]
    pub height: u16,
    /// Columns.
    #[serde(default, deserialize_with = "super::nullable")]
    pub width: u16,
}

/// The identity of a process, in the container's ids.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// User id.
    #[serde(default, deserialize_with = "super::nullable")]
    pub uid: u32,
    /// Group id.
    #[serde(default, deserialize_with = "super::nullable")]
    pub gid: u32,
    /// File mode creation mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
    /// Windows only; accepted and ignored.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub username: String,
}

/// The capability sets of a process, each a list of names such as `CAP_KILL`: capabilities(7).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// The bounding set.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub bounding: Vec<String>,
    /// The effective set.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub effective: Vec<String>,
    /// The inheritable set.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub inheritable: Vec<String>,
    /// The permitted set.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub permitted: Vec<String>,
    /// The ambient set.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub ambient: Vec<String>,
}

/// A resource limit: getrlimit(2).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rlimit {
    /// The limit's name, such as `RLIMIT_NOFILE`.
    #[serde(rename = "type", default, deserialize_with = "super::nullable")]
    pub type_: String,
    /// The ceiling of the soft limit.
    #[serde(default, deserialize_with = "super::nullable")]
    pub hard: u64,
    /// The limit in force.
    #[serde(default, deserialize_with = "super::nullable")]
    pub soft: u64,
}

/// Scheduling attributes: sched_setattr(2).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scheduler {
    /// `SCHED_OTHER`, `SCHED_FIFO`, `SCHED_RR`, `SCHED_BATCH`, `SCHED_ISO`, `SCHED_IDLE` or `SCHED_DEADLINE`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub policy: String,
    /// Niceness, for `SCHED_OTHER` and `SCHED_BATCH`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub nice: i32,
    /// Static priority, for `SCHED_FIFO` and `SCHED_RR`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub priority: i32,
    /// Names such as `SCHED_FLAG_RESET_ON_FORK`.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub runtime: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub deadline: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub period: u64,
}

/// I/O scheduling: ioprio_set(2).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IoPriority {
    /// `IOPRIO_CLASS_RT`, `IOPRIO_CLASS_BE` or `IOPRIO_CLASS_IDLE`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub class: String,
    /// 0 (highest) to 7, within the class.
    #[serde(default, deserialize_with = "super::nullable")]
    pub priority: i32,
}

/// CPU lists (as in `0-3,7`) of a process of `exec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuAffinity {
    /// Before the process enters the container's cgroup.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub initial: String,
    /// After the process entered the container's cgroup.
    #[serde(
        rename = "final",
        default,
        deserialize_with = "super::nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub final_: String,
}
