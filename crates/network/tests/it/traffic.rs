//! Packets that must arrive.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use gantry_network::{Network, PortRequest, Protocol};
use gantry_testkit::{Need, require};

use crate::host::{
    BridgeNetfilter, Container, Host, OUTSIDE, Server, UPLINK, address, connect, datagrams_arrive, on_host,
    port, within,
};

fn on_both(test: impl Fn(&Host) + Send + Sync) {
    for bridge_netfilter in [BridgeNetfilter::Off, BridgeNetfilter::On] {
        on_host(bridge_netfilter, |host| test(host));
    }
}

#[test]
fn a_container_reaches_a_neighbour_and_the_host() {
    require!(Need::Root, Need::Program("ip"));
    on_both(|host| {
        let network = Network::open(host.options()).unwrap();
        let (one, two) = (Container::start(&network, "one", &[]), Container::start(&network, "two", &[]));
        assert_eq!(one.endpoint.address, Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(one.endpoint.mac.to_string(), "02:42:ac:11:00:02");
        let _server = two.serve(80);
        assert_eq!(one.connect(two.at(80)).unwrap(), "172.17.0.2");
        assert_eq!(connect(two.at(80)).unwrap(), "172.17.0.1");
        let host_netns = crate::host::open("/proc/thread-self/ns/net".as_ref());
        let _server = Server::start(&host_netns, 81);
        assert_eq!(one.connect(address(one.endpoint.gateway, 81)).unwrap(), "172.17.0.2");
    });
}

#[test]
fn a_container_reaches_the_outside_under_the_hosts_address() {
    require!(Need::Root, Need::Program("ip"));
    on_both(|host| {
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[]);
        let _server = Server::start(&host.outside, 80);
        assert_eq!(container.connect(address(OUTSIDE, 80)).unwrap(), UPLINK.to_string());
    });
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    require!(Need::Root, Need::Program("ip"));
    on_both(|host| {
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[port(8080, 80)]);
        let neighbour = Container::start(&network, "two", &[]);
        let _server = container.serve(80);
        let bridge = container.endpoint.gateway;
        // The host: from its loopback address, which the container could not answer, as the bridge; else as itself.
        assert_eq!(connect(address(Ipv4Addr::LOCALHOST, 8080)).unwrap(), bridge.to_string());
        assert_eq!(connect(address(Ipv4Addr::new(127, 1, 2, 3), 8080)).unwrap(), bridge.to_string());
        assert_eq!(connect(address(bridge, 8080)).unwrap(), bridge.to_string());
        assert_eq!(connect(address(UPLINK, 8080)).unwrap(), UPLINK.to_string());
        // The outside, with its address kept.
        let seen = host.at_outside(|| connect(address(UPLINK, 8080)).unwrap());
        assert_eq!(seen, OUTSIDE.to_string());
        // A neighbour and the container itself, by addresses of the host.
        for to in [bridge, UPLINK] {
            assert!(neighbour.connect(address(to, 8080)).is_ok(), "neighbour by {to}");
            assert!(container.connect(address(to, 8080)).is_ok(), "itself by {to}");
        }
    });
}

#[test]
fn datagrams_reach_a_published_port_and_are_answered() {
    require!(Need::Root, Need::Program("ip"));
    on_both(|host| {
        let network = Network::open(host.options()).unwrap();
        let udp = PortRequest { protocol: Protocol::Udp, ..port(5353, 53) };
        let container = Container::start(&network, "one", &[udp]);
        let inside = within(&container.netns, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap());
        let answered = |client: UdpSocket, to: Ipv4Addr| {
            client.connect(address(to, 5353)).unwrap();
            client.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            client.send(b"question").unwrap();
            let mut buffer = [0; 16];
            let (_, from) = inside.recv_from(&mut buffer).unwrap();
            inside.send_to(b"answer", from).unwrap();
            client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..6], b"answer");
        };
        inside.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        answered(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap(), Ipv4Addr::LOCALHOST);
        let outside = host.at_outside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        answered(outside, UPLINK);
    });
}

#[test]
fn a_client_that_keeps_its_port_follows_published_ports() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        network.ensure().unwrap();
        let client = host.at_outside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4000)).unwrap());
        let to: SocketAddr = address(UPLINK, 5353);
        let receiver = |container: &Container| {
            within(&container.netns, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap())
        };
        // The connection is tracked before there is a port, and while its container is replaced.
        client.send_to(b"early", to).unwrap();
        let udp = PortRequest { protocol: Protocol::Udp, ..port(5353, 53) };
        let first = Container::start(&network, "first", std::slice::from_ref(&udp));
        let at = receiver(&first);
        assert!(datagrams_arrive(&client, to, &at));
        drop(at);
        first.stop(&network);
        network.settle();
        let second = Container::start(&network, "second", &[udp]);
        assert!(datagrams_arrive(&client, to, &receiver(&second)));
    });
}
