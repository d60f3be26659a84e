use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::{Error, Secret};

/// Docker Hub, as references call it.
const DOCKER_HUB: &str = "docker.io";
/// Docker Hub, as it is reached.
const DOCKER_HUB_REGISTRY: &str = "registry-1.docker.io";
/// Where registries have their interface.
const API_ROOT: &str = "/v2";

/// How a host is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TLS.
    Https,
    /// Plain HTTP.
    Http,
    /// TLS, and plain HTTP if the other side does not speak it: registries on loopback.
    HttpsThenHttp,
}

/// One thing that a host may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Content by its digest.
    Pull,
    /// The digest of a tag.
    Resolve,
    /// Uploads and deletions.
    Push,
    /// What refers to a manifest.
    Referrers,
}

impl Capability {
    /// Its name in `hosts.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Resolve => "resolve",
            Self::Push => "push",
            Self::Referrers => "referrers",
        }
    }
}

/// Everything that a host may be asked for.
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

impl Capabilities {
    /// All.
    pub const ALL: Self = Self { pull: true, resolve: true, push: true, referrers: true };

    /// Whether `capability` is among them.
    pub fn has(self, capability: Capability) -> bool {
        match capability {
            Capability::Pull => self.pull,
            Capability::Resolve => self.resolve,
            Capability::Push => self.push,
            Capability::Referrers => self.referrers,
        }
    }
}

/// A client's certificate and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCertificate {
    /// The chain, the client's own first.
    pub certificate: Vec<u8>,
    /// The key; it may be in the same text as the chain.
    pub key: Secret,
}

/// A registry or a mirror of one, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// TLS or not.
    pub scheme: Scheme,
    /// `name` or `name:port`.
    pub host: String,
    /// The root of the interface: `/v2`, with something before it if the host has it elsewhere.
    pub root: String,
    /// What it is asked for.
    pub capabilities: Capabilities,
    /// Certificates to be trusted besides the usual ones, in PEM, one file each.
    pub ca: Vec<Vec<u8>>,
    /// What this side shows.
    pub client: Vec<ClientCertificate>,
    /// Whether anybody may answer for it.
    pub skip_verify: bool,
    /// Sent along with each request to it.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The longest time for a connection.
    pub dial_timeout: Option<Duration>,
}

impl Host {
    /// `host` with everything usual: TLS, `/v2`, all capabilities.
    pub fn new(scheme: Scheme, host: impl Into<String>) -> Self {
        Self {
            scheme,
            host: host.into(),
            root: API_ROOT.into(),
            capabilities: Capabilities::ALL,
            ca: Vec::new(),
            client: Vec::new(),
            skip_verify: false,
            headers: BTreeMap::new(),
            dial_timeout: None,
        }
    }

    /// How the registry that a reference names is reached when nothing is configured.
    ///
    /// On loopback any certificate will do, and none: who listens there is root or the same user already.
    pub fn default_for(registry: &str) -> Self {
        if registry == DOCKER_HUB || registry == "index.docker.io" {
            return Self::new(Scheme::Https, DOCKER_HUB_REGISTRY);
        }
        if !is_loopback(registry) {
            return Self::new(Scheme::Https, registry);
        }
        let scheme = match port(registry) {
            Some(80) => Scheme::Http,
            Some(443) | None => Scheme::Https,
            Some(_) => Scheme::HttpsThenHttp,
        };
        Self { skip_verify: scheme != Scheme::Http, ..Self::new(scheme, registry) }
    }
}

/// Which hosts have a registry's content.
pub trait Hosts: Send + Sync {
    /// Mirrors of `registry` in order, itself where it belongs: usually last.
    ///
    /// # Errors
    /// [`Error::Hosts`]: the configuration cannot be read.
    fn hosts(&self, registry: &str) -> Result<Vec<Host>, Error>;
}

/// Every registry is its own only host.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultHosts;

impl Hosts for DefaultHosts {
    fn hosts(&self, registry: &str) -> Result<Vec<Host>, Error> {
        Ok(vec![Host::default_for(registry)])
    }
}

/// The name of `name:port` or `[address]:port`, without brackets.
pub(crate) fn name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(name, _)| name);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The port of `name:port`, if it has one.
pub(crate) fn port(host: &str) -> Option<u16> {
    let rest = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(_, rest)| rest)?,
        None => &host[name(host).len()..],
    };
    rest.strip_prefix(':')?.parse().ok()
}

/// Whether `host` cannot be anywhere else than on this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = name(host);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_split_at_their_port() {
        let check =
            |host: &str, expect: (&str, Option<u16>)| assert_eq!((name(host), port(host)), expect, "{host}");
        check("localhost", ("localhost", None));
        check("localhost:5000", ("localhost", Some(5000)));
        check("[::1]:5000", ("::1", Some(5000)));
        check("[::1]", ("::1", None));
        check("::1", ("::1", None));
        check("a:99999", ("a", None));
        check("", ("", None));
    }

    #[test]
    fn only_loopback_may_be_plain_by_itself() {
        let check = |host: &str, expect: Scheme| assert_eq!(Host::default_for(host).scheme, expect, "{host}");
        check("localhost:5000", Scheme::HttpsThenHttp);
        check("127.0.0.1:80", Scheme::Http);
        check("127.9.0.1:5000", Scheme::HttpsThenHttp);
        check("[::1]:5000", Scheme::HttpsThenHttp);
        check("localhost", Scheme::Https);
        check("localhost.example.com:5000", Scheme::Https);
        check("10.0.0.1:80", Scheme::Https);
        assert_eq!(Host::default_for("docker.io").host, "registry-1.docker.io");
        assert!(!Host::default_for("10.0.0.1:5000").skip_verify);
    }
}
