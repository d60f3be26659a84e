//! The bridge and its rules, made when something first needs them, and taken over from the daemon before.
//!
//! Rules come before what they guard: the table is there before forwarding is turned on and before packets of 127.0.0.1 may
//! leave by the bridge.

use std::net::Ipv4Addr;

use gantry_sys::netlink::Netlink;
use gantry_types::ErrorKind;
use ipnet::Ipv4Net;
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Shared, lock};
use crate::address::Addresses;
use crate::endpoint::{Endpoint, MacAddress, PublishedPort};
use crate::error::Error;
use crate::filter::{self, Filter, Rules};
use crate::link::{self, Link};
use crate::options::{Firewall, Forwarding};
use crate::{pools, setting};

/// The bridge as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its device.
    pub name: String,
    /// Its network.
    pub subnet: Ipv4Net,
    /// Its address, and containers' way out.
    pub gateway: Ipv4Addr,
    /// The part of the network that containers get their addresses from, if not the whole.
    pub range: Option<Ipv4Net>,
    /// Its MTU.
    pub mtu: u32,
}

/// The bridge, and its index.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) bridge: Bridge,
    pub(super) index: u32,
}

/// How devices are named that are ports of the bridge: `veth`, which host software knows to leave alone, and random digits.
const PREFIX: &str = "veth";
const DIGITS: usize = 11;

/// A name for a new pair's host end.
pub(super) fn random_name() -> Result<String, Error> {
    let mut bytes = [0; 8];
    // So few bytes are given whole.
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(Error::link("choosing a name of", "a device"))?;
    let number = u64::from_ne_bytes(bytes) & ((1 << (4 * DIGITS)) - 1);
    Ok(format!("{PREFIX}{number:0width$x}", width = DIGITS))
}

