//! Which namespaces are made, which are joined, and in which order.

use std::os::fd::{AsFd, OwnedFd};

use gantry_sys::Errno;
use gantry_sys::clone::CLONE_NEWTIME;
use gantry_types::oci::{IdMapping, Linux};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::Error;

// The flags of sched.h, which are the same on every architecture.
pub(crate) const NEWNS: u64 = 0x0002_0000;
pub(crate) const NEWCGROUP: u64 = 0x0200_0000;
pub(crate) const NEWUTS: u64 = 0x0400_0000;
pub(crate) const NEWIPC: u64 = 0x0800_0000;
pub(crate) const NEWUSER: u64 = 0x1000_0000;
pub(crate) const NEWPID: u64 = 0x2000_0000;
pub(crate) const NEWNET: u64 = 0x4000_0000;
pub(crate) const NEWTIME: u64 = CLONE_NEWTIME;

/// A namespace's name in the configuration, in /proc/PID/ns and its flag.
pub(crate) const KINDS: [(&str, &str, u64); 8] = [
    ("cgroup", "cgroup", NEWCGROUP),
    ("ipc", "ipc", NEWIPC),
    ("mount", "mnt", NEWNS),
    ("network", "net", NEWNET),
    ("pid", "pid", NEWPID),
    ("time", "time", NEWTIME),
    ("user", "user", NEWUSER),
    ("uts", "uts", NEWUTS),
];

/// How many ranges an id mapping may have: the kernel's UID_GID_MAP_MAX_EXTENTS, Linux 4.15.
pub(crate) const MAX_ID_RANGES: usize = 340;

/// A namespace to join.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) flag: u64,
    pub(crate) fd: OwnedFd,
    pub(crate) path: String,
}

/// What the parent and the child do about namespaces.
#[derive(Debug, Default)]
pub(crate) struct NamespacePlan {
    /// Made by the clone itself.
    pub(crate) clone_flags: u64,
    /// Made by the child after it joined a user namespace, or after it entered its cgroup.
    pub(crate) unshare: u64,
    /// A cgroup namespace that the child makes once it is in its cgroup.
    pub(crate) unshare_cgroup: bool,
    /// Joined by the child, in this order. The pid namespace is not among them.
    pub(crate) join: Vec<Join>,
    /// Joined around the clone: it takes effect for children only.
    pub(crate) join_pid: Option<Join>,
    /// Whether an intermediate process joins the user namespace before the clone.
    pub(crate) intermediate: bool,
    /// `/proc/PID/uid_map`, for a new user namespace.
    pub(crate) uid_map: Vec<IdMapping>,
    pub(crate) gid_map: Vec<IdMapping>,
    /// The lines for `/proc/self/timens_offsets`.
    pub(crate) time_offsets: String,
    /// All that are new.
    pub(crate) new: u64,
    /// All that are joined.
    pub(crate) joined: u64,
}

impl NamespacePlan {
    /// Sorts the configuration's namespaces.
    pub(crate) fn prepare(linux: &Linux) -> Result<Self, Error> {
        let mut plan = NamespacePlan::default();
        let mut seen = 0;
        for (index, namespace) in linux.namespaces.iter().enumerate() {
            let field = |name: &str| format!("linux.namespaces[{index}].{name}");
            let Some(&(_, proc_name, flag)) = KINDS.iter().find(|kind| kind.0 == namespace.type_) else {
                return Err(Error::config(field("type"), format!("unknown namespace {:?}", namespace.type_)));
            };
            if seen & flag != 0 {
                return Err(Error::config(
                    field("type"),
                    format!("duplicate namespace {:?}", namespace.type_),
                ));
            }
            seen |= flag;
            if namespace.path.is_empty() {
                plan.new |= flag;
                continue;
            }
            if !namespace.path.starts_with('/') {
                return Err(Error::config(field("path"), format!("{:?} is not absolute", namespace.path)));
            }
            plan.add_join(flag, proc_name, namespace.path.clone(), &field("path"))?;
        }
        plan.id_maps(linux)?;
        plan.time(linux)?;
        plan.order();
        Ok(plan)
    }

    fn add_join(&mut self, flag: u64, proc_name: &str, path: String, field: &str) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let fd =
            openat(CWD, &path, flags, Mode::empty()).map_err(Error::io(format!("{field}: open {path}")))?;
        // The kernel would say EINVAL of a namespace of another type, or of a file that is none.
        if gantry_sys::ns::kind(fd.as_fd()) != Ok(flag) {
            return Err(Error::config(field, format!("{path} is not a {proc_name} namespace")));
        }
        // Whoever asks to join what they are in already gets it: the kernel refuses that for user namespaces.
        let own = rustix::fs::stat(format!("/proc/self/ns/{proc_name}")).ok();
        let target = rustix::fs::fstat(&fd).ok();
        if flag == NEWUSER
            && own.zip(target).is_some_and(|(a, b)| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
        {
            return Ok(());
        }
        self.joined |= flag;
        let join = Join { flag, fd, path };
        if flag == NEWPID {
            self.join_pid = Some(join)
        } else {
            self.join.push(join)
        }
        Ok(())
    }

