//! The networks of a container.

use anyhow::{Context, Result, bail, ensure};
use gantry_docker_api::network::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};
use gantry_docker_api::{List, Map, mount};

use super::Options;

/// The mode, and the endpoints.
pub(super) struct Networking {
    pub(super) mode: String,
    pub(super) config: NetworkingConfig,
}

pub(super) fn networking(options: &Options) -> Result<Networking> {
    let mut networks = Vec::new();
    for text in &options.network {
        networks.push(network(text)?);
    }
    if networks.is_empty() {
        networks.push(("default".to_owned(), EndpointSettings::default()));
    }
    add_flags(options, &mut networks[0].1)?;
    let mode = networks[0].0.clone();
    let is_alone = |name: &str| matches!(name, "host" | "none") || name.starts_with("container:");
    if networks.len() > 1 && networks.iter().any(|(name, _)| is_alone(name)) {
        bail!("conflicting options: cannot attach both user-defined and non-user-defined network-modes");
    }
    let mut config = NetworkingConfig { endpoints_config: Map::empty() };
    for (name, endpoint) in networks {
        // What has no endpoint of its own has nothing to be said of it.
        if is_alone(&name) {
            continue;
        }
        ensure!(
            config.endpoints_config.insert(name.clone(), endpoint).is_none(),
            "network {name:?} is specified multiple times"
        );
    }
    Ok(Networking { mode, config })
}

/// A name, or `name=x,alias=y,ip=z,...`.
fn network(text: &str) -> Result<(String, EndpointSettings)> {
    let mut endpoint = EndpointSettings::default();
    if !text.contains('=') || text.starts_with("container:") {
        return Ok((text.to_owned(), endpoint));
    }
    let mut name = String::new();
    let fields =
        mount::fields(text).with_context(|| format!("invalid argument {text:?} for \"--network\" flag"))?;
    for field in &fields {
        let Some((key, value)) = field.split_once('=') else {
            bail!("invalid key/value pair format in network options: {field}")
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => value.clone_into(&mut name),
            "alias" => endpoint.aliases.push(value.to_owned()),
            "ip" => ipam(&mut endpoint).ipv4_address = value.to_owned(),
            "ip6" => ipam(&mut endpoint).ipv6_address = value.to_owned(),
            "link-local-ip" => ipam(&mut endpoint).link_local_ips.push(value.to_owned()),
            "mac-address" => endpoint.mac_address = value.to_owned(),
            "driver-opt" => {
                let (key, value) =
                    value.split_once('=').context("invalid key value pair format in driver options")?;
                endpoint.driver_opts.insert(key.to_ascii_lowercase(), value.to_owned());
            }
            "gw-priority" => endpoint.gw_priority = value.parse().context("gw-priority is no number")?,
            key => bail!("invalid field key {key}"),
        }
    }
    ensure!(!name.is_empty(), "network name is not specified in {text:?}");
    Ok((name, endpoint))
}

fn add_flags(options: &Options, endpoint: &mut EndpointSettings) -> Result<()> {
    endpoint.aliases.extend(options.network_alias.iter().cloned());
    if let Some(ip) = &options.ip {
        ipam(endpoint).ipv4_address.clone_from(ip);
    }
    if let Some(ip) = &options.ip6 {
        ipam(endpoint).ipv6_address.clone_from(ip);
    }
    for ip in &options.link_local_ip {
        ipam(endpoint).link_local_ips.push(ip.clone());
    }
    if let Some(mac) = &options.mac_address {
        let parts: Vec<&str> = mac.split([':', '-']).collect();
        let is_mac = matches!(parts.len(), 6 | 8 | 20)
            && parts.iter().all(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok());
        ensure!(is_mac, "{mac} is not a valid mac address");
        endpoint.mac_address.clone_from(mac);
    }
    if !options.link.is_empty() {
        endpoint.links = List::from(options.link.clone());
    }
    Ok(())
}

fn ipam(endpoint: &mut EndpointSettings) -> &mut EndpointIpamConfig {
    endpoint.ipam_config.get_or_insert_default()
}