fn is_random_name(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

impl Shared {
    /// The bridge, with its rules; made if need be.
    pub(super) fn ready(&self) -> Result<Ready, Error> {
        let mut ready = lock(&self.ready);
        if let Some(ready) = &*ready {
            return Ok(ready.clone());
        }
        let found = self.set_up(&[])?;
        Ok(ready.insert(found).clone())
    }

    /// Makes the bridge again if somebody has deleted it, and its ports of what is attached; nothing if it is as it was.
    pub(super) fn renew(&self, known: &Ready) -> Result<Option<Ready>, Error> {
        let mut ready = lock(&self.ready);
        if let Some(newer) = ready.as_ref().filter(|ready| ready.index != known.index) {
            return Ok(Some(newer.clone()));
        }
        let name = self.options.bridge.as_str();
        let socket = Netlink::open().map_err(Error::link("looking for", name))?;
        if socket.index_of(name) == Ok(known.index) {
            return Ok(None);
        }
        tracing::warn!(bridge = name, "the bridge was deleted; it is made again");
        let links = link::links(&socket).map_err(Error::link("looking for", name))?;
        let index = self.make_bridge(&socket, &links, &known.bridge)?;
        let endpoints: Vec<_> = lock(&self.state).endpoints.values().cloned().collect();
        self.join_all(&socket, &endpoints, index)?;
        Ok(Some(ready.insert(Ready { bridge: known.bridge.clone(), index }).clone()))
    }

    /// Makes the devices of endpoints the bridge's ports, if they are not.
    fn join_all(&self, socket: &Netlink, endpoints: &[Endpoint], index: u32) -> Result<(), Error> {
        for endpoint in endpoints {
            let joined = link::join(socket, &self.port_of(endpoint, index));
            joined.map_err(Error::link("making a port of the bridge of", &endpoint.host_interface))?;
        }
        Ok(())
    }

    fn set_up(&self, endpoints: &[Endpoint]) -> Result<Ready, Error> {
        let name = self.options.bridge.as_str();
        let socket = Netlink::open().map_err(Error::link("looking for", name))?;
        let links = link::links(&socket).map_err(Error::link("looking for", name))?;
        let bridge = self.choose_network(&socket, self.find_bridge(&links)?)?;
        self.write_rules(&bridge, &links, endpoints)?;
        let index = self.make_bridge(&socket, &links, &bridge)?;
        self.join_all(&socket, endpoints, index)?;
        if self.options.forwarding == Forwarding::Enable {
            setting::forward()?;
        }
        let mut addresses = Addresses::new(bridge.subnet, bridge.range, bridge.gateway);
        for endpoint in endpoints {
            if let Err(error) = addresses.take_this(endpoint.address) {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    endpoint = endpoint.id,
                    error,
                    "an address of a container is not ours to keep"
                );
            }
        }
        addresses.resume();
        lock(&self.state).addresses = Some(addresses);
        Ok(Ready { bridge, index })
    }

    /// The network that is configured, else that of the bridge, else one that is free.
    fn choose_network(&self, socket: &Netlink, existing: Option<&Link>) -> Result<Bridge, Error> {
        let options = &self.options;
        let name = options.bridge.as_str();
        let present = match existing {
            Some(link) => {
                let addresses = link::addresses(socket, link.index);
                addresses.map_err(Error::link("reading the addresses of", name))?.into_iter().next()
            }
            None => None,
        };
        let network = match options.subnet.or(present) {
            Some(network) => network,
            None => {
                let taken = link::routes(socket).map_err(Error::link("reading the routes beside", name))?;
                pools::first_free(&taken).ok_or_else(|| Error::NoFreeNetwork { bridge: name.to_owned() })?
            }
        };
        let subnet = network.trunc();
        // As in docker's `bip`, an address that is not the network's own is the bridge's.
        let own = Some(network.addr()).filter(|address| *address != subnet.addr());
        let gateway = options.gateway.or(own);
        let gateway = gateway.unwrap_or_else(|| Ipv4Addr::from(u32::from(subnet.addr()).saturating_add(1)));
        if let Some(range) = options.fixed_cidr
            && !subnet.contains(&range)
        {
            return Err(Error::invalid(
                "fixed-cidr",
                range.to_string(),
                "it is outside of the bridge's network",
            ));
        }
        let range = options.fixed_cidr.map(|range| range.trunc());
        Ok(Bridge { name: name.to_owned(), subnet, gateway, range, mtu: options.mtu })
    }

    fn write_rules(&self, bridge: &Bridge, links: &[Link], endpoints: &[Endpoint]) -> Result<(), Error> {
        if self.options.firewall == Firewall::Off {
            // Those of a daemon before, which had another configuration. Without nf_tables there are none.
            return match filter::remove() {
                Err(error) if error.kind() != ErrorKind::Unimplemented => Err(error),
                _ => Ok(()),
            };
        }
        let present = || {
            let others = links.iter().filter(|link| link.name != "lo" && link.name != bridge.name);
            Ok(others.filter(|link| link.master.is_none()).map(|link| link.name.clone()).collect())
        };
        let closed = setting::closed_devices(self.options.forwarding, self.directory.path(), present)?;
        let rules = Rules {
            bridge: bridge.name.clone(),
            subnet: bridge.subnet,
            neighbours: self.options.neighbours,
            masquerade: self.options.masquerade,
            closed,
        };
        *lock(&self.filter) = Some(Filter::install(rules, endpoints)?);
        Ok(())
    }

    /// The device of the bridge's name, if there is one.
    fn find_bridge<'a>(&self, links: &'a [Link]) -> Result<Option<&'a Link>, Error> {
        let existing = links.iter().find(|link| link.name == self.options.bridge);
        if existing.is_some_and(|link| link.kind.as_deref() != Some("bridge")) {
            return Err(Error::NotABridge { device: self.options.bridge.clone() });
        }
        Ok(existing)
    }

    fn make_bridge(&self, socket: &Netlink, links: &[Link], bridge: &Bridge) -> Result<u32, Error> {
        let name = bridge.name.as_str();
        let index = match self.find_bridge(links)? {
            Some(link) => link.index,
            None => {
                // Of the address, as containers' are: who knew a bridge before this one sends to the right place.
                let made = link::make_bridge(socket, name, MacAddress::of(bridge.gateway), bridge.mtu);
                made.map_err(Error::link("making the bridge", name))?;
                socket.index_of(name).map_err(Error::link("looking for", name))?
            }
        };
        let own =
            Ipv4Net::new(bridge.gateway, bridge.subnet.prefix_len()).expect("a network's prefix is one");
        let present =
            link::addresses(socket, index).map_err(Error::link("reading the addresses of", name))?;
        if !present.contains(&own) {
            link::add_address(socket, index, own).map_err(Error::link("adding the address of", name))?;
        }
        link::bring_up(socket, index, bridge.mtu).map_err(Error::link("bringing up", name))?;
        setting::tune_bridge(name)?;
        Ok(index)
    }

    /// Takes over what a daemon before had.
    pub(super) fn adopt(&self, endpoints: Vec<Endpoint>) -> Result<Vec<(PublishedPort, Error)>, Error> {
        let mut ready = lock(&self.ready);
        let name = self.options.bridge.as_str();
        if endpoints.is_empty() && ready.is_none() {
            let socket = Netlink::open().map_err(Error::link("looking for", name))?;
            match socket.index_of(name) {
                Ok(_) => {}
                Err(rustix::io::Errno::NODEV) => return Ok(Vec::new()),
                Err(errno) => return Err(Error::link("looking for", name)(errno)),
            }
        }
        let found = self.set_up(&endpoints)?;
        let mut lost = Vec::new();
        {
            let mut state = lock(&self.state);
            for endpoint in &endpoints {
                for port in &endpoint.ports {
                    lost.extend(state.ports.adopt(port).err().map(|error| (*port, error)));
                }
            }
        }
        for endpoint in &endpoints {
            self.serve_ipv6(endpoint)?;
        }
        {
            let mut state = lock(&self.state);
            state.endpoints = endpoints.into_iter().map(|endpoint| (endpoint.id.clone(), endpoint)).collect();
        }
        self.sweep(found.index)?;
        *ready = Some(found);
        Ok(lost)
    }

    /// Deletes the bridge's ports that no endpoint has: those of a killed daemon.
    fn sweep(&self, bridge: u32) -> Result<(), Error> {
        let failed = || Error::link("looking for ports of", self.options.bridge.as_str());
        let socket = Netlink::open().map_err(failed())?;
        let links = link::links(&socket).map_err(failed())?;
        let known: std::collections::HashSet<_> =
            lock(&self.state).endpoints.values().map(|endpoint| endpoint.host_interface.clone()).collect();
        let strays = links.into_iter().filter(|link| {
            link.master == Some(bridge) && is_random_name(&link.name) && !known.contains(&link.name)
        });
        let strays: Vec<_> = strays.map(|link| link.name).collect();
        link::delete(&socket, &strays).map_err(Error::link("deleting ports of", self.options.bridge.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_devices_are_told_from_others() {
        let name = random_name().unwrap();
        assert_eq!(name.len(), 15);
        assert!(is_random_name(&name));
        for other in ["veth0", "veth12345678", "gantry0", "veth0123456789g", "eth0123456789ab"] {
            assert!(!is_random_name(other), "{other}");
        }
    }
}
