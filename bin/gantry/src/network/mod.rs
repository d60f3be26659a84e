//! Verbs on networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use clap::{ArgAction, Args};
use gantry_docker_api::network::{
    ConfigReference, EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, Network, NetworkConnectRequest,
    NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest, NetworkPruneResponse,
};
use gantry_docker_api::{Filters, List};
use http::StatusCode;

use crate::client::{ApiError, Call, segment};
use crate::command::{Failure, Verb, chain};
use crate::container::inspect::{self, Kind};
use crate::container::list::filters;
use crate::container::options::{labels, pairs};
use crate::container::prune::{confirm, with_filters};
use crate::format::words::short_id;
use crate::format::{Listing, Row};
use crate::output;
use crate::session::Session;

/// Create a network
#[derive(Debug, Args)]
pub(crate) struct CreateNetwork {
    /// Enable manual container attachment
    #[arg(long)]
    attachable: bool,
    /// Auxiliary IPv4 or IPv6 addresses used by Network driver
    #[arg(long, value_name = "MAP")]
    aux_address: Vec<String>,
    /// The network from which to copy the configuration
    #[arg(long, value_name = "STRING")]
    config_from: Option<String>,
    /// Create a configuration only network
    #[arg(long)]
    config_only: bool,
    /// Driver to manage the Network
    #[arg(short, long, value_name = "STRING", default_value = "bridge")]
    driver: String,
    /// IPv4 or IPv6 Gateway for the master subnet
    #[arg(long, value_name = "IP")]
    gateway: Vec<String>,
    /// Create swarm routing-mesh network
    #[arg(long)]
    ingress: bool,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Allocate container ip from a sub-range
    #[arg(long, value_name = "STRING")]
    ip_range: Vec<String>,
    /// IP Address Management Driver
    #[arg(long, value_name = "STRING", default_value = "default")]
    ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long, value_name = "MAP")]
    ipam_opt: Vec<String>,
    /// Enable or disable IPv4 address assignment
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// Enable or disable IPv6 address assignment
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Set metadata on a network
    #[arg(long, value_name = "LIST")]
    label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "MAP")]
    opt: Vec<String>,
    /// Control the network's scope
    #[arg(long, value_name = "STRING")]
    scope: Option<String>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_name = "CIDR")]
    subnet: Vec<String>,
    /// Its name
    network: String,
}

impl Verb for CreateNetwork {
    async fn run(self, session: &Session) -> Result<u8> {
        let config = self.pools()?;
        let request = NetworkCreateRequest {
            name: self.network,
            driver: self.driver,
            scope: self.scope.unwrap_or_default(),
            enable_ipv4: self.ipv4,
            enable_ipv6: self.ipv6,
            ipam: Some(Ipam {
                driver: self.ipam_driver,
                options: pairs(&self.ipam_opt).into_iter().collect(),
                config: config.into(),
            }),
            internal: self.internal,
            attachable: self.attachable,
            ingress: self.ingress,
            config_only: self.config_only,
            config_from: self.config_from.map(|network| ConfigReference { network }),
            options: pairs(&self.opt).into_iter().collect(),
            labels: labels(&[], &self.label)?.into_iter().collect(),
            check_duplicate: Some(true),
        };
        let answer: NetworkCreateResponse =
            session.client()?.json(Call::post("/networks/create").json(&request)).await?;
        if !answer.warning.is_empty() {
            output::note(format!("WARNING: {}", answer.warning));
        }
        output::line(answer.id);
        Ok(0)
    }
}

impl CreateNetwork {
    /// Ranges, gateways and other addresses belong to the subnet that has them.
    fn pools(&self) -> Result<Vec<IpamConfig>> {
        ensure!(
            self.subnet.len() >= self.ip_range.len().max(self.gateway.len()),
            "every ip-range or gateway must have a corresponding subnet"
        );
        let mut pools: BTreeMap<Cidr, IpamConfig> = BTreeMap::new();
        for text in &self.subnet {
            let pool = IpamConfig { subnet: text.clone(), ..IpamConfig::default() };
            let before = pools.insert(Cidr::parse(text)?, pool);
            ensure!(before.is_none(), "multiple overlapping subnet configuration is not supported");
        }
        let ranges = self.ip_range.iter().map(|range| (range, Part::Range(range.clone())));
        let gateways = self.gateway.iter().map(|gateway| (gateway, Part::Gateway(gateway.clone())));
        let others = pairs(&self.aux_address);
        let others =
            others.iter().map(|(name, address)| (address, Part::Other(name.clone(), address.clone())));
        for (address, part) in ranges.chain(gateways).chain(others) {
            let bare = address.split('/').next().unwrap_or_default();
            let ip: IpAddr = bare.parse().with_context(|| format!("invalid address {address:?}"))?;
            let pool = pools.iter_mut().find(|(subnet, _)| subnet.has(ip));
            part.put(pool.with_context(|| format!("no matching subnet for {address}"))?.1)?;
        }
        Ok(pools.into_values().collect())
    }
}

