//! A container's network: its mode, its ports, its names.

use std::collections::BTreeSet;
use std::net::IpAddr;

use gantry_docker_api::container::{ContainerCreateRequest, HostConfig};
use gantry_docker_api::network::EndpointSettings;
use gantry_docker_api::port::{self, Port, PortRange};
use gantry_engine::{NetworkOptions, PortRequest};

use super::gates::V1_44;
use crate::failure::Failure;
use gantry_docker_api::ApiVersion;

/// The names of the default network.
const DEFAULT: [&str; 3] = ["", "default", "bridge"];
/// What stands in place of the host's address as containers see it.
const HOST_GATEWAY: &str = "host-gateway";
const OTHER: &str = "user-defined networks are not supported yet: use bridge, host, none or container:<name>";

/// Whether a mode is that of the default bridge.
pub(super) fn is_default(mode: &str) -> bool {
    DEFAULT.contains(&mode)
}

/// The network of a request, and what is asked for in vain.
///
/// # Errors
/// 400 for modes, ports and addresses that are none, and for what contradicts the mode.
pub(super) fn network(
    request: &ContainerCreateRequest,
    host: &HostConfig,
    version: ApiVersion,
) -> Result<(NetworkOptions, Vec<String>), Failure> {
    check_mode(request, host)?;
    let config = &request.config;
    let mut warnings = Vec::new();
    if host.network_mode == "host" && !host.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    let endpoint = endpoint(request, host)?;
    let mac_address = match endpoint.map(|endpoint| endpoint.mac_address.as_str()) {
        Some(address) if !address.is_empty() => address,
        _ => config.mac_address.as_str(),
    };
    if !mac_address.is_empty() {
        check_mac(mac_address)?;
    }
    if !config.mac_address.is_empty() && version >= V1_44 {
        warnings.push(
            "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
                .to_owned(),
        );
    }
    for text in &host.extra_hosts {
        check_extra_host(text)?;
    }
    let ports = if host.network_mode == "host" { Vec::new() } else { ports(host)? };
    let options = NetworkOptions {
        mode: host.network_mode.clone(),
        disabled: config.network_disabled,
        ports,
        exposed: exposed(request)?,
        publish_all: host.publish_all_ports && host.network_mode != "host",
        dns: host.dns.to_vec(),
        dns_search: host.dns_search.to_vec(),
        dns_options: host.dns_options.to_vec(),
        extra_hosts: host.extra_hosts.to_vec(),
        links: host.links.to_vec(),
        address: None,
        mac_address: mac_address.to_owned(),
    };
    Ok((options, warnings))
}

fn check_mode(request: &ContainerCreateRequest, host: &HostConfig) -> Result<(), Failure> {
    let mode = host.network_mode.as_str();
    let conflict = |text: &str| Err(Failure::invalid(format!("conflicting options: {text}")));
    if host.uts_mode == "host" && !request.config.hostname.is_empty() {
        return conflict("hostname and the UTS mode");
    }
    if mode == "host" && !host.links.is_empty() {
        return conflict(
            "host type networking can't be used with links. This would result in undefined behavior",
        );
    }
    let Some(other) = mode.strip_prefix("container:") else { return Ok(()) };
    if other.is_empty() {
        return Err(Failure::invalid("invalid network mode: invalid container format container:<name|id>"));
    }
    if !request.config.hostname.is_empty() {
        return conflict("hostname and the network mode");
    }
    for (is_given, text) in [
        (
            !host.links.is_empty(),
            "container type network can't be used with links. This would result in undefined behavior",
        ),
        (!host.dns.is_empty(), "dns and the network mode"),
        (!host.extra_hosts.is_empty(), "custom host-to-IP mapping and the network mode"),
        (!request.config.mac_address.is_empty(), "mac-address and the network mode"),
        (
            !host.port_bindings.is_empty() || host.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (!request.config.exposed_ports.is_empty(), "port exposing and the container type network mode"),
    ] {
        if is_given {
            return conflict(text);
        }
    }
    Ok(())
}

/// What is asked for in the container's only network.
fn endpoint<'a>(
    request: &'a ContainerCreateRequest,
    host: &HostConfig,
) -> Result<Option<&'a EndpointSettings>, Failure> {
    let mode = host.network_mode.as_str();
    let mut found = None;
    for (name, endpoint) in request.networking_config.iter().flat_map(|config| &config.endpoints_config) {
        if !(name == mode || is_default(name) && is_default(mode)) {
            return Err(Failure::invalid(format!("{name}: {OTHER}")));
        }
        let invalid = |text: &str| {
            Err(Failure::invalid(format!(
                "invalid config for network {name}: invalid endpoint settings:\n{text}"
            )))
        };
        let asks_address = endpoint
            .ipam_config
            .as_ref()
            .is_some_and(|ipam| !ipam.ipv4_address.is_empty() || !ipam.ipv6_address.is_empty());
        if asks_address {
            return invalid("user specified IP address is supported on user defined networks only");
        }
        if !endpoint.aliases.is_empty() {
            return invalid("network-scoped alias is supported only for containers in user defined networks");
        }
        found = Some(endpoint);
    }
    Ok(found)
}

