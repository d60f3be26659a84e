//! Networks, and containers in them.

use gantry_docker_api::container::{ContainerCreateRequest, NetworkSettings, PortBinding, PortMap};
use gantry_docker_api::network::EndpointSettings;
use gantry_docker_api::port::Port;
use gantry_docker_api::{List, Map};
use gantry_engine::Record;
use sha2::{Digest as _, Sha256};

/// The networks that there are: each has the name of its mode.
pub(crate) const BRIDGE: &str = "bridge";
pub(crate) const HOST: &str = "host";
pub(crate) const NONE: &str = "none";

/// The id of a network of an engine: always the same, and another one for each engine.
pub(crate) fn network_id(engine: &str, network: &str) -> String {
    hex(&[engine, network])
}

/// What tells a container's place in a network from others.
pub(crate) fn endpoint_id(record: &Record, network: &str) -> String {
    let started = record.state.started.map(|time| time.to_string()).unwrap_or_default();
    hex(&[&record.id, network, &started])
}

fn hex(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The networks of a container. What it has there is known while it runs.
pub(super) fn networks(
    record: &Record,
    asked: Option<&ContainerCreateRequest>,
    engine: &str,
) -> Map<EndpointSettings> {
    let mode = record.options.network.mode.as_str();
    let name = match mode {
        "" | "default" | BRIDGE => BRIDGE,
        HOST | NONE => mode,
        _ => return Map::empty(),
    };
    let wish = asked.and_then(|request| request.networking_config.as_ref());
    let wish = wish.and_then(|config| config.endpoints_config.values().next());
    let mut settings = EndpointSettings::default();
    if let Some(wish) = wish {
        settings.ipam_config.clone_from(&wish.ipam_config);
        settings.links.clone_from(&wish.links);
        settings.driver_opts.clone_from(&wish.driver_opts);
        settings.mac_address.clone_from(&wish.mac_address);
    }
    if let Some(asked) = asked.filter(|_| settings.mac_address.is_empty()) {
        settings.mac_address.clone_from(&asked.config.mac_address);
    }
    if record.state.started.is_some() {
        settings.network_id = network_id(engine, name);
    }
    if record.state.status.is_alive() {
        settings.endpoint_id = endpoint_id(record, name);
    }
    if let Some(endpoint) = &record.endpoint {
        settings.gateway = endpoint.gateway.to_string();
        settings.ip_address = endpoint.address.to_string();
        settings.ip_prefix_len = endpoint.prefix_len.into();
        settings.mac_address = endpoint.mac.to_string();
    }
    [(name.to_owned(), settings)].into_iter().collect()
}

/// All of a container's network.
pub(super) fn settings(record: &Record, asked: &ContainerCreateRequest, engine: &str) -> NetworkSettings {
    let endpoint = record.endpoint.as_ref();
    let sandbox = if record.state.status.is_alive() { endpoint_id(record, "sandbox") } else { String::new() };
    NetworkSettings {
        sandbox_id: sandbox,
        sandbox_key: endpoint.map(|endpoint| endpoint.netns.display().to_string()).unwrap_or_default(),
        ports: ports(record, asked),
        networks: networks(record, Some(asked), engine),
        ..NetworkSettings::default()
    }
}

/// The ports of a container that runs: where they are published, or `null`.
fn ports(record: &Record, asked: &ContainerCreateRequest) -> PortMap {
    let mut all = PortMap::empty();
    let Some(endpoint) = record.endpoint.as_ref().filter(|_| record.state.status.is_alive()) else {
        return all;
    };
    let bound = asked.host_config.iter().flat_map(|host| host.port_bindings.keys());
    let bound = bound.filter_map(|text| Some(text.parse::<Port>().ok()?.to_string()));
    for port in record.process.exposed.iter().cloned().chain(bound) {
        all.insert(port, List::default());
    }
    for port in &endpoint.ports {
        let name = format!("{}/{}", port.container_port, port.protocol);
        let binding =
            PortBinding { host_ip: port.host_ip.to_string(), host_port: port.host_port.to_string() };
        let list = all.entry(name).or_default();
        list.push(binding);
    }
    all
}
