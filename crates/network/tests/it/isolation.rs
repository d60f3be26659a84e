//! Packets that must not arrive, and advisories by name.

use std::net::Ipv4Addr;

use gantry_network::{Error, Firewall, Neighbours, Network, Options};
use gantry_testkit::{Need, require};

use crate::host::{
    BridgeNetfilter, Container, OUTSIDE, Server, UPLINK, UPLINK_2, address, connect, ip, is_unreachable,
    on_host, port, port_at, within,
};

#[test]
fn cve_2025_67499_a_port_of_one_address_leaves_the_others_alone() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[port_at(UPLINK, 8080, 80)]);
        let _server = container.serve(80);
        assert!(connect(address(UPLINK, 8080)).is_ok());
        assert!(host.at_outside(|| connect(address(UPLINK, 8080))).is_ok());
        for other in [UPLINK_2, Ipv4Addr::LOCALHOST, container.endpoint.gateway] {
            assert!(is_unreachable(address(other, 8080)), "{other}");
        }
        assert!(host.at_outside(|| is_unreachable(address(UPLINK_2, 8080))));
        // Nor what only passes through: the port of another machine.
        let _theirs = Server::start(&host.outside, 8080);
        let neighbour = Container::start(&network, "two", &[]);
        assert_eq!(neighbour.connect(address(OUTSIDE, 8080)).unwrap(), UPLINK.to_string());
        assert_eq!(connect(address(OUTSIDE, 8080)).unwrap(), UPLINK.to_string());
    });
}

#[test]
fn a_port_of_the_loopback_address_is_not_the_outsides() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[port_at(Ipv4Addr::LOCALHOST, 8080, 80)]);
        let _server = container.serve(80);
        assert!(connect(address(Ipv4Addr::LOCALHOST, 8080)).is_ok());
        assert!(host.at_outside(|| is_unreachable(address(UPLINK, 8080))));
        // A neighbour on the wire that sends 127.0.0.1 to us, on a host whose administrator lets such packets in.
        std::fs::write("/proc/sys/net/ipv4/conf/up0/route_localnet", "1").unwrap();
        host.at_outside(|| {
            std::fs::write("/proc/sys/net/ipv4/conf/out0/route_localnet", "1").unwrap();
            ip(&format!("route add 127.0.0.0/8 via {UPLINK} dev out0"));
            assert!(is_unreachable(address(Ipv4Addr::LOCALHOST, 8080)));
        });
    });
}

#[test]
fn cve_2020_8558_the_hosts_loopback_address_is_not_the_containers() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[]);
        let host_netns = crate::host::open("/proc/thread-self/ns/net".as_ref());
        let _server = Server::start(&host_netns, 81);
        within(&container.netns, || {
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
            // Only 127.0.0.2, so that the way to it is not the container's own.
            ip("route del local 127.0.0.0/8 dev lo table local");
            ip(&format!("route add 127.0.0.2/32 via {} dev eth0", container.endpoint.gateway));
            assert!(is_unreachable(address(Ipv4Addr::new(127, 0, 0, 2), 81)));
        });
    });
}

#[test]
fn who_routes_to_containers_finds_no_port_that_was_not_published() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[port(8080, 80)]);
        let (_published, _other) = (container.serve(80), container.serve(81));
        host.at_outside(|| {
            ip(&format!("route add 172.17.0.0/16 via {UPLINK}"));
            assert!(connect(address(UPLINK, 8080)).is_ok());
            assert!(is_unreachable(container.at(80)));
            assert!(is_unreachable(container.at(81)));
        });
    });
}

