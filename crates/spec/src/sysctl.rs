//! Kernel parameters of a container's own namespaces, and which those are. sysctl(8), namespaces(7).

use std::collections::BTreeMap;

use gantry_types::oci::IdMapping;

use crate::Error;
use crate::error::at_most;
use crate::host::Host;
use crate::namespaces::{Ipc, Network, UserNamespace, Uts};
use crate::options::Options;

/// The most parameters of a container.
pub const MAX_SYSCTLS: usize = 1024;
/// The longest name, and the longest value: what a file below /proc/sys takes at once.
const MAX_BYTES: usize = 4096;

/// The last group that may ping: dockerd's.
const LAST_GROUP: u32 = 2_147_483_647;

const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The parameters that were asked for, and those that a container with a network of its own has anyway.
pub(crate) fn of(options: &Options, host: &Host) -> Result<BTreeMap<String, String>, Error> {
    at_most("sysctls", options.sysctls.len(), MAX_SYSCTLS)?;
    let mut sysctls = defaults(options, host);
    if !options.domainname.is_empty() && options.namespaces.uts == Uts::Private {
        // In runtime-spec since 1.1 only; older runtimes know the parameter.
        sysctls.insert("kernel.domainname".to_owned(), options.domainname.clone());
    }
    for (name, value) in &options.sysctls {
        check(name, value)?;
        allowed(name, options)?;
        sysctls.insert(name.clone(), value.clone());
    }
    Ok(sysctls)
}

/// Ordinary users may ping and open any port of a network that is the container's alone.
fn defaults(options: &Options, host: &Host) -> BTreeMap<String, String> {
    let mut sysctls = BTreeMap::new();
    if matches!(options.namespaces.network, Network::New | Network::Own(_)) {
        // Group ids that are not mapped cannot be written.
        let last = match &options.namespaces.user {
            UserNamespace::Host => (!host.user_namespace).then_some(LAST_GROUP),
            UserNamespace::New { gids, .. } | UserNamespace::Shared { gids, .. } => last_from_zero(gids),
        };
        if let Some(last) = last.filter(|_| host.unprivileged_ping) {
            sysctls.insert("net.ipv4.ping_group_range".to_owned(), format!("0 {last}"));
        }
        if host.unprivileged_ports {
            sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        }
    }
    sysctls
}

/// The last group of the range that begins with 0.
fn last_from_zero(gids: &[IdMapping]) -> Option<u32> {
    let first = gids.iter().find(|range| range.container_id == 0)?;
    Some(first.size.checked_sub(1)?.min(LAST_GROUP))
}

/// The dotted name: the first separator tells which of the two notations it is in.
fn dotted(name: &str) -> String {
    let swap = |c: char| match c {
        '/' => '.',
        '.' => '/',
        c => c,
    };
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name.chars().map(swap).collect(),
        _ => name.to_owned(),
    }
}

/// CVE-2022-0811: neither name nor value can become more than one assignment, whoever writes them.
fn check(name: &str, value: &str) -> Result<(), Error> {
    let refuse = |reason: &'static str| Err(Error::Sysctl { name: name.to_owned(), reason });
    if name.len() > MAX_BYTES || value.len() > MAX_BYTES {
        return refuse("name or value is too long");
    }
    let letter = |c: char| c.is_ascii_alphanumeric() || "._-/@:".contains(c);
    if !name.chars().all(letter) || dotted(name).split('.').any(|part| matches!(part, "" | "/" | "//")) {
        return refuse("it is not a name");
    }
    if value.chars().any(|c| c == '+' || (c.is_control() && c != '\t')) {
        return refuse("its value has a character that no parameter takes");
    }
    Ok(())
}

