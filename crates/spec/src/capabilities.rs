//! Capability sets: what docker adds to and takes from its default one. capabilities(7).

use gantry_types::oci::Capabilities;

use crate::Error;
use crate::error::at_most;
use crate::host::Host;
use crate::options::Confinement;

pub use gantry_types::oci::CAPABILITIES as ALL_CAPABILITIES;

/// What containers have by default, in docker's order.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const ALL: &str = "ALL";
/// The most names in either list.
const MAX_NAMES: usize = 256;

/// Whether `name` names a capability, with or without `CAP_`, in any case; or all of them.
pub fn is_capability(name: &str) -> bool {
    normalize(name).is_ok()
}

/// `CAP_KILL` of `kill`; `ALL` of `all`.
fn normalize(name: &str) -> Result<&'static str, Error> {
    let upper = name.to_ascii_uppercase();
    if upper == ALL {
        return Ok(ALL);
    }
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let known = ALL_CAPABILITIES.into_iter().find(|known| known.strip_prefix("CAP_") == Some(bare));
    known.ok_or_else(|| Error::UnknownCapability(name.to_owned()))
}

fn normalize_all(names: &[String], host: &Host) -> Result<Vec<&'static str>, Error> {
    at_most("capabilities", names.len(), MAX_NAMES)?;
    let mut normal = Vec::with_capacity(names.len());
    for name in names {
        let known = normalize(name)?;
        if known != ALL && !host.capabilities.iter().any(|available| available == known) {
            return Err(Error::UnavailableCapability(known.to_owned()));
        }
        if !normal.contains(&known) {
            normal.push(known);
        }
    }
    Ok(normal)
}

/// The bounding set of a container: also that of its execs, unless they are privileged.
///
/// # Errors
/// Names of no capability, or of one that the host does not give.
pub fn capabilities(wanted: &Confinement, host: &Host) -> Result<Vec<String>, Error> {
    let available =
        || ALL_CAPABILITIES.into_iter().filter(|name| host.capabilities.iter().any(|c| c == name));
    if wanted.privileged {
        return Ok(available().map(str::to_owned).collect());
    }
    let add = normalize_all(&wanted.cap_add, host)?;
    let drop = normalize_all(&wanted.cap_drop, host)?;
    let set: Vec<&str> = if add.contains(&ALL) {
        available().filter(|name| !drop.contains(name)).collect()
    } else if drop.contains(&ALL) {
        add
    } else {
        let mut set: Vec<&str> =
            DEFAULT_CAPABILITIES.into_iter().filter(|name| !drop.contains(name)).collect();
        let more: Vec<&str> = add.into_iter().filter(|name| !set.contains(name)).collect();
        set.extend(more);
        // A rootless daemon, or one in a container, may lack some of the default ones: the runtime could not keep them.
        set.retain(|name| host.capabilities.iter().any(|c| c == name));
        set
    };
    Ok(set.into_iter().map(str::to_owned).collect())
}

/// The five sets of a process.
///
/// CVE-2022-24769: the inheritable set is empty, or a program's file capabilities would give an ordinary user what it
/// was not to have. CVE-2016-8867: so is the ambient one; execve(2) as an ordinary user ends with none.
pub(crate) fn sets(bounding: Vec<String>) -> Capabilities {
    Capabilities {
        effective: bounding.clone(),
        permitted: bounding.clone(),
        bounding,
        inheritable: Vec::new(),
        ambient: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str]) -> Result<Vec<String>, Error> {
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let wanted = Confinement { cap_add: names(add), cap_drop: names(drop), ..Confinement::default() };
        capabilities(&wanted, &Host::default())
    }

    #[test]
    fn added_ones_follow_the_default_ones_without_the_dropped() {
        assert_eq!(check(&[], &[]).unwrap(), DEFAULT_CAPABILITIES);
        let set = check(&["sys_admin", "CAP_NET_ADMIN", "kill"], &["Chown"]).unwrap();
        assert_eq!(set.len(), 15);
        assert!(!set.contains(&"CAP_CHOWN".to_owned()));
        assert_eq!(set[13..], ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]);
    }

    #[test]
    fn all_can_be_added_or_dropped() {
        assert_eq!(check(&["ALL"], &[]).unwrap(), ALL_CAPABILITIES);
        assert_eq!(check(&["all"], &["SYS_ADMIN", "ALL"]).unwrap().len(), 40);
        assert_eq!(check(&["KILL"], &["all"]).unwrap(), ["CAP_KILL"]);
        assert!(check(&[], &["ALL"]).unwrap().is_empty());
    }

    #[test]
    fn what_nobody_knows_or_the_host_lacks_is_refused() {
        assert!(matches!(check(&["FLY"], &[]), Err(Error::UnknownCapability(name)) if name == "FLY"));
        assert!(matches!(check(&[], &["CAP_CAP_KILL"]), Err(Error::UnknownCapability(_))));
        let wanted = Confinement { cap_add: vec!["BPF".into()], ..Confinement::default() };
        let host = Host { capabilities: vec!["CAP_KILL".into()], ..Host::default() };
        assert!(matches!(capabilities(&wanted, &host), Err(Error::UnavailableCapability(_))));
        assert_eq!(capabilities(&Confinement::default(), &host).unwrap(), ["CAP_KILL"]);
    }

    #[test]
    fn cve_2022_24769_and_cve_2016_8867_inheritable_and_ambient_sets_are_empty() {
        let sets = sets(check(&["ALL"], &[]).unwrap());
        assert!(sets.inheritable.is_empty() && sets.ambient.is_empty());
        assert_eq!((sets.bounding.len(), sets.effective.len(), sets.permitted.len()), (41, 41, 41));
    }
}
