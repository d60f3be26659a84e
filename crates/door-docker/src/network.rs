//! Networks: the three that every engine has. Others are refused.

use std::sync::LazyLock;

use gantry_docker_api::network::{
    Ipam, IpamConfig, Network, NetworkConnectRequest, NetworkContainer, NetworkCreateRequest,
    NetworkDisconnectRequest, NetworkPruneResponse,
};
use gantry_docker_api::{ApiVersion, Filters, List, Map};
use http::{Method, StatusCode};
use jiff::Timestamp;

use crate::container::find;
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};
use crate::into_api::{self, BRIDGE, HOST, NONE};

const V1_52: ApiVersion = ApiVersion::new(1, 52);
const OTHERS: &str =
    "user-defined networks are not supported yet: containers use bridge, host, none or container:<name>";
/// Docker makes them anew with each start of the daemon.
static MADE: LazyLock<Timestamp> = LazyLock::new(Timestamp::now);

/// Answers a request for `/networks…`.
pub(crate) async fn route(mut call: Call, rest: &[&str]) -> Outcome {
    match (&call.method, rest) {
        (&Method::GET, []) => list(&call),
        (&Method::POST, ["create"]) => create(call.json().await?),
        (&Method::POST, ["prune"]) => {
            call.filters()?.check(&["label", "label!", "until"])?;
            Ok(Answer::json(&NetworkPruneResponse::default()))
        }
        (&Method::POST, [name @ .., "connect"]) if !name.is_empty() => {
            let request: NetworkConnectRequest = call.json().await?;
            change(&call, &name.join("/"), &request.container).await
        }
        (&Method::POST, [name @ .., "disconnect"]) if !name.is_empty() => {
            let request: NetworkDisconnectRequest = call.json().await?;
            change(&call, &name.join("/"), &request.container).await
        }
        (&Method::GET, [_, ..]) => inspect(&call, &rest.join("/")),
        (&Method::DELETE, [_, ..]) => {
            let name = find_network(&call, &rest.join("/"))?;
            let text = format!("{name} is a pre-defined network and cannot be removed");
            Err(Failure::with(StatusCode::FORBIDDEN, text))
        }
        _ => Err(Failure::no_page()),
    }
}

/// The network of a name, an id, or the beginning of one.
fn find_network(call: &Call, text: &str) -> Result<&'static str, Failure> {
    let id = |name: &str| into_api::network_id(&call.door.about.id, name);
    let all = [BRIDGE, HOST, NONE];
    let named = all.into_iter().find(|name| *name == text);
    let found = named.or_else(|| all.into_iter().find(|name| !text.is_empty() && id(name).starts_with(text)));
    found.ok_or_else(|| Failure::not_found(format!("network {text} not found")))
}

async fn change(call: &Call, network: &str, container: &str) -> Outcome {
    find(call, container).await?;
    find_network(call, network)?;
    Err(Failure::unsupported(format!("{OTHERS}, from their beginning on")))
}

fn create(request: NetworkCreateRequest) -> Outcome {
    match request.name.as_str() {
        "" => Err(Failure::invalid("invalid name: name is empty")),
        BRIDGE | HOST | NONE => {
            let text = format!("operation is not permitted on predefined {} network ", request.name);
            Err(Failure::with(StatusCode::FORBIDDEN, text))
        }
        _ => Err(Failure::unsupported(OTHERS)),
    }
}

/// `GET /networks/{name}`
fn inspect(call: &Call, name: &str) -> Outcome {
    let scope = call.query.text("scope");
    if !matches!(scope, "" | "local") {
        return Err(Failure::not_found(format!("network {name} not found")));
    }
    let mut network = network(call, find_network(call, name)?);
    network.containers = containers(call, &network.name);
    if call.version >= V1_52 {
        network.status = Some(serde_json::json!({"IPAM": {"Subnets": {}}}));
    }
    Ok(Answer::json(&network))
}

/// `GET /networks`
fn list(call: &Call) -> Outcome {
    let filters = call.filters()?;
    filters.check(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let kinds: Vec<&str> = filters.values("type").collect();
    if let Some(kind) = kinds.iter().find(|kind| !matches!(**kind, "builtin" | "custom")) {
        return Err(Failure::invalid(format!("invalid filter: 'type'='{kind}'")));
    }
    let dangling = filters.boolean("dangling")?;
    // None of these is ever dangling, nor made by a person.
    let is_none = dangling == Some(true) || !kinds.is_empty() && !kinds.contains(&"builtin");
    let names = [BRIDGE, HOST, NONE];
    let all = names
        .into_iter()
        .map(|name| network(call, name))
        .filter(|network| !is_none && is_asked(&filters, network));
    Ok(Answer::json(&all.collect::<List<_>>()))
}

fn is_asked(filters: &Filters, network: &Network) -> bool {
    filters.matches_exactly("driver", &network.driver)
        && filters.matches_part("name", &network.name)
        && filters.matches_start("id", &network.id)
        && filters.matches_exactly("scope", &network.scope)
        && filters.matches_labels("label", |_| None)
}

fn network(call: &Call, name: &str) -> Network {
    let mut made = Network {
        name: name.to_owned(),
        id: into_api::network_id(&call.door.about.id, name),
        created: MADE.to_string(),
        scope: "local".to_owned(),
        driver: if name == NONE { "null".to_owned() } else { name.to_owned() },
        enable_ipv4: true,
        ipam: Ipam { driver: "default".to_owned(), ..Ipam::default() },
        containers: Map::empty(),
        options: Map::empty(),
        labels: Map::empty(),
        ..Network::default()
    };
    // Made for the first container that needs it.
    let Some(bridge) = call.door.engine.network().bridge().filter(|_| name == BRIDGE) else { return made };
    made.ipam.config = vec![IpamConfig {
        subnet: bridge.subnet.to_string(),
        gateway: bridge.gateway.to_string(),
        ip_range: bridge.range.map(|range| range.to_string()).unwrap_or_default(),
        ..IpamConfig::default()
    }]
    .into();
    made.options = [
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        ("com.docker.network.bridge.name", bridge.name),
        ("com.docker.network.driver.mtu", bridge.mtu.to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    made
}

/// The containers that are in a network now.
fn containers(call: &Call, network: &str) -> Map<NetworkContainer> {
    let mut all = Map::empty();
    for container in call.door.engine.containers() {
        let record = container.record();
        let mode = match record.options.network.mode.as_str() {
            "" | "default" => BRIDGE,
            mode => mode,
        };
        if mode != network || !record.state.status.is_alive() {
            continue;
        }
        let endpoint = record.endpoint.as_ref();
        let told = NetworkContainer {
            name: record.name.clone(),
            endpoint_id: into_api::endpoint_id(&record, network),
            mac_address: endpoint.map(|endpoint| endpoint.mac.to_string()).unwrap_or_default(),
            ipv4_address: endpoint
                .map(|endpoint| format!("{}/{}", endpoint.address, endpoint.prefix_len))
                .unwrap_or_default(),
            ..NetworkContainer::default()
        };
        all.insert(record.id.clone(), told);
    }
    all
}