    fn id_maps(&mut self, linux: &Linux) -> Result<(), Error> {
        let (uid, gid) = (&linux.uid_mappings, &linux.gid_mappings);
        if self.new & NEWUSER == 0 {
            if self.joined & NEWUSER == 0 && !(uid.is_empty() && gid.is_empty()) {
                return Err(Error::config(
                    "linux.uidMappings",
                    "User namespace mappings specified, but USER namespace isn't enabled in the config",
                ));
            }
            return Ok(());
        }
        if uid.is_empty() && gid.is_empty() {
            self.uid_map = default_map("uid_map", rustix::process::geteuid().as_raw());
            self.gid_map = default_map("gid_map", rustix::process::getegid().as_raw());
            return Ok(());
        }
        check_mapping(uid, "linux.uidMappings")?;
        check_mapping(gid, "linux.gidMappings")?;
        self.uid_map.clone_from(uid);
        self.gid_map.clone_from(gid);
        Ok(())
    }

    fn time(&mut self, linux: &Linux) -> Result<(), Error> {
        use std::fmt::Write;
        if linux.time_offsets.is_empty() {
            return Ok(());
        }
        if self.new & NEWTIME == 0 {
            return Err(Error::config("linux.timeOffsets", "a new time namespace is needed for them"));
        }
        for (clock, offset) in &linux.time_offsets {
            if clock != "monotonic" && clock != "boottime" {
                return Err(Error::config("linux.timeOffsets", format!("unknown clock {clock:?}")));
            }
            let _ = writeln!(self.time_offsets, "{clock} {} {}", offset.secs, offset.nanosecs);
        }
        Ok(())
    }

    /// Decides who makes what. With a joined user namespace the others must be made inside it, so an intermediate
    /// process joins first; a time namespace with offsets takes them before anybody is in it, so the child makes it.
    fn order(&mut self) {
        self.clone_flags = self.new & !(NEWTIME | NEWCGROUP);
        self.unshare = self.new & NEWTIME;
        self.unshare_cgroup = self.new & NEWCGROUP != 0;
        // Whoever joins needs the caller's privileges, which a process loses by entering a new user namespace.
        self.intermediate = self.joined & NEWUSER != 0
            || self.new & NEWUSER != 0 && (!self.join.is_empty() || self.join_pid.is_some());
        // The privileged need their privileges for namespaces of others; the unprivileged get theirs from the user's.
        let privileged = rustix::process::geteuid().is_root();
        self.join.sort_by_key(|join| (join.flag == NEWUSER) == privileged);
    }
}

/// The map of a new user namespace that the configuration gives none, as in crun: root's container has the ids that
/// root has, an ordinary user's has that user as its root.
fn default_map(file: &str, own: u32) -> Vec<IdMapping> {
    let single = IdMapping { container_id: 0, host_id: own, size: 1 };
    if !rustix::process::geteuid().is_root() {
        return vec![single];
    }
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let ranges = mapped_here(&text);
    if ranges.is_empty() { vec![single] } else { ranges }
}

/// The ids that exist in the user namespace of a map, mapped to themselves.
pub(crate) fn mapped_here(text: &str) -> Vec<IdMapping> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map_while(|number| number.parse::<u32>().ok());
        let (first, _, size) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(IdMapping { container_id: first, host_id: first, size })
    };
    text.lines().filter_map(line).collect()
}

/// The group map of a container's user namespace.
pub(crate) fn group_map(linux: &Linux) -> Vec<IdMapping> {
    if linux.uid_mappings.is_empty() && linux.gid_mappings.is_empty() {
        return default_map("gid_map", rustix::process::getegid().as_raw());
    }
    linux.gid_mappings.clone()
}

/// Refuses what user_namespaces(7) refuses, before anything was made.
pub(crate) fn check_mapping(ranges: &[IdMapping], field: &str) -> Result<(), Error> {
    if ranges.is_empty() {
        return Err(Error::config(field, "a new user namespace needs at least one range"));
    }
    if ranges.len() > MAX_ID_RANGES {
        return Err(Error::config(field, format!("{} ranges are more than {MAX_ID_RANGES}", ranges.len())));
    }
    for (index, range) in ranges.iter().enumerate() {
        let end = |first: u32| u64::from(first) + u64::from(range.size);
        // The last id, 2^32-1, means "no id".
        let too_far = |first: u32| end(first) > u64::from(u32::MAX);
        if range.size == 0 || too_far(range.container_id) || too_far(range.host_id) {
            return Err(Error::config(
                format!("{field}[{index}]"),
                format!(
                    "containerID {}, hostID {}, size {}: not a range of ids",
                    range.container_id, range.host_id, range.size
                ),
            ));
        }
    }
    let overlap = |first: fn(&IdMapping) -> u32| {
        let mut sorted: Vec<_> =
            ranges.iter().map(|r| (u64::from(first(r)), u64::from(first(r)) + u64::from(r.size))).collect();
        sorted.sort_unstable();
        sorted.windows(2).any(|pair| pair[0].1 > pair[1].0)
    };
    if overlap(|r| r.container_id) || overlap(|r| r.host_id) {
        return Err(Error::config(field, "ranges overlap"));
    }
    Ok(())
}

