//! Giving a container its own cgroup: config-linux.md of runtime-spec v1.3.0, Cgroup ownership; and crun's annotations
//! for cgroups below a scope.
//!
//! ```text
//! scope                                 systemd's
//! └─ run.oci.systemd.subgroup           the container's, with its limits
//!    └─ run.oci.delegate-cgroup         the payload's, which begins in it
//! ```

use gantry_cgroup::{Cgroup, Driver};
use gantry_types::oci::{Mount, Spec};
use rustix::fs::Uid;
use rustix::process::Pid;

use crate::error::Error;
use crate::host::Host;
use crate::plan::namespaces::map_id;

/// Where a container sees its cgroup.
const CGROUP_MOUNT: &str = "/sys/fs/cgroup";

/// crun's annotations. Engines that do not want them do not pass them on.
const SUBGROUP: &str = "run.oci.systemd.subgroup";
const DELEGATED: &str = "run.oci.delegate-cgroup";

/// Takes the container into a cgroup below its scope, if the annotation names one.
pub(crate) fn descend(spec: &Spec, cgroup: &mut Cgroup, pid: Pid) -> Result<(), Error> {
    match spec.annotations.get(SUBGROUP).filter(|name| !name.is_empty()) {
        Some(name) if matches!(cgroup.driver(), Driver::Systemd { .. }) => Ok(cgroup.descend(name, pid)?),
        _ => Ok(()),
    }
}

/// Puts the process into a cgroup that is its own to manage, if the annotation names one: below the root of its cgroup
/// namespace, which is there already.
pub(crate) fn give_below(spec: &Spec, cgroup: &Cgroup, pid: Pid) -> Result<(), Error> {
    match spec.annotations.get(DELEGATED).filter(|name| !name.is_empty()) {
        Some(name) => Ok(cgroup.give_below(name, pid, host_user(spec).map(Uid::from_raw))?),
        None => Ok(()),
    }
}

/// Gives the cgroup to the host's user behind the user of the process, where the specification allows it. runc does so
/// with the systemd driver only; the specification knows no drivers.
///
/// # Errors
/// The kernel's own; none for an ordinary user, who owns the cgroup and can give it to nobody else.
pub(crate) fn delegate(host: &Host, spec: &Spec, cgroup: &Cgroup) -> Result<(), Error> {
    let Some(owner) = owner(spec) else { return Ok(()) };
    match cgroup.delegate_to(Uid::from_raw(owner)) {
        Err(error) if !host.rootless => Err(error.into()),
        _ => Ok(()),
    }
}

/// The owner on the host, of a cgroup that the container may write to and sees nothing beside.
fn owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux.as_ref()?;
    let namespace = linux.namespaces.iter().find(|namespace| namespace.type_ == "cgroup")?;
    let of_its_own = namespace.path.is_empty();
    if !of_its_own || !spec.mounts.iter().any(is_writable_cgroup) {
        return None;
    }
    host_user(spec)
}

/// The user of the process on the host, unless it is root anyway.
fn host_user(spec: &Spec) -> Option<u32> {
    let linux = spec.linux.as_ref()?;
    let user = spec.process.as_ref().map_or(0, |process| process.user.uid);
    if linux.namespaces.iter().any(|namespace| namespace.type_ == "user") {
        // A joined one may come without mappings: nobody knows the owner then.
        return map_id(&linux.uid_mappings, user);
    }
    Some(user).filter(|user| *user != 0)
}

fn is_writable_cgroup(mount: &Mount) -> bool {
    let read_only = mount.options.iter().rev().find(|option| matches!(option.as_str(), "ro" | "rw"));
    matches!(mount.type_.as_str(), "cgroup" | "cgroup2")
        && mount.destination.trim_end_matches('/') == CGROUP_MOUNT
        && read_only.is_none_or(|option| option != "ro")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner_of(namespaces: &str, mount: &str, uid: u32) -> Option<u32> {
        let text = format!(
            r#"{{"process":{{"user":{{"uid":{uid}}}}},"mounts":[{mount}],
                "linux":{{"namespaces":[{namespaces}],"uidMappings":[{{"containerID":0,"hostID":5000,"size":10}}]}}}}"#
        );
        owner(&serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn the_owner_is_the_user_behind_the_process() {
        const CGROUP: &str = r#"{"type":"cgroup"}"#;
        const BOTH: &str = r#"{"type":"cgroup"},{"type":"user"}"#;
        const JOINED: &str = r#"{"type":"cgroup","path":"/proc/1/ns/cgroup"}"#;
        const WRITABLE: &str = r#"{"destination":"/sys/fs/cgroup","type":"cgroup","options":["nosuid"]}"#;
        const READ_ONLY: &str = r#"{"destination":"/sys/fs/cgroup","type":"cgroup","options":["ro"]}"#;
        const ELSEWHERE: &str = r#"{"destination":"/cgroup","type":"cgroup"}"#;
        assert_eq!(owner_of(CGROUP, WRITABLE, 7), Some(7));
        assert_eq!(owner_of(BOTH, WRITABLE, 7), Some(5007));
        assert_eq!(owner_of(BOTH, WRITABLE, 10), None, "not mapped");
        assert_eq!(owner_of(CGROUP, WRITABLE, 0), None, "the host's root");
        for (namespaces, mount) in
            [(JOINED, WRITABLE), ("", WRITABLE), (CGROUP, READ_ONLY), (CGROUP, ELSEWHERE)]
        {
            assert_eq!(owner_of(namespaces, mount, 7), None, "{namespaces} {mount}");
        }
    }
}
