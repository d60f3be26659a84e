//! The default bridge, and what networks get that do not say otherwise.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;

use super::keys::Keys;
use crate::Error;
use crate::docker::AddressPool;

/// The longest name of an interface, in bytes.
const MAX_INTERFACE_NAME: usize = 15;

/// The bridge of the default network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bridge {
    /// It has this name, and is made if it is not there.
    Named(String),
    /// There is no default network.
    Absent,
}

/// The keys of networks.
#[derive(Debug, Clone, PartialEq)]
pub struct DaemonNetwork {
    /// `bridge`: a name, or `none`.
    pub bridge: Option<Bridge>,
    /// `bip`: the bridge's own address, and its subnet.
    pub bip: Option<Ipv4Net>,
    /// `bip6`.
    pub bip6: Option<Ipv6Net>,
    /// `fixed-cidr`: which part of the subnet containers get their addresses from.
    pub fixed_cidr: Option<Ipv4Net>,
    /// `fixed-cidr-v6`.
    pub fixed_cidr_v6: Option<Ipv6Net>,
    /// `default-gateway`, instead of the bridge.
    pub default_gateway: Option<Ipv4Addr>,
    /// `default-gateway-v6`.
    pub default_gateway_v6: Option<std::net::Ipv6Addr>,
    /// `icc`: whether containers of the default network reach each other.
    pub icc: bool,
    /// `ip`: where ports are published that name no address.
    pub publish_address: IpAddr,
    /// `ip-forward`: whether forwarding is switched on.
    pub ip_forward: bool,
    /// `ip-forward-no-drop`: whether the policy of forwarding is left alone then.
    pub ip_forward_no_drop: bool,
    /// `ip-masq`.
    pub ip_masquerade: bool,
    /// `iptables`: whether there are any rules for IPv4.
    pub iptables: bool,
    /// `ip6tables`: whether there are any rules for IPv6.
    pub ip6tables: bool,
    /// `ipv6` on the default network.
    pub ipv6: bool,
    /// `firewall-backend`: `iptables` or `nftables`.
    pub firewall_backend: Option<String>,
    /// `allow-direct-routing`: whether published ports are reached at the containers' own addresses.
    pub allow_direct_routing: bool,
    /// `userland-proxy`.
    pub userland_proxy: bool,
    /// `mtu` of the default network; as the kernel has it if it is not given.
    pub mtu: Option<u32>,
    /// `dns`: servers.
    pub dns: Vec<IpAddr>,
    /// `dns-opts`.
    pub dns_options: Vec<String>,
    /// `dns-search`.
    pub dns_search: Vec<String>,
    /// `host-gateway-ips` or `host-gateway-ip`: what `host-gateway` stands for; the bridge's own if it is empty.
    pub host_gateway: Vec<IpAddr>,
    /// `default-address-pools`; the built-in ones if it is empty.
    pub pools: Vec<AddressPool>,
    /// `default-network-opts`: options by the driver of a network.
    pub driver_options: BTreeMap<String, BTreeMap<String, String>>,
}

impl DaemonNetwork {
    pub(super) fn take(keys: &mut Keys<'_>) -> Result<Self, Error> {
        let yes = |flag: Option<bool>| flag.unwrap_or(true);
        let no = |flag: Option<bool>| flag.unwrap_or(false);
        let subnet = "an address and a prefix length, such as \"172.17.0.1/16\"";
        Ok(Self {
            bridge: bridge(keys)?,
            bip: keys.parsed("bip", subnet)?,
            bip6: keys.parsed("bip6", subnet)?,
            fixed_cidr: keys.parsed("fixed-cidr", subnet)?,
            fixed_cidr_v6: keys.parsed("fixed-cidr-v6", subnet)?,
            default_gateway: keys.parsed("default-gateway", "an address of IPv4")?,
            default_gateway_v6: keys.parsed("default-gateway-v6", "an address of IPv6")?,
            icc: yes(keys.flag("icc")?),
            publish_address: keys.parsed("ip", "an address")?.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
            ip_forward: yes(keys.flag("ip-forward")?),
            ip_forward_no_drop: no(keys.flag("ip-forward-no-drop")?),
            ip_masquerade: yes(keys.flag("ip-masq")?),
            iptables: yes(keys.flag("iptables")?),
            ip6tables: yes(keys.flag("ip6tables")?),
            ipv6: no(keys.flag("ipv6")?),
            firewall_backend: keys.word("firewall-backend", &["iptables", "nftables"])?,
            allow_direct_routing: no(keys.flag("allow-direct-routing")?),
            userland_proxy: yes(keys.flag("userland-proxy")?),
            mtu: mtu(keys)?,
            dns: addresses(keys, "dns")?,
            dns_options: keys.texts("dns-opts")?,
            dns_search: keys.texts("dns-search")?,
            host_gateway: host_gateway(keys)?,
            pools: keys.take_list("default-address-pools", POOL, pool)?,
            driver_options: keys.take_map("default-network-opts", "a table of texts", texts)?,
        })
    }
}

const POOL: &str = "a list of tables with base and size, whose subnets fit in their range";

fn pool(value: &Value) -> Option<AddressPool> {
    let base: IpNet = value.get("base")?.as_str()?.parse().ok()?;
    AddressPool::new(base, value.get("size")?.as_u64()?.try_into().ok()?)
}

fn texts(value: &Value) -> Option<BTreeMap<String, String>> {
    let pairs = value.as_object()?.iter();
    pairs.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn bridge(keys: &mut Keys<'_>) -> Result<Option<Bridge>, Error> {
    let name = keys.take("bridge", "the name of an interface, or \"none\"", |value| {
        value.as_str().filter(|name| name.is_empty() || is_interface(name)).map(str::to_owned)
    })?;
    Ok(name.filter(|name| !name.is_empty()).map(Bridge::from_name))
}

impl Bridge {
    pub(crate) fn from_name(name: String) -> Self {
        if name == "none" { Self::Absent } else { Self::Named(name) }
    }
}

/// Whether the kernel takes it for the name of an interface: dev_valid_name of Linux.
pub(crate) fn is_interface(name: &str) -> bool {
    let fits = (1..=MAX_INTERFACE_NAME).contains(&name.len()) && !matches!(name, "." | "..");
    fits && name.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':')
}

fn mtu(keys: &mut Keys<'_>) -> Result<Option<u32>, Error> {
    let mtu = keys.take("mtu", "a number from 68 to 65535, or 0", |value| {
        value.as_u64().filter(|mtu| *mtu == 0 || (68..=65_535).contains(mtu)).map(|mtu| mtu as u32)
    })?;
    Ok(mtu.filter(|mtu| *mtu != 0))
}

fn addresses(keys: &mut Keys<'_>, key: &str) -> Result<Vec<IpAddr>, Error> {
    keys.take_list(key, "a list of addresses", |value| value.as_str()?.parse().ok())
}

fn host_gateway(keys: &mut Keys<'_>) -> Result<Vec<IpAddr>, Error> {
    let older = keys.parsed("host-gateway-ip", "an address")?;
    let newer = addresses(keys, "host-gateway-ips")?;
    Ok(if newer.is_empty() { older.into_iter().collect() } else { newer })
}
