//! Ports of the host that lead to containers, and the sockets that keep others off them.
//!
//! A published port of IPv4 is redirected before any socket sees a packet, so nothing is ever read from its socket: that is
//! there so that a conflict is an error at the start of the second one, whoever that is. Sockets of IPv6 are the proxy's.
//! All end with the daemon; [`Ports::adopt`] opens them again.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use gantry_sys::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};

use crate::endpoint::{PortRequest, Protocol, PublishedPort};
use crate::error::Error;

/// What the kernel has unless it is configured: `net.ipv4.ip_local_port_range` of ip(7).
const DEFAULT_EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;
const EPHEMERAL_SETTING: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// How many clients of IPv6 may wait for the proxy.
const BACKLOG: i32 = 128;

type Key = (Protocol, u16);

/// At which of the host's addresses a port is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// At one, or at all of one protocol.
    At(IpAddr),
    /// At all of IPv4, and where the host has it, of IPv6.
    Everywhere,
}

impl Where {
    /// For messages.
    fn address(self) -> IpAddr {
        match self {
            Where::At(address) => address,
            Where::Everywhere => Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}

/// The ports that are taken.
#[derive(Debug)]
pub(crate) struct Ports {
    ephemeral: RangeInclusive<u16>,
    /// Where the next search among the ephemeral ones begins.
    next: u16,
    taken: HashMap<Key, Vec<Taken>>,
    /// The last ones that were given back, and when.
    given_back: VecDeque<(Key, Instant)>,
}

/// A process that was being made when a port was given back may have its socket until it executes its program.
const ECHO: Duration = Duration::from_secs(1);
/// More than one instant gives back; what is older only loses a second try.
const ECHOES: usize = 4096;

#[derive(Debug)]
struct Taken {
    address: IpAddr,
    /// None of a protocol that the host's kernel does not speak, or where somebody else has it.
    socket: Option<OwnedFd>,
}

impl Ports {
    pub(crate) fn new(ephemeral: Option<RangeInclusive<u16>>) -> Self {
        let ephemeral = ephemeral.or_else(configured_range).unwrap_or(DEFAULT_EPHEMERAL);
        Ports { next: *ephemeral.start(), ephemeral, taken: HashMap::new(), given_back: VecDeque::new() }
    }

    /// Takes what is asked for, all or nothing. `addresses` says at which addresses of the host a request is meant.
    pub(crate) fn take_all(
        &mut self,
        requests: &[PortRequest],
        addresses: impl Fn(&PortRequest) -> Where,
    ) -> Result<Vec<PublishedPort>, Error> {
        let mut published = Vec::with_capacity(requests.len());
        for request in requests {
            if let Err(error) = self.take(request, addresses(request), &mut published) {
                self.release(&published);
                return Err(error);
            }
        }
        Ok(published)
    }

    fn take(
        &mut self,
        request: &PortRequest,
        at: Where,
        published: &mut Vec<PublishedPort>,
    ) -> Result<(), Error> {
        let protocol = request.protocol;
        if request.container_port == 0 {
            return Err(Error::invalid("container's port", "0".to_owned(), "it is not between 1 and 65535"));
        }
        let (addresses, host_port) = match (request.host_port, request.host_port_end) {
            (0, 0) => self.take_ephemeral(protocol, at)?,
            (port, 0) => (self.reserve(protocol, at, port)?, port),
            (first, last) if first == last => (self.reserve(protocol, at, first)?, first),
            (first, last) if 0 < first && first < last => self
                .first_of(first..=last, protocol, at)?
                .ok_or(Error::PortsExhausted { address: at.address(), first, last, protocol })?,
            (first, last) => {
                return Err(Error::invalid("range of ports", format!("{first}-{last}"), "it has no ports"));
            }
        };
        let container_port = request.container_port;
        let ports = addresses.into_iter().map(|host_ip| PublishedPort {
            host_ip,
            host_port,
            container_port,
            protocol,
        });
        published.extend(ports);
        Ok(())
    }

    fn take_ephemeral(&mut self, protocol: Protocol, at: Where) -> Result<(Vec<IpAddr>, u16), Error> {
        let (first, last) = (*self.ephemeral.start(), *self.ephemeral.end());
        let order = (self.next..=last).chain(first..self.next);
        let found = self.first_of(order, protocol, at)?;
        let found = found.ok_or(Error::PortsExhausted { address: at.address(), first, last, protocol })?;
        self.next = if found.1 == last { first } else { found.1 + 1 };
        Ok(found)
    }

    /// The first port that nobody has, and where it was taken; an error that says more than that ends the search.
    fn first_of(
        &mut self,
        ports: impl Iterator<Item = u16>,
        protocol: Protocol,
        at: Where,
    ) -> Result<Option<(Vec<IpAddr>, u16)>, Error> {
        for port in ports {
            match self.reserve(protocol, at, port) {
                Ok(addresses) => return Ok(Some((addresses, port))),
                Err(Error::PortAllocated { .. } | Error::PortInUse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Takes a port at the addresses that are meant, all or nothing.
    fn reserve(&mut self, protocol: Protocol, at: Where, port: u16) -> Result<Vec<IpAddr>, Error> {
        let (address, second) = match at {
            Where::At(address) => (address, None),
            Where::Everywhere => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED))),
        };
        self.reserve_at(protocol, address, port)?;
        let Some(second) = second else { return Ok(vec![address]) };
        match self.reserve_at(protocol, second, port) {
            Ok(()) => Ok(vec![address, second]),
            // The host has no IPv6.
            Err(Error::PortBind { source: Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL, .. }) => {
                Ok(vec![address])
            }
            Err(error) => {
                self.give_back(protocol, address, port);
                Err(error)
            }
        }
    }

    fn reserve_at(&mut self, protocol: Protocol, address: IpAddr, port: u16) -> Result<(), Error> {
        if self.is_taken(protocol, address, port) {
            return Err(Error::PortAllocated { address, port, protocol });
        }
        let socket =
            open_socket(protocol, SocketAddr::new(address, port)).map_err(|source| match source {
                Errno::ADDRINUSE => Error::PortInUse { address, port, protocol },
                source => Error::PortBind { address, port, protocol, source },
            })?;
        self.insert(protocol, address, port, socket);
        Ok(())
    }

    fn is_taken(&self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        let others = self.taken.get(&(protocol, port)).map(Vec::as_slice).unwrap_or_default();
        others.iter().any(|other| collide(other.address, address))
    }

    fn insert(&mut self, protocol: Protocol, address: IpAddr, port: u16, socket: Option<OwnedFd>) {
        self.taken.entry((protocol, port)).or_default().push(Taken { address, socket });
    }

    /// Takes ports that are published already; whether each could be kept from others.
    pub(crate) fn adopt(&mut self, port: &PublishedPort) -> Result<(), Error> {
        let PublishedPort { host_ip: address, host_port: port, protocol, .. } = *port;
        match self.reserve_at(protocol, address, port) {
            Err(error @ (Error::PortInUse { .. } | Error::PortBind { .. })) => {
                self.insert(protocol, address, port, None);
                Err(error)
            }
            other => other,
        }
    }

    /// Another descriptor of a port's socket, for whoever serves it.
    pub(crate) fn socket_of(&self, port: &PublishedPort) -> Option<std::io::Result<OwnedFd>> {
        let taken = self.taken.get(&(port.protocol, port.host_port))?;
        let taken = taken.iter().find(|taken| taken.address == port.host_ip)?;
        Some(taken.socket.as_ref()?.try_clone())
    }

    /// Gives ports back.
    pub(crate) fn release(&mut self, ports: &[PublishedPort]) {
        for port in ports {
            self.give_back(port.protocol, port.host_ip, port.host_port);
        }
    }

    fn give_back(&mut self, protocol: Protocol, address: IpAddr, port: u16) {
        let key = (protocol, port);
        let Some(taken) = self.taken.get_mut(&key) else { return };
        if let Some(place) = taken.iter().position(|taken| taken.address == address) {
            taken.swap_remove(place);
            self.given_back.push_back((key, Instant::now()));
        }
        if taken.is_empty() {
            self.taken.remove(&key);
        }
        let excess = self.given_back.len().saturating_sub(ECHOES);
        self.given_back.drain(..excess);
    }

    /// Whether a refusal may be the echo of ourselves, so that trying again is worth it.
    pub(crate) fn may_be_echo(&self, refusal: &Error) -> bool {
        let Error::PortInUse { port, protocol, .. } = refusal else { return false };
        let of_port = self.given_back.iter().filter(|(key, _)| *key == (*protocol, *port));
        of_port.map(|(_, when)| when.elapsed()).any(|age| age < ECHO)
    }

    /// How many are taken.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.taken.values().map(Vec::len).sum()
    }
}

fn collide(one: IpAddr, other: IpAddr) -> bool {
    one == other || (one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified()))
}

fn configured_range() -> Option<RangeInclusive<u16>> {
    let text = fs::read_to_string(EPHEMERAL_SETTING).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse);
    let (first, last) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (0 < first && first <= last).then_some(first..=last)
}

