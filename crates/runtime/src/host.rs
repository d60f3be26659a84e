use std::path::PathBuf;

/// Who keeps the containers' cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupDriver {
    /// The cgroup file system.
    #[default]
    Fs,
    /// systemd, over D-Bus.
    Systemd,
    /// Nobody: containers stay in the caller's cgroup.
    Disabled,
}

/// Whose children the processes of containers are, and so who reaps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parent {
    /// The caller's.
    #[default]
    Caller,
    /// The caller's parent's: the caller is a process for this one operation (clone(2), CLONE_PARENT).
    CallersParent,
}

/// Where and how containers are kept on this host: what every operation is given.
#[derive(Debug, Clone)]
pub struct Host {
    /// The state directory, which holds one directory a container.
    pub root: PathBuf,
    /// Who keeps the cgroups.
    pub cgroup_driver: CgroupDriver,
    /// Whether to tolerate what an ordinary user may not do with cgroups.
    pub rootless: bool,
    /// Whether the caller is in a user namespace of its own, where the host's devices are out of reach.
    pub in_user_namespace: bool,
    /// Whose child a container's process becomes.
    pub parent: Parent,
    /// Where warnings and steps are told.
    pub notices: crate::notice::Notices,
}

impl Host {
    /// Containers below `root`, cgroups by the file system; rootless as the caller is.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let in_user_namespace = in_user_namespace();
        let rootless = in_user_namespace || !rustix::process::geteuid().is_root();
        Host {
            root: root.into(),
            cgroup_driver: CgroupDriver::Fs,
            rootless,
            in_user_namespace,
            parent: Parent::default(),
            notices: crate::notice::Notices::default(),
        }
    }
}

/// Whether the caller's ids are mapped: the initial user namespace maps all of them to themselves.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let numbers: Vec<&str> = map.split_whitespace().collect();
    !numbers.is_empty() && numbers != ["0", "0", "4294967295"]
}
