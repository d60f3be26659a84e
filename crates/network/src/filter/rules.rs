//! The table `ip gantry`, as one transaction replaces it.
//!
//! ```text
//! map published_at  { protocol . address . port : address . port }     ports of one of the host's addresses
//! map published_any { protocol . port : address . port }               ports of all of them
//! set closed        { device }                                         what was not forwarded before we came
//!
//! chain raw         prerouting  raw     from BRIDGE to 127.0.0.0/8: drop
//! chain prerouting  prerouting  dstnat  to 127.0.0.0/8: return;  to an address of the host: jump published
//! chain output      output      dstnat  to an address of the host: jump published
//! chain published               redirect by published_at, then by published_any
//! chain forward     forward     filter  to BRIDGE: established, redirected, or from BRIDGE: accept, else drop
//!                                       from @closed to @closed: drop
//! chain postrouting postrouting srcnat  to BRIDGE, redirected, from 127.0.0.0/8 or its own network: masquerade
//!                                       from BRIDGE's network to elsewhere: masquerade
//! ```
//!
//! The number of rules does not grow with containers: a published port is an element of a map.

use std::net::Ipv4Addr;

use gantry_sys::netlink::Request;
use ipnet::Ipv4Net;

use super::expression::{self as e, Verdict};
use super::message::{Expression, Hook, Set, add_elements, delete_elements, new_chain, new_rule, new_set};
use super::message::{delete_table, new_table};
use crate::endpoint::{Endpoint, Protocol};
use crate::options::{Masquerade, Neighbours};

/// The one table that this crate writes.
pub(crate) const TABLE: &str = "gantry";

const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// nft's numbers of types, which it shows elements by; those of concatenations have six bits each.
const TYPE_ADDRESS: u32 = 7;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;
const TYPE_DEVICE: u32 = 41;
/// Fields of a concatenation take whole registers of four bytes.
const FIELD: u32 = 4;
const ADDRESS_AND_PORT: (u32, u32) = (TYPE_ADDRESS << 6 | TYPE_PORT, 2 * FIELD);

const PUBLISHED_AT: Set = Set {
    name: "published_at",
    key_type: TYPE_PROTOCOL << 12 | TYPE_ADDRESS << 6 | TYPE_PORT,
    key_len: 3 * FIELD,
    data: Some(ADDRESS_AND_PORT),
};
const PUBLISHED_ANY: Set = Set {
    name: "published_any",
    key_type: TYPE_PROTOCOL << 6 | TYPE_PORT,
    key_len: 2 * FIELD,
    data: Some(ADDRESS_AND_PORT),
};
const CLOSED: Set = Set { name: "closed", key_type: TYPE_DEVICE, key_len: 16, data: None };

const RAW: Hook = Hook { kind: "filter", number: 0, priority: -300 };
const PREROUTING: Hook = Hook { kind: "nat", number: 0, priority: -100 };
const FORWARD: Hook = Hook { kind: "filter", number: 2, priority: 0 };
const OUTPUT: Hook = Hook { kind: "nat", number: 3, priority: -100 };
const POSTROUTING: Hook = Hook { kind: "nat", number: 4, priority: 100 };

/// What the rules depend on.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) bridge: String,
    pub(crate) subnet: Ipv4Net,
    pub(crate) neighbours: Neighbours,
    pub(crate) masquerade: Masquerade,
    /// Devices between which the host forwarded nothing before we turned forwarding on.
    pub(crate) closed: Vec<String>,
}

/// What is published: one of the host's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Published {
    pub(crate) protocol: Protocol,
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
}

/// Where it leads.
pub(crate) type Target = (Ipv4Addr, u16);

/// What an endpoint's ports are to the rules: those of IPv4.
pub(crate) fn mappings(endpoint: &Endpoint) -> impl Iterator<Item = (Published, Target)> {
    endpoint.ports.iter().filter_map(|port| match port.host_ip {
        std::net::IpAddr::V4(address) => Some((
            Published { protocol: port.protocol, address, port: port.host_port },
            (endpoint.address, port.container_port),
        )),
        std::net::IpAddr::V6(_) => None,
    })
}

impl Published {
    fn set(&self) -> Set {
        if self.address.is_unspecified() { PUBLISHED_ANY } else { PUBLISHED_AT }
    }

    fn key(&self) -> Vec<u8> {
        let mut key = vec![self.protocol.number(), 0, 0, 0];
        if !self.address.is_unspecified() {
            key.extend(self.address.octets());
        }
        key.extend(self.port.to_be_bytes());
        key.extend([0, 0]);
        key
    }
}

fn value((address, port): Target) -> Vec<u8> {
    [address.octets().as_slice(), &port.to_be_bytes(), &[0, 0]].concat()
}

/// Adds ports to the table that there is.
pub(crate) fn publish(ports: &[(Published, Target)]) -> Vec<Request> {
    let of = |set: Set| {
        let chosen = ports.iter().filter(|(port, _)| port.set().name == set.name);
        let elements: Vec<_> = chosen.map(|(port, target)| (port.key(), Some(value(*target)))).collect();
        add_elements(TABLE, set.name, &elements)
    };
    [of(PUBLISHED_AT), of(PUBLISHED_ANY)].concat()
}

