use super::{Bridge, DockerDaemon, DoorTls};
use crate::Docker;
use crate::docker::AddressPool;

/// The bridge of the default network.
const BRIDGE: &str = "gantry0";

impl DockerDaemon {
    /// The same with the keys of our own `[docker]` over it: what is given there goes before what `daemon.json` says, and
    /// where both are silent the bridge is `gantry0` and the pools are Docker's.
    #[must_use]
    pub fn under(mut self, ours: &Docker) -> Self {
        // Whoever looks for us at our own address finds us there, whatever the other file says.
        let theirs = std::mem::replace(&mut self.hosts, ours.address.clone());
        for host in theirs {
            if !self.hosts.contains(&host) {
                self.hosts.push(host);
            }
        }
        let gid = ours.gid.map(|gid| gid.to_string());
        self.group = ours.group.clone().or(gid).or(self.group);
        self.tls = tls(self.tls, ours);
        self.containers.userns_remap = ours.userns_remap.clone().or(self.containers.userns_remap);
        let network = &mut self.network;
        let named = ours.bridge.as_ref().map(|name| Bridge::from_name(name.to_string()));
        network.bridge = named.or(network.bridge.take()).or_else(|| Some(Bridge::Named(BRIDGE.into())));
        network.bip = ours.bip.or(network.bip);
        if !ours.default_address_pools.is_empty() {
            network.pools.clone_from(&ours.default_address_pools);
        } else if network.pools.is_empty() {
            network.pools = AddressPool::defaults();
        }
        self
    }
}

fn tls(theirs: Option<DoorTls>, ours: &Docker) -> Option<DoorTls> {
    let asked = ours.tls || ours.tlsverify;
    let mut tls = theirs.or_else(|| asked.then(DoorTls::default))?;
    tls.verify |= ours.tlsverify;
    tls.ca = ours.tlscacert.clone().or(tls.ca);
    tls.cert = ours.tlscert.clone().or(tls.cert);
    tls.key = ours.tlskey.clone().or(tls.key);
    Some(tls)
}
