//! A container comes and goes.
//!
//! ```text
//! attach   id, address, ports (sockets) ── the pair ── inside: up, address, route ── rules of ports
//! detach   ports ── in the background: rules ── connections ── the pair ── address
//! ```
//!
//! The rules of ports come last: nobody is sent to a container that has no network yet.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use gantry_sys::netlink::Netlink;
use ipnet::Ipv4Net;
use rustix::io::Errno;

use super::setup::{Ready, random_name};
use super::{Shared, lock};
use crate::endpoint::{Attach, Endpoint, MacAddress, PortRequest, Protocol};
use crate::error::Error;
use crate::link::{self, Hairpin, Isolated, Pair, Port};
use crate::netns;
use crate::options::{Firewall, Ipv6Ports, Neighbours, check_device_name};
use crate::ports::Where;

/// The longest id: twice docker's, in bytes.
const MAX_ID: usize = 128;
/// As many ports as one protocol has.
const MAX_PORTS: usize = 65_535;
/// Between two tries for a port.
const PAUSE: Duration = Duration::from_millis(1);

impl Shared {
    pub(super) fn attach(&self, request: &Attach) -> Result<Endpoint, Error> {
        self.check(request)?;
        let netns = netns::open(&request.netns).map_err(Error::netns("opening the", &request.netns))?;
        let ready = self.ready()?;
        let endpoint = self.reserve_patiently(request, &ready)?;
        let connected = match self.connect(&endpoint, &netns, &ready) {
            Err(error) => match self.renew(&ready) {
                Ok(Some(again)) => self.connect(&endpoint, &netns, &again),
                Ok(None) => Err(error),
                Err(error) => Err(error),
            },
            Ok(()) => Ok(()),
        };
        match connected {
            Ok(()) => {
                let mut state = lock(&self.state);
                state.arriving.remove(&endpoint.id);
                state.endpoints.insert(endpoint.id.clone(), endpoint.clone());
                Ok(endpoint)
            }
            Err(error) => {
                self.unreserve(&endpoint);
                Err(error)
            }
        }
    }

    fn check(&self, request: &Attach) -> Result<(), Error> {
        if request.id.is_empty() || request.id.len() > MAX_ID {
            return Err(Error::invalid(
                "id of an endpoint",
                request.id.clone(),
                "it has not between 1 and 128 bytes",
            ));
        }
        check_device_name("device", &request.interface)?;
        if let Some(mac) = request.mac
            && !mac.is_usable()
        {
            return Err(Error::invalid("MAC address", mac.to_string(), "it cannot be a device's"));
        }
        if request.ports.len() > MAX_PORTS {
            let count = request.ports.len().to_string();
            return Err(Error::invalid("number of ports", count, "they are more than 65535"));
        }
        if self.options.firewall == Firewall::Off && !request.ports.is_empty() {
            let reason = "the packet filter is switched off (iptables=false)";
            return Err(Error::Unsupported { what: "publishing ports".to_owned(), reason });
        }
        let ipv6 = request.ports.iter().find(|port| match self.place_of(port) {
            Where::At(address) => address.is_ipv6(),
            Where::Everywhere => false,
        });
        match ipv6 {
            Some(port) if port.protocol == Protocol::Sctp || self.options.ipv6_ports == Ipv6Ports::Off => {
                Err(Error::Unsupported {
                    what: format!("publishing a port of {} at an IPv6 address", port.protocol),
                    reason: "containers have no IPv6, and no proxy serves it",
                })
            }
            _ => Ok(()),
        }
    }

    /// At which of the host's addresses a port is meant.
    fn place_of(&self, port: &PortRequest) -> Where {
        let address = port.host_ip.unwrap_or(self.options.default_bind_address);
        let both = port.host_ip.is_none() && address == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        if both && port.protocol != Protocol::Sctp && self.options.ipv6_ports == Ipv6Ports::Proxied {
            Where::Everywhere
        } else {
            Where::At(address)
        }
    }

    /// Takes what is ours to give; what is on its way back is waited for.
    fn reserve_patiently(&self, request: &Attach, ready: &Ready) -> Result<Endpoint, Error> {
        let mut waited = false;
        loop {
            match self.reserve(request, ready) {
                Err(Error::AddressesExhausted { .. } | Error::AddressInUse { .. }) if !waited => {
                    self.worker.settle();
                    waited = true;
                }
                // It ends by itself, because echoes grow old.
                Err(error) if lock(&self.state).ports.may_be_echo(&error) => thread::sleep(PAUSE),
                other => return other,
            }
        }
    }

    /// Takes what is ours to give, all or nothing.
    fn reserve(&self, request: &Attach, ready: &Ready) -> Result<Endpoint, Error> {
        let host_interface = random_name()?;
        let mut state = lock(&self.state);
        let state = &mut *state;
        if state.endpoints.contains_key(&request.id) || state.arriving.contains(&request.id) {
            let (step, target) = ("adding an endpoint to", request.id.clone());
            return Err(Error::Link { step, target, source: Errno::EXIST });
        }
        let addresses = state.addresses.as_mut().expect("a bridge that is ready has a network");
        let address = match request.address {
            Some(address) => addresses.take_this(address).map(|()| address)?,
            None => addresses.take()?,
        };
        let ports = match state.ports.take_all(&request.ports, |port| self.place_of(port)) {
            Ok(ports) => ports,
            Err(error) => {
                addresses.release(address);
                return Err(error);
            }
        };
        state.arriving.insert(request.id.clone());
        Ok(Endpoint {
            id: request.id.clone(),
            netns: request.netns.clone(),
            interface: request.interface.clone(),
            host_interface,
            address,
            prefix_len: ready.bridge.subnet.prefix_len(),
            gateway: ready.bridge.gateway,
            mac: request.mac.unwrap_or_else(|| MacAddress::of(address)),
            ports,
        })
    }