#[test]
fn isolated_neighbours_reach_published_ports_alone() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let options = Options { neighbours: Neighbours::Isolated, ..host.options() };
        let network = Network::open(options).unwrap();
        let one = Container::start(&network, "one", &[port(8080, 80)]);
        let two = Container::start(&network, "two", &[]);
        let (_published, _other) = (one.serve(80), one.serve(81));
        within(&two.netns, || {
            assert!(is_unreachable(one.at(80)));
            assert!(connect(address(UPLINK, 8080)).is_ok());
            // Through the gateway, past the isolation of the bridge's ports.
            ip(&format!("route add {} via {}", one.endpoint.address, one.endpoint.gateway));
            assert!(is_unreachable(one.at(80)));
            assert!(is_unreachable(one.at(81)));
        });
        let _server = Server::start(&host.outside, 80);
        assert_eq!(two.connect(address(OUTSIDE, 80)).unwrap(), UPLINK.to_string());
    });
}

#[test]
fn isolated_neighbours_are_isolated_where_bridged_packets_are_filtered() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::On, |host| {
        let options = Options { neighbours: Neighbours::Isolated, ..host.options() };
        let network = Network::open(options).unwrap();
        let one = Container::start(&network, "one", &[port(8080, 80)]);
        let two = Container::start(&network, "two", &[]);
        let _published = one.serve(80);
        assert!(within(&two.netns, || is_unreachable(one.at(80))));
        assert!(host.at_outside(|| connect(address(UPLINK, 8080))).is_ok());
    });
}

#[test]
fn cve_2020_10749_nobody_takes_router_advertisements() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[]);
        let setting =
            |path: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{path}")).unwrap();
        assert_eq!(setting("gantry0/accept_ra"), "0\n");
        within(&container.netns, || {
            assert_eq!(setting("eth0/accept_ra"), "0\n");
            assert_eq!(setting("eth0/disable_ipv6"), "1\n");
            assert_eq!(setting("lo/disable_ipv6"), "0\n");
        });
    });
}

#[test]
fn the_host_becomes_no_router_between_its_other_networks() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        ip("link add up1 type veth peer name in1");
        ip("address add 203.0.113.1/24 dev up1");
        ip("link set up1 up");
        ip("link set in1 up");
        let network = Network::open(host.options()).unwrap();
        // One that is behind up1, as a container is behind the bridge.
        let beside = Container::start(&network, "beside", &[]);
        ip(&format!("link set in1 netns {}", beside.endpoint.netns.display()));
        within(&beside.netns, || {
            ip("link set eth0 down");
            ip("address add 203.0.113.2/24 dev in1");
            ip("link set in1 up");
            ip("route add default via 203.0.113.1");
        });
        let _server = Server::start(&host.outside, 80);
        host.at_outside(|| ip(&format!("route add 203.0.113.0/24 via {UPLINK}")));
        let unreachable = || within(&beside.netns, || is_unreachable(address(OUTSIDE, 80)));
        assert!(unreachable());
        // A later daemon, which finds forwarding on, still knows.
        drop(network);
        let network = Network::open(host.options()).unwrap();
        network.adopt(vec![beside.endpoint.clone()]).unwrap();
        assert!(unreachable());
        // A host that forwarded before goes on to do so.
        drop(network);
        std::fs::remove_file(host.netns_dir().join(".closed")).unwrap();
        let network = Network::open(host.options()).unwrap();
        network.adopt(vec![beside.endpoint.clone()]).unwrap();
        assert_eq!(beside.connect(address(OUTSIDE, 80)).unwrap(), "203.0.113.2");
    });
}

#[test]
fn without_a_firewall_nothing_is_published_and_no_table_is_left() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        network.ensure().unwrap();
        drop(network);
        let network = Network::open(Options { firewall: Firewall::Off, ..host.options() }).unwrap();
        let container = Container::start(&network, "one", &[]);
        let _server = container.serve(80);
        assert!(connect(container.at(80)).is_ok());
        // No rule is left that would keep this away.
        host.at_outside(|| {
            ip(&format!("route add 172.17.0.0/16 via {UPLINK}"));
            assert_eq!(connect(container.at(80)).unwrap(), OUTSIDE.to_string());
        });
        let path = network.create_netns("two").unwrap();
        let mut request = gantry_network::Attach::new("two", path);
        request.ports.push(port(8080, 80));
        assert!(matches!(network.attach(&request), Err(Error::Unsupported { .. })));
    });
}