enum Part {
    Range(String),
    Gateway(String),
    Other(String, String),
}

impl Part {
    fn put(&self, pool: &mut IpamConfig) -> Result<()> {
        match self {
            Self::Range(range) => {
                ensure!(
                    pool.ip_range.is_empty(),
                    "cannot configure multiple ranges ({range}) on the same subnet"
                );
                pool.ip_range.clone_from(range);
            }
            Self::Gateway(gateway) => {
                ensure!(
                    pool.gateway.is_empty(),
                    "cannot configure multiple gateways ({gateway}) on the same subnet"
                );
                pool.gateway.clone_from(gateway);
            }
            Self::Other(name, address) => {
                drop(pool.auxiliary_addresses.insert(name.clone(), address.clone()))
            }
        }
        Ok(())
    }
}

/// A network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cidr {
    ip: IpAddr,
    length: u8,
}

impl Cidr {
    fn parse(text: &str) -> Result<Self> {
        let invalid = || format!("invalid subnet {text:?}");
        let (ip, length) = text.split_once('/').with_context(invalid)?;
        let (ip, length): (IpAddr, u8) =
            (ip.parse().with_context(invalid)?, length.parse().with_context(invalid)?);
        ensure!(length <= if ip.is_ipv4() { 32 } else { 128 }, invalid());
        Ok(Self { ip, length })
    }

    fn has(self, other: IpAddr) -> bool {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
        self.ip.is_ipv4() == other.is_ipv4() && bits(self.ip) & mask == bits(other) & mask
    }
}

/// List networks
#[derive(Debug, Args)]
pub(crate) struct ListNetworks {
    /// Provide filter values (e.g. "driver=bridge")
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json', 'TEMPLATE'
    #[arg(long, value_name = "STRING")]
    format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
    /// Only display network IDs
    #[arg(short, long)]
    quiet: bool,
}

const HEADER: &[(&str, &str)] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

impl Verb for ListNetworks {
    async fn run(self, session: &Session) -> Result<u8> {
        let call = with_filters(Call::get("/networks"), &filters(&self.filter)?);
        let mut networks: List<Network> = session.client()?.json(call).await?;
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        let row = |network: &Network| {
            let row = Row::new()
                .with("ID", if self.no_trunc { &network.id } else { short_id(&network.id) })
                .with("Name", network.name.as_str())
                .with("Driver", network.driver.as_str())
                .with("Scope", network.scope.as_str())
                .with("IPv4", network.enable_ipv4.to_string())
                .with("IPv6", network.enable_ipv6.to_string())
                .with("Internal", network.internal.to_string())
                .with("CreatedAt", go_time(&network.created));
            row.with_labels(network.labels.iter())
        };
        let rows: Vec<Row> = networks.iter().map(row).collect();
        let own = session.config()?.format("networksFormat").filter(|_| !self.quiet);
        let quiet = if self.quiet { Some("{{.ID}}") } else { own };
        let listing = Listing {
            format: self.format.as_deref().or(quiet),
            default: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
            header: HEADER,
        };
        output::print(&listing.render(&rows)?);
        Ok(0)
    }
}

/// A time of the wire as Go prints it.
fn go_time(text: &str) -> String {
    let Some(time) = gantry_docker_api::Timestamp::parse_rfc3339(text) else { return text.to_owned() };
    let utc = time.to_rfc3339();
    utc.trim_end_matches('Z').replace('T', " ") + " +0000 UTC"
}

