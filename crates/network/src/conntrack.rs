//! Connections that the kernel tracks: `linux/netfilter/nfnetlink_conntrack.h`, nfnetlink's subsystem 1.
//!
//! A tracked connection keeps going where its first packet went. That of a client of UDP, which sends from one port for
//! ever, would lead to a departed container's address, or past a port that was published since. Connections of TCP need
//! nothing: a process that ends tells its clients, and their next connection is another one.
//!
//! The kernel goes through its whole table for a look, which takes it 10 ms where the table is large, so this is done where
//! there are ports of UDP or SCTP only.

use std::net::Ipv4Addr;

use gantry_sys::Errno;
use gantry_sys::netlink::{Netlink, Request, attributes};

use crate::endpoint::{Endpoint, Protocol};

const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
const FAMILY_IPV4: u8 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
/// The bits of a connection whose source or destination was changed.
const SOURCE_CHANGED: u32 = 0x10;
const DESTINATION_CHANGED: u32 = 0x20;

/// What is known of a tracked connection.
#[derive(Debug, PartialEq, Eq)]
struct Connection {
    /// Who answers: behind a published port, the container.
    answers: Ipv4Addr,
    protocol: u8,
    /// The port that the client sends to.
    port: u16,
    redirected: bool,
    masqueraded: bool,
    /// Names it, with an id that tells it from a later one of the same ends.
    original: Vec<u8>,
    id: Vec<u8>,
    zone: Option<Vec<u8>>,
}

fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

fn read(message: &[u8]) -> Option<Connection> {
    let rest = message.get(4..)?;
    let original = find(rest, CTA_TUPLE_ORIG)?;
    let protocol = find(original, CTA_TUPLE_PROTO)?;
    let answers = find(find(find(rest, CTA_TUPLE_REPLY)?, CTA_TUPLE_IP)?, CTA_IP_V4_SRC)?;
    let port = find(protocol, CTA_PROTO_DST_PORT).and_then(|port| port.first_chunk().copied());
    let status = find(rest, CTA_STATUS)?.first_chunk().copied()?;
    Some(Connection {
        answers: answers.first_chunk::<4>().copied()?.into(),
        protocol: *find(protocol, CTA_PROTO_NUM)?.first()?,
        port: port.map_or(0, u16::from_be_bytes),
        redirected: u32::from_be_bytes(status) & DESTINATION_CHANGED != 0,
        masqueraded: u32::from_be_bytes(status) & SOURCE_CHANGED != 0,
        original: original.to_vec(),
        id: find(rest, CTA_ID)?.to_vec(),
        zone: find(rest, CTA_ZONE).map(<[u8]>::to_vec),
    })
}

fn forget_where(chosen: impl Fn(&Connection) -> bool) -> Result<(), Errno> {
    const HEAD: [u8; 4] = [FAMILY_IPV4, 0, 0, 0];
    let socket = Netlink::open_netfilter()?;
    let mut found = Vec::new();
    socket.dump(Request::new(GET, 0, &HEAD), &mut |message| found.extend(read(message).filter(&chosen)))?;
    for connection in found {
        let mut request = Request::new(DELETE, 0, &HEAD)
            .with(CTA_TUPLE_ORIG, &connection.original)
            .with(CTA_ID, &connection.id);
        if let Some(zone) = &connection.zone {
            request = request.with(CTA_ZONE, zone);
        }
        match socket.execute(request) {
            // It ended meanwhile.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Forgets connections through the ports of departed endpoints.
pub(crate) fn forget_departed(endpoints: &[Endpoint]) -> Result<(), Errno> {
    let endless = |endpoint: &&Endpoint| endpoint.ports.iter().any(|port| port.protocol != Protocol::Tcp);
    let published: Vec<_> = endpoints.iter().filter(endless).collect();
    if published.is_empty() {
        return Ok(());
    }
    forget_where(|connection| {
        connection.redirected && published.iter().any(|endpoint| endpoint.address == connection.answers)
    })
}

/// Forgets what clients of UDP sent to endpoints' ports before they were published.
pub(crate) fn forget_unpublished(endpoints: &[Endpoint]) -> Result<(), Errno> {
    let ports = endpoints.iter().flat_map(|endpoint| &endpoint.ports);
    let ports: Vec<_> = ports.filter(|port| port.protocol == Protocol::Udp).collect();
    if ports.is_empty() {
        return Ok(());
    }
    let udp = Protocol::Udp.number();
    forget_where(|connection| {
        // What containers sent to such a port of somebody else keeps its source.
        !connection.redirected
            && !connection.masqueraded
            && connection.protocol == udp
            && ports.iter().any(|port| port.host_port == connection.port)
    })
}