fn check_mac(address: &str) -> Result<(), Failure> {
    let parts: Vec<&str> = address.split([':', '-']).collect();
    let is_octet = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if parts.len() == 6 && parts.iter().all(is_octet) {
        return Ok(());
    }
    Err(Failure::invalid(format!("invalid config for network bridge: invalid MAC address {address}")))
}

fn check_extra_host(text: &str) -> Result<(), Failure> {
    let (name, address) = text.split_once(['=', ':']).unwrap_or((text, ""));
    if name.is_empty() || address.is_empty() {
        return Err(Failure::invalid(format!("bad format for add-host: {text:?}")));
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if address != HOST_GATEWAY && bare.parse::<IpAddr>().is_err() {
        return Err(Failure::invalid(format!("invalid IP address in add-host: {address:?}")));
    }
    Ok(())
}

fn ports(host: &HostConfig) -> Result<Vec<PortRequest>, Failure> {
    let invalid = |text: &str| Failure::invalid(format!("invalid port specification: {text:?}"));
    let mut all = Vec::new();
    for (text, bindings) in &host.port_bindings {
        // Docker's answer names the number alone.
        let number = text.split('/').next().unwrap_or_default();
        let port: Port = text.parse().map_err(|_| invalid(number))?;
        for binding in bindings {
            let range: PortRange = match binding.host_port.as_str() {
                "" => PortRange { first: 0, last: 0 },
                text => text.parse().map_err(|_| invalid(text))?,
            };
            let host_ip = match binding.host_ip.as_str() {
                "" => None,
                text => {
                    let bare = text.trim_start_matches('[').trim_end_matches(']');
                    Some(bare.parse().map_err(|_| Failure::invalid(format!("invalid IP address: {text}")))?)
                }
            };
            all.push(PortRequest {
                container_port: port.number,
                protocol: port.protocol.as_str().to_owned(),
                host_ip,
                host_port: range.first,
                host_port_end: range.last,
            });
        }
    }
    Ok(all)
}

/// Ports that are exposed.
fn exposed(request: &ContainerCreateRequest) -> Result<BTreeSet<String>, Failure> {
    let mut all = BTreeSet::new();
    for text in request.config.exposed_ports.keys() {
        let ports = port::parse_expose(text)
            .map_err(|_| Failure::invalid(format!("invalid port specification: {text:?}")))?;
        all.extend(ports.iter().map(Port::to_string));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(NetworkOptions, Vec<String>), String> {
        let request: ContainerCreateRequest = serde_json::from_str(text).unwrap();
        let host = request.host_config.clone().unwrap_or_default();
        network(&request, &host, ApiVersion::MAX).map_err(|failure| failure.message)
    }

    #[test]
    fn every_wish_has_its_place() {
        let text = r#"{"ExposedPorts":{"81":{},"90-91/udp":{}},"NetworkDisabled":true,"HostConfig":{"NetworkMode":"bridge",
            "PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080-8090"},{"HostIp":"::1"}],"53/udp":null},
            "PublishAllPorts":true,"Dns":["1.1.1.1"],"DnsSearch":["x"],"DnsOptions":["ndots:1"],"ExtraHosts":["a:1.2.3.4","b:host-gateway","c=::1"],
            "Links":["x:y"]},"NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:42:ac:11:00:09"}}}}"#;
        let (options, warnings) = read(text).unwrap();
        assert!(warnings.is_empty());
        let port = |host_ip: &str, host_port, host_port_end| PortRequest {
            container_port: 80,
            protocol: "tcp".into(),
            host_ip: Some(host_ip.parse().unwrap()),
            host_port,
            host_port_end,
        };
        assert_eq!(options.ports, [port("127.0.0.1", 8080, 8090), port("::1", 0, 0)]);
        let exposed: Vec<&str> = options.exposed.iter().map(String::as_str).collect();
        assert_eq!(exposed, ["81/tcp", "90/udp", "91/udp"]);
        assert!(options.publish_all && options.disabled);
        assert_eq!((options.mode.as_str(), options.mac_address.as_str()), ("bridge", "02:42:ac:11:00:09"));
        assert_eq!((options.dns.len(), options.dns_search.len(), options.dns_options.len()), (1, 1, 1));
        assert_eq!((options.extra_hosts.len(), options.links.len()), (3, 1));
    }

    #[test]
    fn what_is_done_in_vain_is_told() {
        let (options, warnings) =
            read(r#"{"HostConfig":{"NetworkMode":"host","PortBindings":{"80/tcp":[{}]}}}"#).unwrap();
        assert_eq!(warnings, ["Published ports are discarded when using host network mode"]);
        assert!(options.ports.is_empty());
        assert_eq!(read(r#"{"MacAddress":"02:42:ac:11:00:09"}"#).unwrap().1.len(), 1);
    }

    #[test]
    fn what_contradicts_itself_is_refused_in_dockers_words() {
        for (text, words) in [
            (
                r#"{"HostConfig":{"NetworkMode":"container:"}}"#,
                "invalid network mode: invalid container format container:<name|id>",
            ),
            (
                r#"{"HostConfig":{"NetworkMode":"host","Links":["a:b"]}}"#,
                "conflicting options: host type networking can't be used with links",
            ),
            (
                r#"{"HostConfig":{"NetworkMode":"container:x","Dns":["1.1.1.1"]}}"#,
                "conflicting options: dns and the network mode",
            ),
            (
                r#"{"Hostname":"h","HostConfig":{"NetworkMode":"container:x"}}"#,
                "conflicting options: hostname and the network mode",
            ),
            (
                r#"{"Hostname":"h","HostConfig":{"UTSMode":"host"}}"#,
                "conflicting options: hostname and the UTS mode",
            ),
            (r#"{"HostConfig":{"PortBindings":{"bad":[{}]}}}"#, "invalid port specification: \"bad\""),
            (
                r#"{"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"90-80"}]}}}"#,
                "invalid port specification: \"90-80\"",
            ),
            (r#"{"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"bad"}]}}}"#, "invalid IP address: bad"),
            (r#"{"HostConfig":{"ExtraHosts":["bad"]}}"#, "bad format for add-host: \"bad\""),
            (r#"{"HostConfig":{"ExtraHosts":["a:bad"]}}"#, "invalid IP address in add-host: \"bad\""),
            (r#"{"MacAddress":"bad"}"#, "invalid config for network bridge: invalid MAC address bad"),
            (
                r#"{"NetworkingConfig":{"EndpointsConfig":{"mine":{}}}}"#,
                "mine: user-defined networks are not supported yet",
            ),
            (
                r#"{"NetworkingConfig":{"EndpointsConfig":{"bridge":{"IPAMConfig":{"IPv4Address":"172.17.0.9"}}}}}"#,
                "invalid config for network bridge: invalid endpoint settings:\nuser specified IP address",
            ),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.starts_with(words), "{text}: {message}");
        }
    }
}
