//! Devices, addresses and routes: rtnetlink(7).
//!
//! Each function is one message or one datagram of several, in the network namespace of the calling thread. None keeps
//! anything.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

use gantry_sys::Errno;
use gantry_sys::netlink::{CREATE_EXCLUSIVELY, Netlink, Rejected, Request, attributes};
use ipnet::Ipv4Net;

use crate::endpoint::{Counters, MacAddress};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;

/// The group that devices are put into to be deleted at once: the kernel waits for its readers once for all of them.
/// Nothing else must use the number on the host.
const LEAVING: u32 = 0x676e_7472;

/// `struct ifinfomsg`.
fn link_head(index: u32, flags: u32) -> [u8; 16] {
    let mut head = [0; 16];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..12].copy_from_slice(&flags.to_ne_bytes());
    head[12..16].copy_from_slice(&flags.to_ne_bytes());
    head
}

fn name(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

/// A device that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// The index of what it is a port of.
    pub(crate) master: Option<u32>,
    /// What made it, such as `bridge`; nothing for hardware.
    pub(crate) kind: Option<String>,
    pub(crate) mtu: u32,
}

/// All devices.
pub(crate) fn links(socket: &Netlink) -> Result<Vec<Link>, Errno> {
    let mut found = Vec::new();
    socket.dump(Request::new(RTM_GETLINK, 0, &link_head(0, 0)), &mut |message| {
        let (Some(index), Some(rest)) = (message.get(4..8).and_then(u32_of), message.get(16..)) else {
            return;
        };
        let mut link = Link { index, name: String::new(), master: None, kind: None, mtu: 0 };
        for (kind, value) in attributes(rest) {
            match kind {
                IFLA_IFNAME => link.name = text_of(value),
                IFLA_MASTER => link.master = u32_of(value),
                IFLA_MTU => link.mtu = u32_of(value).unwrap_or(0),
                IFLA_LINKINFO => {
                    link.kind =
                        attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND).map(|(_, v)| text_of(v));
                }
                _ => {}
            }
        }
        found.push(link);
    })?;
    Ok(found)
}

/// The IPv4 addresses of a device, with their networks.
pub(crate) fn addresses(socket: &Netlink, index: u32) -> Result<Vec<Ipv4Net>, Errno> {
    let mut found = Vec::new();
    socket.dump(Request::new(RTM_GETADDR, 0, &[AF_INET, 0, 0, 0, 0, 0, 0, 0]), &mut |message| {
        if message.get(4..8).and_then(u32_of) != Some(index) {
            return;
        }
        let local = attributes(message.get(8..).unwrap_or_default()).find(|(kind, _)| *kind == IFA_LOCAL);
        found.extend(local.and_then(|(_, value)| Ipv4Net::new(address_of(value)?, message[1]).ok()));
    })?;
    Ok(found)
}

/// The destinations of all IPv4 routes but the default ones.
pub(crate) fn routes(socket: &Netlink) -> Result<Vec<Ipv4Net>, Errno> {
    let mut found = Vec::new();
    let mut head = [0; 12];
    head[0] = AF_INET;
    socket.dump(Request::new(RTM_GETROUTE, 0, &head), &mut |message| {
        let destination =
            attributes(message.get(12..).unwrap_or_default()).find(|(kind, _)| *kind == RTA_DST);
        found.extend(destination.and_then(|(_, value)| Ipv4Net::new(address_of(value)?, message[1]).ok()));
    })?;
    found.retain(|network| network.prefix_len() > 0);
    Ok(found)
}

/// Makes a bridge, down.
pub(crate) fn make_bridge(socket: &Netlink, device: &str, mac: MacAddress, mtu: u32) -> Result<(), Errno> {
    // With an address of its own: else it takes the smallest of its ports, and changes it as they come and go.
    let request = Request::new(RTM_NEWLINK, CREATE_EXCLUSIVELY, &link_head(0, 0))
        .with(IFLA_IFNAME, &name(device))
        .with(IFLA_MTU, &mtu.to_ne_bytes())
        .with(IFLA_ADDRESS, &mac.0)
        .nest(IFLA_LINKINFO, |info| info.with(IFLA_INFO_KIND, b"bridge"));
    socket.execute(request)
}

