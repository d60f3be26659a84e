//! What is asked for a container, and what it got.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A protocol whose ports can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// As docker writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// Its number of the IANA's list.
    pub(crate) fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            _ => Err(Error::invalid("protocol", text.to_owned(), "it is not tcp, udp or sctp")),
        }
    }
}

/// A port of a container that is to be reachable at the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRequest {
    /// At which of the host's addresses; at the default one unless given.
    pub host_ip: Option<IpAddr>,
    /// Which of the host's ports, or the first that may be taken; 0 leaves the choice to us.
    pub host_port: u16,
    /// The last one that may be taken; 0, or the same as the first, for that one alone.
    pub host_port_end: u16,
    /// The container's port.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// What a container is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    /// The container's, or the sandbox's; no two endpoints have the same.
    pub id: String,
    /// The file of its network namespace.
    pub netns: PathBuf,
    /// The device inside; `eth0`.
    pub interface: String,
    /// Its address, if it must be that one.
    pub address: Option<Ipv4Addr>,
    /// Its device's address; derived from the IPv4 address unless given.
    pub mac: Option<MacAddress>,
    /// Its published ports.
    pub ports: Vec<PortRequest>,
}

impl Attach {
    /// A request with the defaults: any address, no ports, `eth0`.
    pub fn new(id: impl Into<String>, netns: impl Into<PathBuf>) -> Self {
        Attach {
            id: id.into(),
            netns: netns.into(),
            interface: "eth0".to_owned(),
            address: None,
            mac: None,
            ports: Vec::new(),
        }
    }
}

/// A published port, as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The host's address; unspecified for all.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
    /// The container's.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// What a container was given: all that is needed to take it away again, also by a daemon that starts later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// As in the request.
    pub id: String,
    /// The file of the container's network namespace.
    pub netns: PathBuf,
    /// The device inside.
    pub interface: String,
    /// The device of the pair that is the bridge's port.
    pub host_interface: String,
    /// The container's address.
    pub address: Ipv4Addr,
    /// How many bits of it are the network's.
    pub prefix_len: u8,
    /// Its default route.
    pub gateway: Ipv4Addr,
    /// Its device's address.
    pub mac: MacAddress,
    /// Its published ports.
    pub ports: Vec<PublishedPort>,
}

/// What a container's device has moved, as the container sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes that came in.
    pub received_bytes: u64,
    /// Packets that came in.
    pub received_packets: u64,
    /// Packets that came in and were no good.
    pub received_errors: u64,
    /// Packets that came in and were dropped.
    pub received_dropped: u64,
    /// Bytes that went out.
    pub sent_bytes: u64,
    /// Packets that went out.
    pub sent_packets: u64,
    /// Packets that could not go out.
    pub sent_errors: u64,
    /// Packets that were dropped on the way out.
    pub sent_dropped: u64,
}

/// The address of a device on Ethernet, written `02:42:ac:11:00:02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Docker's derivation: locally administered, `42`, and the address. As it goes with the IPv4 address, no neighbour's
    /// cache is wrong when an address is given to the next container.
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        MacAddress([0x02, 0x42, a, b, c, d])
    }

    /// Whether it may be a device's: not of a group, and not zero.
    pub(crate) fn is_usable(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::invalid("MAC address", text.to_owned(), "it is not six bytes in hexadecimal");
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'));
            *byte = part.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or_else(invalid)?;
        }
        if parts.next().is_some() { Err(invalid()) } else { Ok(MacAddress(bytes)) }
    }
}

impl TryFrom<String> for MacAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_addresses_are_derived_as_docker_does() {
        assert_eq!(MacAddress::of(Ipv4Addr::new(172, 17, 0, 2)).to_string(), "02:42:ac:11:00:02");
    }

    #[test]
    fn device_addresses_are_read_strictly() {
        assert_eq!("02:42:AC:11:00:02".parse::<MacAddress>().unwrap().0, [2, 0x42, 0xac, 0x11, 0, 2]);
        for text in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "2:42:ac:11:0:2",
            "02:42:ac:11:00:+2",
            "zz:42:ac:11:00:02",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn protocols_are_read_in_any_case() {
        assert_eq!("TCP".parse::<Protocol>().unwrap(), Protocol::Tcp);
        assert!("icmp".parse::<Protocol>().is_err());
    }
}
