//! Beside other engines and firewalls.

use std::net::Ipv4Addr;
use std::process::Command;

use gantry_network::{HostFacts, Network};
use gantry_testkit::{Need, require};

use crate::host::{
    BridgeNetfilter, Container, OUTSIDE, Server, UPLINK, address, connect, is_unreachable, on_host, port,
};

fn iptables(arguments: &str) {
    let status = Command::new("iptables").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "iptables {arguments}");
}

#[test]
fn a_host_without_others_has_nothing_to_tell() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let facts = HostFacts::find();
        assert_eq!(facts.nf_tables_error, None);
        assert_eq!((facts.ip_forward, facts.bridge_netfilter), (Some(false), Some(false)));
        let network = Network::open(host.options()).unwrap();
        network.ensure().unwrap();
        let facts = HostFacts::find();
        assert_eq!(facts.ip_forward, Some(true));
        assert!(facts.forward_drops.is_empty(), "{facts:?}");
    });
}

#[test]
fn dockers_policy_is_found_and_its_remedy_works() {
    require!(Need::Root, Need::Program("ip"), Need::Program("iptables"));
    on_host(BridgeNetfilter::Off, |host| {
        iptables("-N DOCKER-USER");
        iptables("-P FORWARD DROP");
        iptables("-I FORWARD -j DOCKER-USER");
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[port(8080, 80)]);
        let neighbour = Container::start(&network, "two", &[]);
        let (_inside, _outside) = (container.serve(80), Server::start(&host.outside, 80));
        let found = HostFacts::find().forward_drops;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].table.as_str(), found[0].name.as_str()), ("filter", "FORWARD"));
        // What nobody forwards arrives: from the host, and between neighbours below the bridge.
        assert!(connect(address(Ipv4Addr::LOCALHOST, 8080)).is_ok());
        assert!(neighbour.connect(container.at(80)).is_ok());
        assert!(host.at_outside(|| is_unreachable(address(UPLINK, 8080))));
        iptables("-I DOCKER-USER -i gantry0 -j ACCEPT");
        iptables("-I DOCKER-USER -o gantry0 -j ACCEPT");
        assert!(host.at_outside(|| connect(address(UPLINK, 8080))).is_ok());
        assert!(container.connect(address(OUTSIDE, 80)).is_ok());
        // And it opens nothing that our own rules close.
        host.at_outside(|| {
            crate::host::ip(&format!("route add 172.17.0.0/16 via {UPLINK}"));
            assert!(is_unreachable(container.at(80)));
        });
    });
}
