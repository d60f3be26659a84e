//! What an operator chooses: docker's keys `bridge`, `bip`, `fixed-cidr`, `mtu`, `icc`, `ip-masq`, `ip-forward`,
//! `iptables` and `ip` map onto these.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::error::Error;

/// The longest name of a device: the kernel's IFNAMSIZ without its end.
const MAX_DEVICE_NAME: usize = 15;
/// The kernel's bounds of a bridge's MTU: an IPv4 host takes 68 bytes, and a frame's payload is 16 bits long.
const MTU: RangeInclusive<u32> = 68..=65_535;
/// Two addresses are those of the network itself, one is the gateway's, one is left.
const LONGEST_PREFIX: u8 = 30;

/// How containers on one bridge reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbours {
    /// Freely.
    Reachable,
    /// By published ports only (docker's `icc=false`).
    Isolated,
}

/// Whether containers' packets leave the host under its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masquerade {
    /// They do.
    On,
    /// They keep theirs (docker's `ip-masq=false`).
    Off,
}

/// What is done about the host's forwarding of IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarding {
    /// It is turned on. Where it was off, what does not concern the bridge stays unforwarded, so that the host does not
    /// become a router between its other networks.
    Enable,
    /// It is left as it is (docker's `ip-forward=false`).
    Leave,
}

/// Who keeps the rules of the packet filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firewall {
    /// This crate, in the table `ip gantry` of nf_tables.
    Nftables,
    /// Nobody (docker's `iptables=false`): no masquerading, no isolation, and ports cannot be published.
    Off,
}

/// Whether ports are published at the host's IPv6 addresses, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6Ports {
    /// By a thread of ours that moves the bytes (docker's `userland-proxy`, which is on by default).
    Proxied,
    /// They are not.
    Off,
}

/// How a [`Network`](crate::Network) is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// The bridge's device.
    pub bridge: String,
    /// The bridge's network. Unless given, that of the bridge if there is one, else the first of docker's pools that no route
    /// of the host overlaps.
    pub subnet: Option<Ipv4Net>,
    /// The bridge's address; the network's first unless given.
    pub gateway: Option<Ipv4Addr>,
    /// The part of the network that containers get their addresses from.
    pub fixed_cidr: Option<Ipv4Net>,
    /// The MTU of the bridge and of containers' devices.
    pub mtu: u32,
    /// How containers reach each other.
    pub neighbours: Neighbours,
    /// Whether packets leave under the host's address.
    pub masquerade: Masquerade,
    /// What is done about forwarding.
    pub forwarding: Forwarding,
    /// Who keeps the rules.
    pub firewall: Firewall,
    /// Whether ports are published at the host's IPv6 addresses, too.
    pub ipv6_ports: Ipv6Ports,
    /// The host's address for ports that name none; all of them if it is that of all IPv4 (docker's `ip`).
    pub default_bind_address: IpAddr,
    /// The host's ports for those that name none; `net.ipv4.ip_local_port_range` unless given.
    pub ephemeral_ports: Option<RangeInclusive<u16>>,
    /// Where the files of network namespaces are; made if it does not exist, and owned by one [`Network`](crate::Network).
    pub netns_dir: PathBuf,
    /// How many network namespaces are made ahead of time.
    pub pool_size: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            bridge: "gantry0".to_owned(),
            subnet: None,
            gateway: None,
            fixed_cidr: None,
            mtu: 1500,
            neighbours: Neighbours::Reachable,
            masquerade: Masquerade::On,
            forwarding: Forwarding::Enable,
            firewall: Firewall::Nftables,
            ipv6_ports: Ipv6Ports::Proxied,
            default_bind_address: Ipv4Addr::UNSPECIFIED.into(),
            ephemeral_ports: None,
            netns_dir: PathBuf::from("/run/gantry/netns"),
            pool_size: 2,
        }
    }
}

impl Options {
    /// Checks what can be checked without the kernel.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_device_name("bridge", &self.bridge)?;
        if !MTU.contains(&self.mtu) {
            return Err(Error::invalid("mtu", self.mtu.to_string(), "it is not between 68 and 65535"));
        }
        if let Some(subnet) = self.subnet
            && subnet.prefix_len() > LONGEST_PREFIX
        {
            return Err(Error::invalid("bip", subnet.to_string(), "it has no room for a container"));
        }
        match (self.subnet, self.gateway, self.fixed_cidr) {
            (None, Some(gateway), _) => {
                Err(Error::invalid("gateway", gateway.to_string(), "it needs a network"))
            }
            (Some(subnet), Some(gateway), _) if !subnet.contains(&gateway) => {
                Err(Error::invalid("gateway", gateway.to_string(), "it is outside of the bridge's network"))
            }
            (Some(subnet), _, Some(fixed)) if !subnet.contains(&fixed) => {
                Err(Error::invalid("fixed-cidr", fixed.to_string(), "it is outside of the bridge's network"))
            }
            _ => Ok(()),
        }
    }
}

/// Checks the name of a device: netdevice(7), and what the kernel's `dev_valid_name` refuses.
pub(crate) fn check_device_name(what: &'static str, name: &str) -> Result<(), Error> {
    let reason = if name.is_empty() || name.len() > MAX_DEVICE_NAME {
        "it has not between 1 and 15 bytes"
    } else if name == "." || name == ".." {
        "it is a directory"
    } else if name.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'/' | b':' | b'%')) {
        "it has a byte that names of devices cannot have"
    } else {
        return Ok(());
    };
    Err(Error::invalid(what, name.to_owned(), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_device_can_have_are_refused() {
        for name in ["", "a-name-of-16-byt", ".", "..", "a/b", "a b", "a:b", "eth%d", "ä", "a\n"] {
            assert!(check_device_name("bridge", name).is_err(), "{name:?}");
        }
        for name in ["gantry0", "a-name-of-15-by", "br-0123456789ab", "a.b"] {
            assert!(check_device_name("bridge", name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn networks_that_contradict_each_other_are_refused() {
        let with = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            options.check().is_ok()
        };
        assert!(with(|_| {}));
        assert!(with(|o| o.subnet = "10.1.0.0/24".parse().ok()));
        assert!(!with(|o| o.subnet = "10.1.0.0/31".parse().ok()));
        assert!(!with(|o| o.gateway = "10.1.0.1".parse().ok()));
        assert!(!with(|o| {
            o.subnet = "10.1.0.0/24".parse().ok();
            o.gateway = "10.1.1.1".parse().ok();
        }));
        assert!(!with(|o| {
            o.subnet = "10.1.0.0/24".parse().ok();
            o.fixed_cidr = "10.1.0.0/16".parse().ok();
        }));
        assert!(!with(|o| o.mtu = 67));
    }
}
