//! Networks, and containers in them.

use serde_json::Value;

use crate::wire::{List, Map, wire};

wire! {
    /// The networks that a container is made in.
    pub struct NetworkingConfig {
        put "EndpointsConfig" endpoints_config: Map<EndpointSettings>,
    }
}

wire! {
    /// A container in a network: what was asked for, and what it got.
    pub struct EndpointSettings {
        put "IPAMConfig" ipam_config: Option<EndpointIpamConfig>,
        put "Links" links: List<String>,
        put "Aliases" aliases: List<String>,
        put "MacAddress" mac_address: String,
        put "DriverOpts" driver_opts: Map<String>,
        /// Since 1.48.
        put "GwPriority" gw_priority: i64,
        put "NetworkID" network_id: String,
        put "EndpointID" endpoint_id: String,
        put "Gateway" gateway: String,
        put "IPAddress" ip_address: String,
        put "IPPrefixLen" ip_prefix_len: i64,
        put "IPv6Gateway" ipv6_gateway: String,
        put "GlobalIPv6Address" global_ipv6_address: String,
        put "GlobalIPv6PrefixLen" global_ipv6_prefix_len: i64,
        /// Since 1.44.
        put "DNSNames" dns_names: List<String>,
    }
}

wire! {
    /// Addresses that were asked for.
    pub struct EndpointIpamConfig {
        omit "IPv4Address" ipv4_address: String,
        omit "IPv6Address" ipv6_address: String,
        omit "LinkLocalIPs" link_local_ips: List<String>,
    }
}

wire! {
    /// A network: an element of `GET /networks`, and the answer to `GET /networks/{id}`.
    pub struct Network {
        put "Name" name: String,
        put "Id" id: String,
        put "Created" created: String,
        put "Scope" scope: String,
        put "Driver" driver: String,
        /// Since 1.48.
        put "EnableIPv4" enable_ipv4: bool,
        put "EnableIPv6" enable_ipv6: bool,
        put "IPAM" ipam: Ipam,
        put "Internal" internal: bool,
        put "Attachable" attachable: bool,
        put "Ingress" ingress: bool,
        put "ConfigFrom" config_from: ConfigReference,
        put "ConfigOnly" config_only: bool,
        /// By container id. Of lists, `{}`; since 1.52 not there.
        put "Containers" containers: Map<NetworkContainer>,
        put "Options" options: Map<String>,
        put "Labels" labels: Map<String>,
        omit "Peers" peers: List<Value>,
        omit "Services" services: Map<Value>,
        /// Since 1.52.
        omit "Status" status: Option<Value>,
    }
}

wire! {
    /// How addresses are given out.
    pub struct Ipam {
        put "Driver" driver: String,
        put "Options" options: Map<String>,
        put "Config" config: List<IpamConfig>,
    }
}

wire! {
    /// A pool of addresses.
    pub struct IpamConfig {
        omit "Subnet" subnet: String,
        omit "IPRange" ip_range: String,
        omit "Gateway" gateway: String,
        omit "AuxiliaryAddresses" auxiliary_addresses: Map<String>,
    }
}

wire! {
    /// The network whose configuration is used.
    pub struct ConfigReference {
        put "Network" network: String,
    }
}

wire! {
    /// A container of a network.
    pub struct NetworkContainer {
        put "Name" name: String,
        put "EndpointID" endpoint_id: String,
        put "MacAddress" mac_address: String,
        put "IPv4Address" ipv4_address: String,
        put "IPv6Address" ipv6_address: String,
    }
}

wire! {
    /// The body of `POST /networks/create`.
    pub struct NetworkCreateRequest {
        put "Name" name: String,
        /// Before 1.44, names were not unique.
        omit "CheckDuplicate" check_duplicate: Option<bool>,
        put "Driver" driver: String,
        put "Scope" scope: String,
        omit "EnableIPv4" enable_ipv4: Option<bool>,
        omit "EnableIPv6" enable_ipv6: Option<bool>,
        put "IPAM" ipam: Option<Ipam>,
        put "Internal" internal: bool,
        put "Attachable" attachable: bool,
        put "Ingress" ingress: bool,
        put "ConfigOnly" config_only: bool,
        put "ConfigFrom" config_from: Option<ConfigReference>,
        put "Options" options: Map<String>,
        put "Labels" labels: Map<String>,
    }
}

wire! {
    /// The answer to it.
    pub struct NetworkCreateResponse {
        put "Id" id: String,
        put "Warning" warning: String,
    }
}

wire! {
    /// The body of `POST /networks/{id}/connect`.
    pub struct NetworkConnectRequest {
        put "Container" container: String,
        omit "EndpointConfig" endpoint_config: Option<EndpointSettings>,
    }
}

wire! {
    /// The body of `POST /networks/{id}/disconnect`.
    pub struct NetworkDisconnectRequest {
        put "Container" container: String,
        put "Force" force: bool,
    }
}

wire! {
    /// The answer to `POST /networks/prune`.
    pub struct NetworkPruneResponse {
        put "NetworksDeleted" networks_deleted: List<String>,
    }
}