/// Brings a device up, with an MTU.
pub(crate) fn bring_up(socket: &Netlink, index: u32, mtu: u32) -> Result<(), Errno> {
    socket.execute(Request::new(RTM_NEWLINK, 0, &link_head(index, IFF_UP)).with(IFLA_MTU, &mtu.to_ne_bytes()))
}

fn address_request(index: u32, address: Ipv4Net) -> Request {
    let mut head = [AF_INET, address.prefix_len(), 0, 0, 0, 0, 0, 0];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    Request::new(RTM_NEWADDR, CREATE_EXCLUSIVELY, &head)
        .with(IFA_LOCAL, &address.addr().octets())
        .with(IFA_ADDRESS, &address.addr().octets())
        .with(IFA_BROADCAST, &address.broadcast().octets())
}

/// Gives a device an address.
pub(crate) fn add_address(socket: &Netlink, index: u32, address: Ipv4Net) -> Result<(), Errno> {
    socket.execute(address_request(index, address))
}

/// Brings a device up, gives it an address, and makes it the way out.
pub(crate) fn configure(
    socket: &Netlink,
    index: u32,
    address: Ipv4Net,
    gateway: Ipv4Addr,
) -> Result<(), Rejected> {
    let head = [AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST, 0, 0, 0, 0];
    let route = Request::new(RTM_NEWROUTE, CREATE_EXCLUSIVELY, &head)
        .with(RTA_OIF, &index.to_ne_bytes())
        .with(RTA_GATEWAY, &gateway.octets());
    let up = Request::new(RTM_NEWLINK, 0, &link_head(index, IFF_UP));
    socket.execute_all(vec![up, address_request(index, address), route])
}

/// A veth pair, of which one end is a bridge's port and the other is in another network namespace.
pub(crate) struct Pair<'a, N> {
    /// The name of the end that is the bridge's port.
    pub(crate) host: &'a str,
    /// The bridge.
    pub(crate) bridge: u32,
    /// The other end's network namespace.
    pub(crate) netns: N,
    /// Its name there.
    pub(crate) inside: &'a str,
    /// Its address.
    pub(crate) mac: MacAddress,
    /// The MTU of both.
    pub(crate) mtu: u32,
    /// Frames may leave by the port that they came in at: for a container's connection to its own published port, which
    /// br_netfilter redirects below the bridge.
    pub(crate) hairpin: Hairpin,
    /// Frames of this port reach no other port that is isolated: bridge(8), Linux 4.18.
    pub(crate) isolated: Isolated,
}

/// Whether a port sends back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hairpin {
    Yes,
    No,
}

/// Whether a port is isolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolated {
    Yes,
    No,
}

/// Makes a pair, the host's end up.
pub(crate) fn make_pair<N: AsFd>(socket: &Netlink, pair: &Pair<'_, N>) -> Result<(), Rejected> {
    let netns = pair.netns.as_fd().as_raw_fd();
    let create = Request::new(RTM_NEWLINK, CREATE_EXCLUSIVELY, &link_head(0, IFF_UP))
        .with(IFLA_IFNAME, &name(pair.host))
        .with(IFLA_MTU, &pair.mtu.to_ne_bytes())
        .with(IFLA_MASTER, &pair.bridge.to_ne_bytes())
        .nest(IFLA_LINKINFO, |info| {
            info.with(IFLA_INFO_KIND, b"veth").nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    // Not up: it has no peer yet.
                    peer.raw(&link_head(0, 0))
                        .with(IFLA_IFNAME, &name(pair.inside))
                        .with(IFLA_ADDRESS, &pair.mac.0)
                        .with(IFLA_MTU, &pair.mtu.to_ne_bytes())
                        .with(IFLA_NET_NS_FD, &netns.to_ne_bytes())
                })
            })
        });
    let port = Port { host: pair.host, bridge: pair.bridge, hairpin: pair.hairpin, isolated: pair.isolated };
    socket.execute_all([vec![create], port.requests()].concat())
}

