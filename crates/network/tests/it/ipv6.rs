//! Ports at the host's IPv6 addresses, which the daemon serves itself.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use gantry_network::{Attach, Error, Ipv6Ports, Network, Options, PortRequest, Protocol};
use gantry_testkit::{Need, require, until_true};

use crate::host::{BridgeNetfilter, Container, connect, is_unreachable, on_host, port, within};

const LIMIT: Duration = Duration::from_secs(10);

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)
}

/// A server that gives everything back, one client after the other.
fn echo(container: &Container, port: u16, clients: usize) -> std::thread::JoinHandle<()> {
    let listener = within(&container.netns, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    std::thread::spawn(move || {
        let serving: Vec<_> = (0..clients)
            .map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                std::thread::spawn(move || {
                    let mut bytes = Vec::new();
                    stream.read_to_end(&mut bytes).unwrap();
                    stream.write_all(&bytes).unwrap();
                })
            })
            .collect();
        for serving in serving {
            serving.join().unwrap();
        }
    })
}

#[test]
fn a_published_port_is_served_at_ipv6_too() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[port(8080, 80)]);
        let addresses: Vec<_> = container.endpoint.ports.iter().map(|port| port.host_ip).collect();
        let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        assert_eq!(addresses, everywhere);
        let server = container.serve(80);
        assert_eq!(connect(at(8080)).unwrap(), container.endpoint.gateway.to_string());
        // Nobody listens: the client's connection ends.
        drop(server);
        assert!(connect(at(8080)).is_ok_and(|text| text.is_empty()) || is_unreachable(at(8080)));
        container.stop(&network);
        until_true("the port is closed", || is_unreachable(at(8080)));
    });
}

#[test]
fn bytes_pass_whole_in_both_directions() {
    require!(Need::Root, Need::Program("ip"));
    const CLIENTS: usize = 8;
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[port(8080, 80)]);
        let server = echo(&container, 80, CLIENTS);
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                scope.spawn(move || {
                    let bytes: Vec<u8> = (0..4_000_000u32)
                        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 ^ client as u8)
                        .collect();
                    let mut stream = TcpStream::connect(at(8080)).unwrap();
                    stream.set_read_timeout(Some(LIMIT)).unwrap();
                    stream.write_all(&bytes).unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    let mut back = Vec::new();
                    stream.read_to_end(&mut back).unwrap();
                    assert!(back == bytes, "client {client} got {} bytes of {}", back.len(), bytes.len());
                });
            }
        });
        server.join().unwrap();
    });
}

#[test]
fn datagrams_are_answered() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let udp = PortRequest { protocol: Protocol::Udp, ..port(5353, 53) };
        let container = Container::start(&network, "one", &[udp]);
        let inside = within(&container.netns, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap());
        inside.set_read_timeout(Some(LIMIT)).unwrap();
        for round in 0..3u8 {
            let client = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
            client.connect(at(5353)).unwrap();
            client.set_read_timeout(Some(LIMIT)).unwrap();
            for _ in 0..2 {
                client.send(&[round; 1000]).unwrap();
                let mut buffer = [0; 2000];
                let (len, from) = inside.recv_from(&mut buffer).unwrap();
                assert_eq!(buffer[..len], [round; 1000]);
                inside.send_to(&[round + 100], from).unwrap();
                assert_eq!(client.recv(&mut buffer).unwrap(), 1);
                assert_eq!(buffer[0], round + 100);
            }
        }
    });
}

#[test]
fn a_later_daemon_serves_the_port_again() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[port(8080, 80)]);
        let _server = container.serve(80);
        assert!(connect(at(8080)).is_ok());
        drop(network);
        assert!(is_unreachable(at(8080)));
        let network = Network::open(host.options()).unwrap();
        assert!(network.adopt(vec![container.endpoint.clone()]).unwrap().is_empty());
        assert!(connect(at(8080)).is_ok());
        assert!(connect(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8080)).is_ok());
    });
}

#[test]
fn one_address_of_ipv6_is_that_one_alone() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let only = PortRequest { host_ip: Some(Ipv6Addr::LOCALHOST.into()), ..port(8080, 80) };
        let container = Container::start(&network, "one", std::slice::from_ref(&only));
        let _server = container.serve(80);
        assert!(connect(at(8080)).is_ok());
        assert!(is_unreachable(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8080)));
        assert!(TcpListener::bind((Ipv6Addr::UNSPECIFIED, 8080)).is_err());
    });
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(Options { ipv6_ports: Ipv6Ports::Off, ..host.options() }).unwrap();
        let container = Container::start(&network, "one", &[port(8080, 80)]);
        assert_eq!(container.endpoint.ports.len(), 1);
        assert!(is_unreachable(at(8080)));
        let mut request = Attach::new("two", network.create_netns("two").unwrap());
        request.ports.push(PortRequest { host_ip: Some(Ipv6Addr::LOCALHOST.into()), ..port(8081, 80) });
        assert!(matches!(network.attach(&request), Err(Error::Unsupported { .. })));
    });
}

#[test]
fn a_flood_has_a_limit_and_passes() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[port(8080, 80)]);
        let listener = within(&container.netns, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).unwrap());
        // Clients that do nothing, and a container that does not serve them.
        let idle: Vec<_> = (0..300).map(|_| TcpStream::connect(at(8080)).unwrap()).collect();
        drop(idle);
        drop(listener);
        let _server = container.serve(80);
        until_true("clients are served again", || connect(at(8080)).is_ok_and(|text| !text.is_empty()));
    });
}
