use std::fmt;

/// A cgroup controller that containers join, by its name in cgroup v1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Controller {
    /// First, because processes cannot be attached before it has values.
    Cpuset,
    /// Device access.
    Devices,
    /// Memory.
    Memory,
    /// CPU time.
    Cpu,
    /// CPU accounting.
    Cpuacct,
    /// Number of tasks.
    Pids,
    /// Block I/O: `io` in cgroup v2.
    Blkio,
    /// Huge pages.
    Hugetlb,
    /// Class of packets.
    NetCls,
    /// Priority of packets.
    NetPrio,
    /// Performance monitoring.
    PerfEvent,
    /// Suspension.
    Freezer,
    /// RDMA.
    Rdma,
    /// systemd's named hierarchy, without a controller.
    Systemd,
    /// Miscellaneous.
    Misc,
}

/// All of them, in the order in which a process is attached.
pub(crate) const ALL: [Controller; 15] = [
    Controller::Cpuset,
    Controller::Devices,
    Controller::Memory,
    Controller::Cpu,
    Controller::Cpuacct,
    Controller::Pids,
    Controller::Blkio,
    Controller::Hugetlb,
    Controller::NetCls,
    Controller::NetPrio,
    Controller::PerfEvent,
    Controller::Freezer,
    Controller::Rdma,
    Controller::Systemd,
    Controller::Misc,
];

impl Controller {
    /// The name in `/proc/self/cgroup`, in mount options, and in runc's state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpuset => "cpuset",
            Self::Devices => "devices",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Pids => "pids",
            Self::Blkio => "blkio",
            Self::Hugetlb => "hugetlb",
            Self::NetCls => "net_cls",
            Self::NetPrio => "net_prio",
            Self::PerfEvent => "perf_event",
            Self::Freezer => "freezer",
            Self::Rdma => "rdma",
            Self::Systemd => "name=systemd",
            Self::Misc => "misc",
        }
    }

    /// The controller of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|controller| controller.as_str() == name)
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The controllers of one v1 hierarchy; empty for the unified one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Controllers(u16);

impl Controllers {
    /// The unified hierarchy.
    pub const UNIFIED: Self = Self(0);

    /// Adds one.
    pub(crate) fn insert(&mut self, controller: Controller) {
        self.0 |= 1 << controller as u8;
    }

    /// Whether it is one of them.
    pub fn contains(self, controller: Controller) -> bool {
        self.0 & (1 << controller as u8) != 0
    }

    /// Whether this is the unified hierarchy.
    pub fn is_unified(self) -> bool {
        self.0 == 0
    }

    /// They, in the order in which processes are attached.
    pub fn iter(self) -> impl Iterator<Item = Controller> {
        ALL.into_iter().filter(move |&controller| self.contains(controller))
    }

    /// Reads a comma-separated list, skipping names that containers do not join.
    pub(crate) fn from_list(list: &str) -> Self {
        let mut set = Self::default();
        list.split(',').filter_map(Controller::from_name).for_each(|controller| set.insert(controller));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_controller_has_a_bit_and_a_name_of_its_own() {
        for controller in ALL {
            let set = Controllers::from_list(controller.as_str());
            assert_eq!(set.iter().collect::<Vec<_>>(), [controller]);
        }
        let list = ALL.map(Controller::as_str).join(",");
        assert_eq!(Controllers::from_list(&list).iter().count(), ALL.len());
    }

    #[test]
    fn unknown_names_are_skipped() {
        let set = Controllers::from_list("rw,cpu,cpuacct,debug,name=elogind");
        assert_eq!(set.iter().collect::<Vec<_>>(), [Controller::Cpu, Controller::Cpuacct]);
        assert!(Controllers::from_list("rw,none").is_unified());
    }
}