/// A device that is to be a bridge's port.
pub(crate) struct Port<'a> {
    pub(crate) host: &'a str,
    pub(crate) bridge: u32,
    pub(crate) hairpin: Hairpin,
    pub(crate) isolated: Isolated,
}

impl Port<'_> {
    /// What makes it one that is not like any other.
    fn requests(&self) -> Vec<Request> {
        if (self.hairpin, self.isolated) == (Hairpin::No, Isolated::No) {
            return Vec::new();
        }
        let request = Request::new(RTM_NEWLINK, 0, &link_head(0, 0)).with(IFLA_IFNAME, &name(self.host));
        vec![request.nest(IFLA_LINKINFO, |info| {
            info.with(IFLA_INFO_SLAVE_KIND, b"bridge").nest(IFLA_INFO_SLAVE_DATA, |data| {
                data.with(IFLA_BRPORT_MODE, &[u8::from(self.hairpin == Hairpin::Yes)])
                    .with(IFLA_BRPORT_ISOLATED, &[u8::from(self.isolated == Isolated::Yes)])
            })
        })]
    }
}

/// Makes a device the bridge's port; one that is not there is none.
pub(crate) fn join(socket: &Netlink, port: &Port<'_>) -> Result<(), Errno> {
    let master = Request::new(RTM_NEWLINK, 0, &link_head(0, 0))
        .with(IFLA_IFNAME, &name(port.host))
        .with(IFLA_MASTER, &port.bridge.to_ne_bytes());
    absent(socket.execute_all([vec![master], port.requests()].concat()).map_err(|rejected| rejected.errno))
}

/// What the end of a pair on the host has moved, seen from the other.
pub(crate) fn counters_across(socket: &Netlink, device: &str) -> Result<Counters, Errno> {
    let request = Request::new(RTM_GETLINK, 0, &link_head(0, 0)).with(IFLA_IFNAME, &name(device));
    let mut found = None;
    socket.query(request, &mut |message| {
        let statistics =
            attributes(message.get(16..).unwrap_or_default()).find(|(kind, _)| *kind == IFLA_STATS64);
        found = statistics.and_then(|(_, value)| {
            // `struct rtnl_link_stats64`: received and sent packets, bytes, errors, dropped.
            let (numbers, _) = value.as_chunks::<8>();
            let numbers = numbers.first_chunk::<8>()?.map(u64::from_ne_bytes);
            let [sent_packets, received_packets, sent_bytes, received_bytes, ..] = numbers;
            let [.., sent_errors, received_errors, sent_dropped, received_dropped] = numbers;
            Some(Counters {
                received_bytes,
                received_packets,
                received_errors,
                received_dropped,
                sent_bytes,
                sent_packets,
                sent_errors,
                sent_dropped,
            })
        });
    })?;
    found.ok_or(Errno::BADMSG)
}

/// Deletes devices; those that are not there are deleted.
pub(crate) fn delete(socket: &Netlink, devices: &[String]) -> Result<(), Errno> {
    let mark = |device: &String| {
        Request::new(RTM_NEWLINK, 0, &link_head(0, 0))
            .with(IFLA_IFNAME, &name(device))
            .with(IFLA_GROUP, &LEAVING.to_ne_bytes())
    };
    match devices {
        [] => return Ok(()),
        [device] => {
            return absent(
                socket
                    .execute(Request::new(RTM_DELLINK, 0, &link_head(0, 0)).with(IFLA_IFNAME, &name(device))),
            );
        }
        _ => {}
    }
    for part in devices.chunks(DEVICES_PER_DATAGRAM) {
        absent(socket.execute_all(part.iter().map(mark).collect()).map_err(|rejected| rejected.errno))?;
    }
    let all = Request::new(RTM_DELLINK, 0, &link_head(0, 0)).with(IFLA_GROUP, &LEAVING.to_ne_bytes());
    absent(socket.execute(all))
}

/// Answers to more would not fit into the socket's buffer.
const DEVICES_PER_DATAGRAM: usize = 64;

fn absent(answer: Result<(), Errno>) -> Result<(), Errno> {
    match answer {
        Err(Errno::NODEV) => Ok(()),
        answer => answer,
    }
}

fn u32_of(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn address_of(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}