/// Display detailed information on one or more networks
#[derive(Debug, Args)]
pub(crate) struct InspectNetwork {
    /// Format output using a custom template: 'json', 'TEMPLATE'
    #[arg(short, long, value_name = "STRING")]
    format: Option<String>,
    /// Verbose output for diagnostics
    #[arg(short, long)]
    verbose: bool,
    /// Networks
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

impl Verb for InspectNetwork {
    async fn run(self, session: &Session) -> Result<u8> {
        inspect::print(
            session,
            &self.names,
            &[Kind::Network],
            self.format.as_deref(),
            &inspect::Asked::default(),
        )
        .await
    }
}

/// Remove one or more networks
#[derive(Debug, Args)]
pub(crate) struct RemoveNetwork {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    force: bool,
    /// Networks
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

impl Verb for RemoveNetwork {
    async fn run(self, session: &Session) -> Result<u8> {
        let mut code = 0;
        for name in &self.names {
            match session.client()?.unit(Call::delete(format!("/networks/{}", segment(name)))).await {
                Ok(()) => output::line(name),
                Err(error) if self.force && is_absent(&error) => {}
                Err(error) => {
                    output::note(chain(&error));
                    code = 1;
                }
            }
        }
        if code == 0 { Ok(0) } else { Err(Failure::silent(code)) }
    }
}

fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(|error| error.status == StatusCode::NOT_FOUND)
}

/// Connect a container to a network
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "STRINGS")]
    alias: Vec<String>,
    /// Driver options for the network
    #[arg(long, value_name = "STRINGS")]
    driver_opt: Vec<String>,
    /// Gateway priority: the network with the highest has the default gateway
    #[arg(long, value_name = "INT", allow_negative_numbers = true)]
    gw_priority: Option<i64>,
    /// IPv4 address (e.g., "172.30.100.104")
    #[arg(long, value_name = "IP")]
    ip: Option<String>,
    /// IPv6 address (e.g., "2001:db8::33")
    #[arg(long, value_name = "IP")]
    ip6: Option<String>,
    /// Add link to another container
    #[arg(long, value_name = "LIST")]
    link: Vec<String>,
    /// Add a link-local address for the container
    #[arg(long, value_name = "STRINGS")]
    link_local_ip: Vec<String>,
    /// Network
    network: String,
    /// Container
    container: String,
}

impl Verb for Connect {
    async fn run(self, session: &Session) -> Result<u8> {
        for option in &self.driver_opt {
            ensure!(option.contains('='), "invalid key/value pair format in driver options: {option}");
        }
        let has_addresses = self.ip.is_some() || self.ip6.is_some() || !self.link_local_ip.is_empty();
        let ipam = EndpointIpamConfig {
            ipv4_address: self.ip.unwrap_or_default(),
            ipv6_address: self.ip6.unwrap_or_default(),
            link_local_ips: self.link_local_ip.into(),
        };
        let endpoint = EndpointSettings {
            ipam_config: has_addresses.then_some(ipam),
            links: if self.link.is_empty() { List::default() } else { self.link.into() },
            aliases: if self.alias.is_empty() { List::default() } else { self.alias.into() },
            driver_opts: pairs(&self.driver_opt).into_iter().collect(),
            gw_priority: self.gw_priority.unwrap_or(0),
            ..EndpointSettings::default()
        };
        let request = NetworkConnectRequest { container: self.container, endpoint_config: Some(endpoint) };
        let call = Call::post(format!("/networks/{}/connect", segment(&self.network))).json(&request);
        session.client()?.unit(call).await.map(|()| 0)
    }
}

/// Disconnect a container from a network
#[derive(Debug, Args)]
pub(crate) struct Disconnect {
    /// Force the container to disconnect from a network
    #[arg(short, long)]
    force: bool,
    /// Network
    network: String,
    /// Container
    container: String,
}

impl Verb for Disconnect {
    async fn run(self, session: &Session) -> Result<u8> {
        let request = NetworkDisconnectRequest { container: self.container, force: self.force };
        let call = Call::post(format!("/networks/{}/disconnect", segment(&self.network))).json(&request);
        session.client()?.unit(call).await.map(|()| 0)
    }
}

/// Remove all unused networks
#[derive(Debug, Args)]
pub(crate) struct PruneNetworks {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Verb for PruneNetworks {
    async fn run(self, session: &Session) -> Result<u8> {
        let filters = filters(&self.filter)?;
        if !self.force {
            confirm("WARNING! This will remove all custom networks not used by at least one container.")?;
        }
        output::print(&prune(session, &filters).await?);
        Ok(0)
    }
}

/// What was removed.
pub(crate) async fn prune(session: &Session, filters: &Filters) -> Result<String> {
    let answer: NetworkPruneResponse =
        session.client()?.json(with_filters(Call::post("/networks/prune"), filters)).await?;
    if answer.networks_deleted.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("Deleted Networks:\n{}\n\n", answer.networks_deleted.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_have_their_addresses() {
        let subnet = Cidr::parse("10.1.0.0/16").unwrap();
        assert!(subnet.has("10.1.2.3".parse().unwrap()) && !subnet.has("10.2.0.1".parse().unwrap()));
        assert!(!subnet.has("::a01:1".parse().unwrap()));
        assert!(Cidr::parse("fd00::/64").unwrap().has("fd00::5".parse().unwrap()));
        for text in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/x"] {
            assert!(Cidr::parse(text).is_err());
        }
    }
}