/// Takes ports out of the table that there is.
pub(crate) fn withdraw(ports: &[Published]) -> Vec<Request> {
    let of = |set: Set| {
        let chosen = ports.iter().filter(|port| port.set().name == set.name);
        delete_elements(TABLE, set.name, chosen.map(Published::key).collect())
    };
    [of(PUBLISHED_AT), of(PUBLISHED_ANY)].concat()
}

/// Removes the table, whether it is there or not.
pub(crate) fn remove() -> Vec<Request> {
    vec![new_table(TABLE), delete_table(TABLE)]
}

impl Rules {
    /// Replaces the table, whether it is there or not, by one with these ports.
    pub(crate) fn replace(&self, ports: &[(Published, Target)]) -> Vec<Request> {
        let mut requests = remove();
        requests.push(new_table(TABLE));
        for (set, id) in [PUBLISHED_AT, PUBLISHED_ANY, CLOSED].into_iter().zip(1..) {
            requests.push(new_set(TABLE, set, id));
        }
        let closed: Vec<_> = self.closed.iter().map(|name| (e::device(name), None)).collect();
        requests.extend(add_elements(TABLE, CLOSED.name, &closed));
        requests.extend(publish(ports));
        for (name, hook) in [
            ("published", None),
            ("raw", Some(RAW)),
            ("prerouting", Some(PREROUTING)),
            ("output", Some(OUTPUT)),
            ("forward", Some(FORWARD)),
            ("postrouting", Some(POSTROUTING)),
        ] {
            requests.push(new_chain(TABLE, name, hook));
        }
        let mut rule = |chain: &str, parts: Vec<Vec<Expression>>| {
            requests.push(new_rule(TABLE, chain, parts.into_iter().flatten().collect()));
        };
        self.redirections(&mut rule);
        self.forwarding(&mut rule);
        self.sources(&mut rule);
        requests
    }

    fn redirections(&self, rule: &mut dyn FnMut(&str, Vec<Vec<Expression>>)) {
        let published = || e::verdict(Verdict::Jump("published"));
        // With route_localnet, which connections from 127.0.0.1 to published ports need, a container could
        // send to the host's 127.0.0.1 (CVE-2020-8558 is kube-proxy's).
        rule(
            "raw",
            vec![e::from_device(&self.bridge), e::destination_of(LOOPBACK), e::verdict(Verdict::Drop)],
        );
        // What comes from elsewhere for 127.0.0.1 is no client of ports that are published there.
        rule("prerouting", vec![e::destination_of(LOOPBACK), e::verdict(Verdict::Return)]);
        rule("prerouting", vec![e::destination_local(), published()]);
        rule("output", vec![e::destination_local(), published()]);
        rule("published", vec![e::redirect_by_address(PUBLISHED_AT.name)]);
        rule("published", vec![e::redirect_by_port(PUBLISHED_ANY.name)]);
    }

    fn forwarding(&self, rule: &mut dyn FnMut(&str, Vec<Vec<Expression>>)) {
        let bridge = self.bridge.as_str();
        let accept = || e::verdict(Verdict::Accept);
        rule("forward", vec![e::to_device(bridge), e::established(), accept()]);
        rule("forward", vec![e::to_device(bridge), e::redirected(), accept()]);
        if self.neighbours == Neighbours::Reachable {
            rule("forward", vec![e::to_device(bridge), e::from_device(bridge), accept()]);
        }
        // Whoever routes to containers' addresses from outside finds no port that was not published.
        rule("forward", vec![e::to_device(bridge), e::verdict(Verdict::Drop)]);
        rule(
            "forward",
            vec![e::from_device_of(CLOSED.name), e::to_device_of(CLOSED.name), e::verdict(Verdict::Drop)],
        );
    }

    fn sources(&self, rule: &mut dyn FnMut(&str, Vec<Vec<Expression>>)) {
        let bridge = self.bridge.as_str();
        // A container can answer neither 127.0.0.1 nor, past us, a neighbour that asked for an address of the host.
        for source in [LOOPBACK, self.subnet] {
            rule(
                "postrouting",
                vec![e::to_device(bridge), e::source_of(source), e::redirected(), e::masquerade()],
            );
        }
        if self.masquerade == Masquerade::On {
            rule("postrouting", vec![e::not_to_device(bridge), e::source_of(self.subnet), e::masquerade()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_a_register_for_each_field() {
        let port = |address| Published { protocol: Protocol::Udp, address, port: 0x1234 };
        let any = port(Ipv4Addr::UNSPECIFIED);
        assert_eq!(any.key(), [17, 0, 0, 0, 0x12, 0x34, 0, 0]);
        assert_eq!(any.key().len(), any.set().key_len as usize);
        let one = port(Ipv4Addr::new(10, 1, 2, 3));
        assert_eq!(one.key(), [17, 0, 0, 0, 10, 1, 2, 3, 0x12, 0x34, 0, 0]);
        assert_eq!(one.key().len(), one.set().key_len as usize);
        assert_eq!(value((Ipv4Addr::new(1, 2, 3, 4), 80)), [1, 2, 3, 4, 0, 80, 0, 0]);
    }

    #[test]
    fn thousands_of_ports_are_several_messages() {
        let ports: Vec<_> = (1..=3000)
            .map(|port| {
                let port = Published { protocol: Protocol::Tcp, address: Ipv4Addr::UNSPECIFIED, port };
                (port, (Ipv4Addr::LOCALHOST, 80))
            })
            .collect();
        assert_eq!(publish(&ports).len(), 6);
        assert!(publish(&ports).iter().all(|request| request.size() < 1 << 16));
    }
}
