//! Ports: `8080:80/tcp`, ranges, addresses; and the long form of `--publish`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::container::PortBinding;
use crate::error::Invalid;
use crate::name::excerpt;

/// A transport.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl FromStr for Protocol {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Tcp, Self::Udp, Self::Sctp]
            .into_iter()
            .find(|protocol| text.eq_ignore_ascii_case(protocol.as_str()))
            .ok_or_else(|| invalid(text, "invalid proto"))
    }
}

/// A port of a container: `80/tcp` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The number; never 0 where it was parsed.
    pub number: u16,
    /// The transport.
    pub protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol.as_str())
    }
}

impl FromStr for Port {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (port, protocol) = split_protocol(text)?;
        let number = number(port).filter(|number| *number != 0);
        Ok(Self { number: number.ok_or_else(|| invalid(text, "invalid containerPort"))?, protocol })
    }
}

/// A port and where it is published.
#[derive(Debug, Clone, PartialEq)]
pub struct PortMapping {
    /// The container's.
    pub port: Port,
    /// The host's.
    pub binding: PortBinding,
}

/// First and last port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last, not below the first.
    pub last: u16,
}

impl PortRange {
    /// How many.
    #[must_use]
    pub fn count(self) -> usize {
        usize::from(self.last - self.first) + 1
    }
}

impl FromStr for PortRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let range = || {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Self { first, last })
        };
        range().ok_or_else(|| invalid(text, "invalid range of ports"))
    }
}

/// Reads what `--publish` takes: `[[address:]host port or range:]container port or range[/protocol]`, or
/// `published=8080,target=80,protocol=udp`.
///
/// # Errors
/// An address, a port, a protocol or a pair of ranges that is none.
pub fn parse_publish(text: &str) -> Result<Vec<PortMapping>, Invalid> {
    if text.contains('=') {
        return parse_short(&from_long_form(text)?);
    }
    parse_short(text)
}

/// Reads what `--expose` takes: a port or a range, with a protocol.
///
/// # Errors
/// A port or a protocol that is none.
pub fn parse_expose(text: &str) -> Result<Vec<Port>, Invalid> {
    if text.contains(':') {
        return Err(invalid(text, "invalid port format for --expose"));
    }
    let (ports, protocol) = split_protocol(text)?;
    let range: PortRange = ports.parse().map_err(|_| invalid(text, "invalid range format for --expose"))?;
    Ok((range.first..=range.last).map(|number| Port { number, protocol }).collect())
}

fn from_long_form(text: &str) -> Result<String, Invalid> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("published" | "publish", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            // Of services in swarms; a container has no other mode.
            Some(("mode", "host" | "ingress")) => {}
            _ => return Err(invalid(text, "invalid publish opts format (should be name=value but got)")),
        }
    }
    Ok(if published.is_empty() {
        format!("{target}/{protocol}")
    } else {
        format!("{published}:{target}/{protocol}")
    })
}

fn parse_short(text: &str) -> Result<Vec<PortMapping>, Invalid> {
    let (ports, protocol) = split_protocol(text)?;
    let (address, host, container) = split_parts(ports);
    if container.is_empty() {
        return Err(invalid(text, "no port specified"));
    }
    let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(invalid(address, "invalid IP address"));
    }
    let container_ports: PortRange =
        container.parse().map_err(|_| invalid(container, "invalid containerPort"))?;
    if container_ports.first == 0 {
        return Err(invalid(container, "invalid containerPort"));
    }
    let host_ports = match host {
        "" => None,
        host => Some(host.parse::<PortRange>().map_err(|_| invalid(host, "invalid hostPort"))?),
    };
    let mut mappings = Vec::with_capacity(container_ports.count());
    for (index, number) in (container_ports.first..=container_ports.last).enumerate() {
        let host_port = match host_ports {
            None => String::new(),
            Some(range) if range.count() == container_ports.count() => {
                (usize::from(range.first) + index).to_string()
            }
            // Any one of them.
            Some(range) if container_ports.count() == 1 => format!("{}-{}", range.first, range.last),
            Some(_) => return Err(invalid(text, "invalid ranges specified for container and host Ports")),
        };
        mappings.push(PortMapping {
            port: Port { number, protocol },
            binding: PortBinding { host_ip: address.to_owned(), host_port },
        });
    }
    Ok(mappings)
}

fn split_protocol(text: &str) -> Result<(&str, Protocol), Invalid> {
    match text.split_once('/') {
        Some((_, "")) => Err(invalid(text, "no port specified")),
        Some((ports, protocol)) => Ok((ports, protocol.parse()?)),
        None => Ok((text, Protocol::Tcp)),
    }
}

/// Address, host part and container part. An address of IPv6 has colons of its own, so it is what is left.
fn split_parts(text: &str) -> (&str, &str, &str) {
    let Some((rest, container)) = text.rsplit_once(':') else { return ("", "", text) };
    match rest.rsplit_once(':') {
        Some((address, host)) => (address, host, container),
        None => ("", rest, container),
    }
}

fn number(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn invalid(text: &str, reason: &'static str) -> Invalid {
    Invalid::Port { text: excerpt(text), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        parse_publish(text)
            .unwrap()
            .into_iter()
            .map(|it| format!("{}|{}|{}", it.binding.host_ip, it.binding.host_port, it.port))
            .collect()
    }

    #[test]
    fn every_form_of_a_published_port_is_read() {
        for (text, expected) in [
            ("80", "||80/tcp"),
            ("80/udp", "||80/udp"),
            ("8080:80", "|8080|80/tcp"),
            ("0:80", "|0|80/tcp"),
            ("127.0.0.1:8080:80/tcp", "127.0.0.1|8080|80/tcp"),
            ("127.0.0.1::80", "127.0.0.1||80/tcp"),
            ("[::1]:8080:80/sctp", "::1|8080|80/sctp"),
            ("::1:8080:80", "::1|8080|80/tcp"),
            ("8000-8010:80", "|8000-8010|80/tcp"),
            ("published=8080,target=80,protocol=udp", "|8080|80/udp"),
            ("target=80", "||80/tcp"),
        ] {
            assert_eq!(read(text), [expected], "{text}");
        }
        assert_eq!(read("8000-8001:90-91"), ["|8000|90/tcp", "|8001|91/tcp"]);
        assert_eq!(read("90-91/udp"), ["||90/udp", "||91/udp"]);
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in [
            "",
            ":",
            "80:",
            "a:80",
            "80/",
            "80/icmp",
            "1.2.3:80:80",
            "70000",
            "80:70000",
            "91-90",
            "1-3:1-2",
            "0",
            "+80",
            "-1",
            "host:80:80",
            "published=80",
            "target=80,mode=odd",
            "80/tcp/udp",
            "[::1:80",
        ] {
            assert!(parse_publish(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn exposed_ports_are_ranges() {
        assert_eq!(parse_expose("80-81/udp").unwrap().len(), 2);
        assert!(parse_expose("80:80").is_err());
        assert_eq!("80".parse::<Port>().unwrap().to_string(), "80/tcp");
        assert!("0/tcp".parse::<Port>().is_err());
    }
}
