//! Registries' hosts: `certs.d` trees with `hosts.toml`, or with Docker's certificates (containerd 2.4, docs/hosts.md).

mod parse;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use self::parse::HostUrl;
#[cfg(feature = "fuzzing")]
pub(crate) use self::parse::HostsFile;
pub use tree::HostTree;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::Ignored;

/// How a host is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TLS.
    Https,
    /// Plain HTTP.
    Http,
    /// TLS, and plain HTTP if the other side does not speak it: what containerd does with `http://` and certificates.
    HttpsThenHttp,
}

/// What a host may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// Content by its digest.
    pub pull: bool,
    /// The digest of a tag.
    pub resolve: bool,
    /// Uploads and deletions.
    pub push: bool,
    /// What refers to a manifest.
    pub referrers: bool,
}

/// A certificate and its key, in PEM.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientPair {
    /// The chain.
    pub certificate: Vec<u8>,
    /// The key; the chain's file if it is in there.
    pub key: Vec<u8>,
}

impl fmt::Debug for ClientPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(certificate and key)")
    }
}

/// A host of a registry: itself, or a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// TLS or not.
    pub scheme: Scheme,
    /// `name` or `name:port`.
    pub host: String,
    /// The root of the interface in the URL: `/v2`, with something before it, or what `override_path` leaves.
    pub root: String,
    /// What it may be asked for.
    pub capabilities: Capabilities,
    /// Certificates to be trusted, in PEM, one file each.
    pub ca: Vec<Vec<u8>>,
    /// What this side shows.
    pub client: Vec<ClientPair>,
    /// Whether anybody may answer for it.
    pub skip_verify: bool,
    /// Sent with each request.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The longest time for a connection.
    pub dial_timeout: Option<Duration>,
}

/// What a tree says of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryHosts {
    /// The hosts in order, at least one; the registry itself comes last unless `server` says otherwise.
    pub hosts: Vec<HostConfig>,
    /// The directory that says so, if there is one.
    pub directory: Option<PathBuf>,
    /// Keys of its `hosts.toml` that nobody knows.
    pub ignored: Vec<Ignored>,
}

const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_REGISTRY: &str = "registry-1.docker.io";

impl HostConfig {
    /// The registry itself, as it is reached when nothing else is said.
    pub(crate) fn default_for(registry: &str) -> Self {
        let mut host = Self {
            scheme: Scheme::Https,
            host: registry.to_owned(),
            root: "/v2".into(),
            capabilities: Capabilities::ALL,
            ca: Vec::new(),
            client: Vec::new(),
            skip_verify: false,
            headers: BTreeMap::new(),
            dial_timeout: None,
        };
        if registry == DOCKER_HUB || registry == "index.docker.io" {
            host.host = DOCKER_HUB_REGISTRY.into();
        } else if is_loopback(registry) {
            host.scheme = match port(registry) {
                Some("80") => Scheme::Http,
                Some("443") | None => Scheme::Https,
                Some(_) => Scheme::HttpsThenHttp,
            };
            host.skip_verify = host.scheme != Scheme::Http;
        }
        host
    }
}

impl Capabilities {
    /// All.
    pub const ALL: Self = Self { pull: true, resolve: true, push: true, referrers: true };
}

fn split(host: &str) -> (&str, Option<&str>) {
    if let Some((name, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (name, rest.strip_prefix(':'));
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => (name, Some(port)),
        _ => (host, None),
    }
}

/// The port of `name:port`.
pub(crate) fn port(host: &str) -> Option<&str> {
    split(host).1.filter(|port| !port.is_empty())
}

/// Whether `host` cannot be anywhere else than on this machine.
fn is_loopback(host: &str) -> bool {
    let name = split(host).0;
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