/// Whether a map is of one id, which an ordinary user may write without help.
pub(crate) fn is_single(ranges: &[IdMapping]) -> bool {
    matches!(ranges, [IdMapping { size: 1, .. }])
}

/// The id on the host of an id in the container.
pub(crate) fn map_id(ranges: &[IdMapping], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = id.checked_sub(range.container_id)?;
        if offset < range.size { range.host_id.checked_add(offset) } else { None }
    })
}

/// A mapping as /proc/PID/uid_map takes it.
pub(crate) fn mapping_text(ranges: &[IdMapping]) -> String {
    use std::fmt::Write;
    ranges.iter().fold(String::new(), |mut text, range| {
        let _ = writeln!(text, "{} {} {}", range.container_id, range.host_id, range.size);
        text
    })
}

/// Whether setns(2) failing so means that the process is in the namespace already.
pub(crate) fn already_inside(flag: u64, errno: Errno) -> bool {
    flag == NEWUSER && errno == Errno::INVAL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(container_id: u32, host_id: u32, size: u32) -> IdMapping {
        IdMapping { container_id, host_id, size }
    }

    #[test]
    fn ids_are_mapped() {
        let ranges = [range(0, 1000, 1), range(1, 100_000, 10)];
        assert_eq!(map_id(&ranges, 0), Some(1000));
        assert_eq!(map_id(&ranges, 10), Some(100_009));
        assert_eq!(map_id(&ranges, 11), None);
        assert_eq!(mapping_text(&ranges), "0 1000 1\n1 100000 10\n");
        assert_eq!(map_id(&[range(0, u32::MAX, 10)], 1), None, "no id wraps around to root's");
    }

    #[test]
    fn a_map_of_ones_own_is_of_the_ids_that_exist() {
        let map = mapped_here("         0       1000          1\n         1     100000      65536\n");
        assert_eq!(map, [range(0, 0, 1), range(1, 1, 65_536)]);
        assert!(mapped_here("").is_empty());
        let own =
            NamespacePlan::prepare(&serde_json::from_str(r#"{"namespaces":[{"type":"user"}]}"#).unwrap());
        assert!(!own.unwrap().gid_map.is_empty());
    }

    #[test]
    fn impossible_mappings_are_refused() {
        for bad in [
            vec![],
            vec![range(0, 0, 0)],
            vec![range(u32::MAX, 0, 1)],
            vec![range(0, 1, u32::MAX)],
            vec![range(0, 0, 10), range(5, 100, 10)],
            vec![range(0, 0, 10), range(100, 9, 1)],
            vec![range(0, 0, 1); MAX_ID_RANGES + 1],
        ] {
            assert!(check_mapping(&bad, "f").is_err(), "{bad:?}");
        }
        check_mapping(&[range(0, 0, u32::MAX)], "f").unwrap();
    }

    #[test]
    fn namespaces_are_checked() {
        let parse = |text: &str| -> Linux { serde_json::from_str(text).unwrap() };
        let bad = [
            r#"{"namespaces":[{"type":"net"}]}"#,
            r#"{"namespaces":[{"type":"pid"},{"type":"pid"}]}"#,
            r#"{"namespaces":[{"type":"pid","path":"proc"}]}"#,
            r#"{"namespaces":[{"type":"pid","path":"/proc/self/ns/net"}]}"#,
            r#"{"namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":0,"size":1}]}"#,
            r#"{"uidMappings":[{"containerID":0,"hostID":0,"size":1}]}"#,
            r#"{"namespaces":[{"type":"time"}],"timeOffsets":{"realtime":{"secs":1}}}"#,
            r#"{"timeOffsets":{"boottime":{"secs":1}}}"#,
        ];
        for text in bad {
            assert!(NamespacePlan::prepare(&parse(text)).is_err(), "{text}");
        }
        let plan = NamespacePlan::prepare(&parse(
            r#"{"namespaces":[{"type":"pid"},{"type":"cgroup"},{"type":"time"}]}"#,
        ))
        .unwrap();
        assert_eq!((plan.clone_flags, plan.unshare, plan.unshare_cgroup), (NEWPID, NEWTIME, true));
    }
}