    fn unreserve(&self, endpoint: &Endpoint) {
        let mut state = lock(&self.state);
        state.arriving.remove(&endpoint.id);
        state.ports.release(&endpoint.ports);
        if let Some(addresses) = &mut state.addresses {
            addresses.release(endpoint.address);
        }
    }

    fn connect(&self, endpoint: &Endpoint, netns: &OwnedFd, ready: &Ready) -> Result<(), Error> {
        let host = endpoint.host_interface.as_str();
        let inside = match self.sockets.take(netns.as_fd()) {
            Some(socket) => socket,
            None => netns::prepare(netns.as_fd(), &endpoint.netns)?,
        };
        let socket = Netlink::open().map_err(Error::link("making the device", host))?;
        let Port { hairpin, isolated, .. } = self.port_of(endpoint, ready.index);
        let (inside_name, mac, mtu) = (endpoint.interface.as_str(), endpoint.mac, ready.bridge.mtu);
        let pair =
            Pair { host, bridge: ready.index, netns, inside: inside_name, mac, mtu, hairpin, isolated };
        let made = link::make_pair(&socket, &pair).map_err(|rejected| rejected.errno);
        made.map_err(Error::link("making the pair of devices", format!("{host} and {}", endpoint.interface)))
            .and_then(|()| configure(endpoint, &inside))
            .and_then(|()| self.publish(endpoint))
            .inspect_err(|_| {
                if let Err(errno) = link::delete(&socket, &[host.to_owned()]) {
                    tracing::warn!(device = host, %errno, "the device of a failed attachment stays");
                }
            })
    }

    /// What kind of port of the bridge an endpoint's device is.
    pub(super) fn port_of<'a>(&self, endpoint: &'a Endpoint, bridge: u32) -> Port<'a> {
        Port {
            host: &endpoint.host_interface,
            bridge,
            hairpin: if endpoint.ports.is_empty() { Hairpin::No } else { Hairpin::Yes },
            isolated: match self.options.neighbours {
                Neighbours::Reachable => Isolated::No,
                Neighbours::Isolated => Isolated::Yes,
            },
        }
    }

    fn publish(&self, endpoint: &Endpoint) -> Result<(), Error> {
        if endpoint.ports.is_empty() {
            return Ok(());
        }
        if let Some(filter) = &mut *lock(&self.filter) {
            filter.publish(endpoint)?;
        }
        if endpoint.ports.iter().any(|port| port.protocol == Protocol::Udp) {
            self.worker.arrive(endpoint.clone());
        }
        self.serve_ipv6(endpoint).inspect_err(|_| {
            let withdrawn =
                lock(&self.filter).as_mut().map(|filter| filter.withdraw(std::slice::from_ref(endpoint)));
            if let Some(Err(error)) = withdrawn {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(endpoint = endpoint.id, error, "rules of a failed attachment stay");
            }
        })
    }

    /// Hands the sockets of IPv6 ports to the proxy.
    pub(super) fn serve_ipv6(&self, endpoint: &Endpoint) -> Result<(), Error> {
        for port in endpoint.ports.iter().filter(|port| port.host_ip.is_ipv6()) {
            let Some(socket) = lock(&self.state).ports.socket_of(port) else { continue };
            let failed = |error: std::io::Error| Error::PortBind {
                address: port.host_ip,
                port: port.host_port,
                protocol: port.protocol,
                source: Errno::from_io_error(&error).unwrap_or(Errno::IO),
            };
            let served = socket.map_err(failed).and_then(|socket| {
                self.proxy.add(*port, SocketAddrV4::new(endpoint.address, port.container_port), socket)
            });
            if served.is_err() {
                self.proxy.remove(&endpoint.ports);
                return served;
            }
        }
        Ok(())
    }

    pub(super) fn detach(&self, endpoint: &Endpoint) {
        let mut state = lock(&self.state);
        let ours = state.endpoints.get(&endpoint.id) == Some(endpoint);
        if ours {
            state.endpoints.remove(&endpoint.id);
            self.proxy.remove(&endpoint.ports);
            state.ports.release(&endpoint.ports);
        }
        drop(state);
        self.worker.depart(endpoint.clone(), ours);
    }
}

/// Gives the end inside its address and the way out.
fn configure(endpoint: &Endpoint, inside: &Netlink) -> Result<(), Error> {
    let device = endpoint.interface.as_str();
    let address = Ipv4Net::new(endpoint.address, endpoint.prefix_len).expect("a network's prefix is one");
    let configured = inside.index_of(device).and_then(|index| {
        let configured = link::configure(inside, index, address, endpoint.gateway);
        configured.map_err(|rejected| rejected.errno)
    });
    configured.map_err(Error::link("configuring", device))
}