/// A socket that has the port; one of IPv4 does nothing, one of IPv6 waits for the proxy. None for a protocol that the kernel
/// does not speak.
fn open_socket(protocol: Protocol, address: SocketAddr) -> Result<Option<OwnedFd>, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = match socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(number)) {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) if protocol == Protocol::Sctp => return Ok(None),
        other => other?,
    };
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol != Protocol::Tcp {
        bind(&socket, &address)?;
        return Ok(Some(socket));
    }
    // Connections of a program that has ended may linger on the port for a minute, which is no conflict; but once it is
    // ours, another program that sets the same option is one.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    if address.is_ipv6() {
        listen(&socket, BACKLOG)?;
    } else {
        sockopt::set_socket_reuseaddr(&socket, false)?;
    }
    Ok(Some(socket))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    fn request(host_port: u16, host_port_end: u16, protocol: Protocol) -> PortRequest {
        PortRequest { host_ip: None, host_port, host_port_end, container_port: 80, protocol }
    }

    fn free_port() -> u16 {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn a_port_is_given_once() {
        let mut ports = Ports::new(None);
        let port = free_port();
        let first = ports.take_all(&[request(port, 0, Protocol::Tcp)], |_| Where::At(LOCAL)).unwrap();
        let second = ports.take_all(&[request(port, 0, Protocol::Tcp)], |_| Where::At(ANY));
        assert!(matches!(second, Err(Error::PortAllocated { .. })), "{second:?}");
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err());
        assert!(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_err());
        ports.release(&first);
        assert_eq!(ports.len(), 0);
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }

    #[test]
    fn a_port_of_another_program_is_an_error_of_the_kernel() {
        let mut ports = Ports::new(None);
        let theirs = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = theirs.local_addr().unwrap().port();
        let refused = ports.take_all(&[request(port, 0, Protocol::Tcp)], |_| Where::At(LOCAL));
        assert!(matches!(refused, Err(Error::PortInUse { .. })), "{refused:?}");
        let theirs = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = theirs.local_addr().unwrap().port();
        let refused = ports.take_all(&[request(port, 0, Protocol::Udp)], |_| Where::At(ANY));
        assert!(matches!(refused, Err(Error::PortInUse { .. })), "{refused:?}");
        assert_eq!(ports.len(), 0);
    }

    #[test]
    fn one_refusal_gives_back_what_was_taken() {
        let mut ports = Ports::new(None);
        let port = free_port();
        let twice = [request(port, 0, Protocol::Tcp), request(port, 0, Protocol::Tcp)];
        assert!(ports.take_all(&twice, |_| Where::At(LOCAL)).is_err());
        assert_eq!(ports.len(), 0);
    }

    #[test]
    fn a_range_gives_its_first_free_port() {
        let mut ports = Ports::new(Some(40_000..=40_003));
        let range = request(40_000, 40_003, Protocol::Udp);
        let taken: Vec<_> = (0..4)
            .filter_map(|_| ports.take_all(std::slice::from_ref(&range), |_| Where::At(LOCAL)).ok())
            .collect();
        assert!(!taken.is_empty());
        let refused = ports.take_all(&[range], |_| Where::At(LOCAL));
        assert!(matches!(refused, Err(Error::PortsExhausted { first: 40_000, last: 40_003, .. })));
    }

    #[test]
    fn ephemeral_ports_go_round() {
        let mut ports = Ports::new(Some(41_000..=41_001));
        let mut seen = Vec::new();
        for _ in 0..3 {
            let taken = ports.take_all(&[request(0, 0, Protocol::Udp)], |_| Where::At(LOCAL)).unwrap();
            seen.push(taken[0].host_port);
            ports.release(&taken);
        }
        assert_eq!(seen, [41_000, 41_001, 41_000]);
    }

    #[test]
    fn an_address_of_nobody_ends_the_search() {
        let mut ports = Ports::new(None);
        let refused = ports
            .take_all(&[request(0, 0, Protocol::Tcp)], |_| Where::At(Ipv4Addr::new(192, 0, 2, 1).into()));
        assert!(matches!(refused, Err(Error::PortBind { source: Errno::ADDRNOTAVAIL, .. })), "{refused:?}");
    }

    #[test]
    fn impossible_requests_are_refused() {
        let mut ports = Ports::new(None);
        let reverse = ports.take_all(&[request(90, 80, Protocol::Tcp)], |_| Where::At(LOCAL));
        assert!(matches!(reverse, Err(Error::Invalid { .. })));
        let open = ports.take_all(&[request(0, 80, Protocol::Tcp)], |_| Where::At(LOCAL));
        assert!(matches!(open, Err(Error::Invalid { .. })));
        let zero = PortRequest { container_port: 0, ..request(8080, 0, Protocol::Tcp) };
        assert!(matches!(ports.take_all(&[zero], |_| Where::At(LOCAL)), Err(Error::Invalid { .. })));
    }
}
