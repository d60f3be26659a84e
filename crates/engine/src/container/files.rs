//! The files that a container has of the engine: `hosts`, `hostname`, `resolv.conf`, in its directory on the host.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use gantry_network::hosts::{self, ExtraHost, Own};
use gantry_network::resolv::{self, HostFiles, Overrides, Reach};
use gantry_spec::{Access, Bind, Mount, MountKind, Propagation, Recursion};

use super::links;
use crate::record::Record;
use crate::{Engine, Error, Result};

/// The files, and where a container sees them.
const FILES: [(&str, &str); 3] =
    [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), (HOSTS, "/etc/hosts")];
/// The one with the addresses of others.
pub(crate) const HOSTS: &str = "hosts";

/// Makes the directory of a container: root's alone, as its log may be a secret.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o710).create(path);
    made.map_err(Error::io("making", path))
}

/// What goes into the files.
pub(crate) struct Contents {
    hostname: String,
    hosts: String,
    resolv: String,
}

impl Contents {
    /// What a container has that shares no other's.
    pub(crate) fn of(engine: &Engine, record: &Record) -> Result<Self> {
        let settings = &engine.shared.settings;
        let network = &record.options.network;
        let or =
            |own: &[String], other: &[String]| if own.is_empty() { other.to_vec() } else { own.to_vec() };
        let servers = or(&network.dns, &settings.dns);
        let server = |text: &String| {
            text.parse::<IpAddr>()
                .map_err(|_| Error::Invalid(format!("ParseAddr({text:?}): no IP address of a DNS server")))
        };
        let servers: Vec<IpAddr> = servers.iter().map(server).collect::<Result<_>>()?;
        let (search, options) =
            (or(&network.dns_search, &settings.dns_search), or(&network.dns_options, &settings.dns_options));
        let overrides = Overrides { servers: &servers, search: &search, options: &options };
        let reach = if network.mode == "host" { Reach::Host } else { Reach::Bridge };
        let resolv = resolv::render(&HostFiles::read()?, reach, overrides)?;
        let address = record.endpoint.as_ref().map(|endpoint| IpAddr::V4(endpoint.address));
        // In the host's namespace that is the host itself.
        let gateway = record.endpoint.as_ref().map_or(Ipv4Addr::LOCALHOST, |endpoint| endpoint.gateway);
        let mut extra = Vec::new();
        for text in &network.extra_hosts {
            extra.push(ExtraHost::parse(text, IpAddr::V4(gateway))?);
        }
        extra.extend(links::entries(engine, &network.links)?);
        let own = Own {
            address,
            hostname: &record.process.hostname,
            domainname: &record.options.isolation.domainname,
        };
        let hosts = hosts::render(own, &extra)?;
        Ok(Self { hostname: format!("{}\n", record.process.hostname), hosts, resolv })
    }

    /// Writes them: in place, because a running container has them mounted. Blocks.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        make_directory(directory)?;
        for ((name, _), text) in FILES.iter().zip([&self.resolv, &self.hostname, &self.hosts]) {
            let path = directory.join(name);
            fs::write(&path, text).map_err(Error::io("writing", &path))?;
        }
        Ok(())
    }
}

/// The mounts of the files that are in `directory`, but for places that are taken.
pub(crate) fn mounts(directory: &Path, read_only: bool, is_taken: impl Fn(&str) -> bool) -> Vec<Mount> {
    let free = FILES.iter().filter(|(_, place)| !is_taken(place));
    let mount = |(name, place): &(&str, &str)| Mount {
        destination: (*place).to_owned(),
        kind: MountKind::Bind(Bind {
            source: directory.join(name).display().to_string(),
            access: if read_only { Access::ReadOnly } else { Access::ReadWrite },
            recursion: Recursion::Recursive,
            propagation: Propagation::RecursivePrivate,
            ..Bind::default()
        }),
    };
    free.map(mount).collect()
}
