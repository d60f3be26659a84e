//! Where the engine is: `-H`, `DOCKER_HOST`, and Gantry's own socket if neither is given.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

/// Gantry's socket of Docker's Engine API.
pub(crate) const DEFAULT_SOCKET: &str = "/run/gantry/docker.sock";
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// An address of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A socket of the file system.
    Unix(PathBuf),
    /// A host and a port, and whether TLS is spoken.
    Tcp { host: String, port: u16, is_tls: bool },
    /// A host where `ssh` runs `docker system dial-stdio`.
    Ssh { user: Option<String>, host: String, port: Option<u16> },
}

impl Endpoint {
    pub(crate) fn parse(text: &str, is_tls: bool) -> Result<Self> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            // Docker takes `host:port` for TCP, and a path for a socket.
            return if text.starts_with('/') { Ok(Self::Unix(text.into())) } else { tcp(text, is_tls) };
        };
        match scheme {
            "unix" => {
                let path = if rest.is_empty() { DEFAULT_SOCKET } else { rest };
                ensure!(
                    path.starts_with('/'),
                    "unable to parse docker host `{text}`: the path is not absolute"
                );
                Ok(Self::Unix(path.into()))
            }
            "tcp" => tcp(rest, is_tls),
            "http" => tcp(rest, false),
            "https" => tcp(rest, true),
            "ssh" => ssh(rest),
            "npipe" | "fd" => bail!("protocol not available: {scheme}"),
            _ => bail!("unable to parse docker host `{text}`: use unix://, tcp:// or ssh://"),
        }
    }
}

fn tcp(rest: &str, is_tls: bool) -> Result<Endpoint> {
    let rest = rest.split('/').next().unwrap_or_default();
    let default = if is_tls { TLS_PORT } else { PLAIN_PORT };
    let (host, port) = split_port(rest)?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(Endpoint::Tcp { host: host.to_owned(), port: port.unwrap_or(default), is_tls })
}

fn ssh(rest: &str) -> Result<Endpoint> {
    ensure!(!rest.contains(['?', '#']), "invalid SSH address {rest:?}: no query and no fragment");
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, place) =
        authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
    let (host, port) = split_port(place)?;
    // What begins with a dash would be an option of ssh.
    let is_safe = |word: &str| !word.is_empty() && !word.starts_with('-');
    ensure!(is_safe(host), "invalid SSH address {rest:?}: no host specified");
    let user = match user {
        Some(user) if user.contains(':') => {
            bail!("invalid SSH address: plain-text password is not supported")
        }
        Some(user) if !is_safe(user) => bail!("invalid SSH address {rest:?}: no user"),
        user => user.map(str::to_owned),
    };
    Ok(Endpoint::Ssh { user, host: host.to_owned(), port })
}

fn split_port(text: &str) -> Result<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port.filter(|port| !port.is_empty()).map(str::parse) {
        Some(Err(_)) => bail!("invalid port in {text:?}"),
        Some(Ok(port)) => Some(port),
        None => None,
    };
    Ok((host, port))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}"),
            Self::Ssh { user, host, port } => {
                write!(f, "ssh://")?;
                user.as_ref().map_or(Ok(()), |user| write!(f, "{user}@"))?;
                write!(f, "{host}")?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_dockers() {
        for (text, is_tls, shown) in [
            ("unix:///run/x.sock", false, "unix:///run/x.sock"),
            ("unix://", false, "unix:///run/gantry/docker.sock"),
            ("tcp://h", false, "tcp://h:2375"),
            ("tcp://h", true, "tcp://h:2376"),
            ("tcp://[::1]:9", false, "tcp://[::1]:9"),
            ("tcp://:9", false, "tcp://127.0.0.1:9"),
            ("h:9", false, "tcp://h:9"),
            ("/a.sock", false, "unix:///a.sock"),
            ("ssh://me@h:22", false, "ssh://me@h:22"),
        ] {
            assert_eq!(Endpoint::parse(text, is_tls).unwrap().to_string(), shown);
        }
        for text in [
            "ftp://x",
            "unix://x",
            "tcp://h:x",
            "ssh://",
            "ssh://-oX",
            "ssh://a:b@h",
            "ssh://-l@h",
            "npipe://x",
        ] {
            assert!(Endpoint::parse(text, false).is_err(), "{text}");
        }
    }
}
