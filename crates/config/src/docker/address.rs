//! Addresses that Docker's API is served at.

use std::fmt;
use std::path::PathBuf;

/// The longest path of a socket, in bytes (unix(7): 108 with the zero).
const MAX_SOCKET_PATH: usize = 107;
/// The port without TLS, by IANA's list.
const PLAIN_PORT: u16 = 2375;
/// The port with TLS.
const TLS_PORT: u16 = 2376;

/// Where Docker's API is served: `unix:///path` or a path alone, `tcp://host:port` or `host:port`, `fd://`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DoorAddress {
    /// A socket of the file system.
    Unix(PathBuf),
    /// An address of the host.
    Tcp {
        /// A name or an address, of IPv6 without its brackets; the loopback's if it was empty.
        host: String,
        /// 2375, or 2376 with TLS, if there is none.
        port: Option<u16>,
    },
    /// The sockets that whoever started the daemon has opened: sd_listen_fds(3).
    Inherited,
}

impl DoorAddress {
    /// What an address may be, for errors and for the documentation.
    pub(crate) const ALLOWED: &str =
        "a path, \"unix:///path\", \"tcp://host:port\", \"host:port\" or \"fd://\"";

    /// None for what is no such address.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("tcp://") {
            return Self::tcp(rest.strip_suffix('/').unwrap_or(rest));
        }
        if text.strip_prefix("fd://").is_some_and(|rest| matches!(rest, "" | "*")) {
            return Some(Self::Inherited);
        }
        if !text.starts_with('/') && !text.contains("://") && text.contains(':') {
            return Self::tcp(text);
        }
        let path = text.strip_prefix("unix://").unwrap_or(text);
        let fits = path.starts_with('/') && path.len() <= MAX_SOCKET_PATH && !path.contains('\0');
        fits.then(|| Self::Unix(path.into()))
    }

    fn tcp(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => {
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
            }
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if !host.chars().all(is_name) {
            return None;
        }
        let port = port.map(|port| port.parse().ok().filter(|port| *port != 0));
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        match port {
            Some(None) => None,
            port => Some(Self::Tcp { host: host.to_owned(), port: port.flatten() }),
        }
    }

    /// The port to listen on; none for what is no TCP.
    pub fn port(&self, tls: Option<&super::DoorTls>) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } => Some(port.unwrap_or(if tls.is_some() { TLS_PORT } else { PLAIN_PORT })),
            Self::Unix(_) | Self::Inherited => None,
        }
    }
}

impl fmt::Display for DoorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Inherited => f.write_str("fd://"),
            Self::Tcp { host, port } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                write!(f, "tcp://{host}")?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}