fn allowed(name: &str, options: &Options) -> Result<(), Error> {
    let refuse = |reason: &'static str| Err(Error::Sysctl { name: name.to_owned(), reason });
    let namespaces = &options.namespaces;
    let dotted = dotted(name);
    if dotted.starts_with("net.") {
        return match namespaces.network {
            Network::Host => refuse("the network is the host's"),
            _ => Ok(()),
        };
    }
    if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        return match namespaces.ipc {
            Ipc::Host => refuse("the IPC namespace is the host's"),
            _ => Ok(()),
        };
    }
    if dotted == "kernel.domainname" {
        return match namespaces.uts {
            Uts::Private => Ok(()),
            _ => refuse("the UTS namespace is not the container's own"),
        };
    }
    refuse("it belongs to none of the container's namespaces")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str, change: impl FnOnce(&mut Options)) -> Result<Vec<String>, Error> {
        let mut options = Options::default();
        options.sysctls.insert(name.into(), value.into());
        change(&mut options);
        of(&options, &Host::default()).map(|sysctls| sysctls.into_keys().collect())
    }

    #[test]
    fn parameters_of_own_namespaces_are_allowed() {
        for name in [
            "net.ipv4.ip_forward",
            "net/ipv4/conf/eth0.100/forwarding",
            "net.ipv4.conf.eth0/100.forwarding",
            "net.core.somaxconn",
            "kernel.shmmax",
            "kernel/sem",
            "fs.mqueue.msg_max",
            "kernel.domainname",
        ] {
            assert!(with(name, "1", |_| {}).is_ok(), "{name}");
        }
    }

    #[test]
    fn parameters_of_the_host_are_refused() {
        for name in
            ["kernel.core_pattern", "vm.swappiness", "kernel.hostname", "net", "fs.file-max", "a", "netx.y"]
        {
            assert!(matches!(with(name, "1", |_| {}), Err(Error::Sysctl { .. })), "{name}");
        }
        assert!(with("net.a", "1", |o| o.namespaces.network = Network::Host).is_err());
        assert!(with("kernel.sem", "1", |o| o.namespaces.ipc = Ipc::Host).is_err());
        assert!(with("fs.mqueue.a", "1", |o| o.namespaces.ipc = Ipc::Host).is_err());
        assert!(with("kernel.domainname", "1", |o| o.namespaces.uts = Uts::Host).is_err());
    }

    #[test]
    fn cve_2022_0811_a_value_is_no_second_assignment() {
        for (name, value) in [
            ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/x"),
            ("kernel.shm_rmid_forced", "1\nkernel.core_pattern=|/x"),
            ("kernel.shm_rmid_forced", "1\0"),
            ("kernel.shm_rmid_forced+kernel.core_pattern", "1"),
            ("kernel.shm_rmid_forced\n", "1"),
            ("kernel.sem=1 kernel.x", "1"),
            ("net.ipv4.ip_forward ", "1"),
            ("net....kernel.core_pattern", "1"),
            ("net.//.//.kernel.core_pattern", "1"),
            ("net/../kernel/core_pattern", "1"),
            ("net/./../kernel/core_pattern", "1"),
            ("net.ipv4.", "1"),
            ("net..ipv4", "1"),
            ("", "1"),
        ] {
            assert!(matches!(with(name, value, |_| {}), Err(Error::Sysctl { .. })), "{name:?} {value:?}");
        }
    }

    #[test]
    fn defaults_are_those_of_a_network_that_is_the_containers_alone() {
        let names = |change: fn(&mut Options)| with("kernel.sem", "1", change).unwrap().len();
        assert_eq!(names(|_| {}), 3);
        assert_eq!(names(|o| o.namespaces.network = Network::Own("/n".into())), 3);
        assert_eq!(names(|o| o.namespaces.network = Network::Host), 1);
        assert_eq!(names(|o| o.namespaces.network = Network::Shared("/n".into())), 1);
    }

    #[test]
    fn whoever_has_a_group_may_ping() {
        const PING: &str = "net.ipv4.ping_group_range";
        let check = |gids: Vec<IdMapping>, expect: Option<&str>| {
            let mut options = Options::default();
            options.namespaces.user = UserNamespace::New { uids: Vec::new(), gids };
            assert_eq!(of(&options, &Host::default()).unwrap().get(PING).map(String::as_str), expect);
        };
        let range = |container_id, size| IdMapping { container_id, host_id: 100_000, size };
        check(vec![range(0, 65_536)], Some("0 65535"));
        check(vec![range(100, 5), range(0, 100)], Some("0 99"));
        check(vec![range(0, u32::MAX - 100_000)], Some("0 2147483647"));
        check(vec![range(1, 65_536)], None);
        check(Vec::new(), None);
    }
}
