//! The wait before the first move between cgroups, begun before there is anything to move.
//!
//! Who moves a process takes the kernel's `cgroup_threadgroup_rwsem` for writing. If nobody has for some 20 ms, that is a grace
//! period of RCU, 5 to 18 ms; whoever comes while it lasts, or up to one more after it, waits for its rest at most. The move
//! may be one that changes nothing: of a process to where it is. In cgroup v2 a clone into a cgroup takes no such lock.

use rustix::io::Errno;

use crate::dir::Dir;
use crate::error::PathError;
use crate::hierarchy::{Hierarchy, Mode};

/// Waits for the grace period that the next move between cgroups would wait for, if moves there will be. The caller stays where it
/// is. It is for a process that has nothing else to do.
///
/// # Errors
/// What finding the caller's own cgroup and writing to its `cgroup.procs` gives; nothing has changed then.
///
/// # Privilege
/// Write access to that file.
pub fn hasten() -> Result<(), PathError> {
    let hierarchy = Hierarchy::detect()?;
    let Some(mount) = hierarchy.mounts().first().filter(|_| hierarchy.mode() != Mode::V2) else {
        return Ok(());
    };
    let path = mount.point.join(hierarchy.own(mount)?);
    let written = Dir::open(&path).and_then(|dir| dir.write("cgroup.procs", b"0"));
    written.map_err(|errno: Errno| PathError::Read { path, errno })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_hastens_stays_where_it_is() {
        let own = || std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let before = own();
        if let Err(error) = hasten() {
            assert!(!rustix::process::geteuid().is_root(), "{error}");
        }
        assert_eq!(own(), before);
    }
}
