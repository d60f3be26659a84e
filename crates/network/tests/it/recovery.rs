//! Daemons that die, and those that come after them.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use gantry_network::{Attach, Endpoint, Network, Options};
use gantry_testkit::{Need, require, until_true};

use crate::host::{BridgeNetfilter, Container, UPLINK, address, connect, ip, on_host, port};
use crate::lifecycle::devices;

/// A daemon that dies without a word: nothing of it but what is in the kernel stays.
fn die(network: Network) {
    std::mem::forget(network);
}

/// As the engine stores it.
fn stored(endpoint: &Endpoint) -> Endpoint {
    serde_json::from_str(&serde_json::to_string(endpoint).unwrap()).unwrap()
}

#[test]
fn a_later_daemon_takes_over_what_lives_and_removes_what_does_not() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let living = Container::start(&network, "living", &[port(0, 80)]);
        let unknown = Container::start(&network, "unknown", &[port(0, 80)]);
        let host_port = living.endpoint.ports[0].host_port;
        let server = living.serve(80);
        die(network);

        let network = Network::open(host.options()).unwrap();
        // Whoever has the port's socket in this process is the dead daemon, whose sockets are ours to keep.
        let lost = network.adopt(vec![stored(&living.endpoint)]).unwrap();
        assert_eq!(lost.len(), 2, "{lost:?}");
        assert_eq!(network.endpoints(), std::slice::from_ref(&living.endpoint));
        assert!(devices().contains(&living.endpoint.host_interface));
        assert!(!devices().contains(&unknown.endpoint.host_interface));
        assert!(connect(address(UPLINK, host_port)).is_ok());
        assert!(connect(address(UPLINK, unknown.endpoint.ports[0].host_port)).is_err());
        // What it has is not given again.
        let next = Container::start(&network, "next", &[]);
        assert!(next.endpoint.address > living.endpoint.address);
        assert!(next.connect(living.at(80)).is_ok());
        // And what was adopted goes like any other.
        drop(server);
        let (device, netns) = (living.endpoint.host_interface.clone(), network.netns_names().unwrap());
        assert_eq!(netns.len(), 3);
        living.stop(&network);
        network.settle();
        until_true("the device is gone", || !devices().contains(&device));
        assert!(connect(address(UPLINK, host_port)).is_err());
    });
}

#[test]
fn adopted_ports_are_kept_from_other_programs() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let mut container = Container::start(&network, "one", &[]);
        die(network);
        // As if it had been published: the dead daemon's sockets are gone with its process.
        container.endpoint.ports.push(gantry_network::PublishedPort {
            host_ip: Ipv4Addr::UNSPECIFIED.into(),
            host_port: 8080,
            container_port: 80,
            protocol: gantry_network::Protocol::Tcp,
        });
        let network = Network::open(host.options()).unwrap();
        assert!(network.adopt(vec![stored(&container.endpoint)]).unwrap().is_empty());
        assert!(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).is_err());
        let _server = container.serve(80);
        assert!(connect(address(Ipv4Addr::LOCALHOST, 8080)).is_ok());
    });
}

#[test]
fn rules_that_somebody_flushed_come_back() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let first = Container::start(&network, "first", &[port(8080, 80)]);
        let _server = first.serve(80);
        delete_table();
        assert!(connect(address(UPLINK, 8080)).is_err());
        network.rewrite_rules().unwrap();
        assert!(connect(address(UPLINK, 8080)).is_ok());
        // Also without being asked: with the next port, or the end of one.
        delete_table();
        let second = Container::start(&network, "second", &[port(8081, 80)]);
        assert!(connect(address(UPLINK, 8080)).is_ok());
        delete_table();
        second.stop(&network);
        network.settle();
        assert!(connect(address(UPLINK, 8080)).is_ok());
    });
}

/// As `nft flush ruleset` does it.
fn delete_table() {
    const DELTABLE: u16 = 10 << 8 | 2;
    let request = gantry_sys::netlink::Request::new(DELTABLE, 0, &[2, 0, 0, 0]).with(1, b"gantry\0");
    gantry_sys::netlink::Netlink::open_netfilter().unwrap().transact(10, vec![request]).unwrap();
}

#[test]
fn the_bridge_of_a_daemon_before_is_taken_as_it_is() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        ip("link add gantry0 type bridge");
        ip("address add 10.7.0.1/24 dev gantry0");
        let network = Network::open(host.options()).unwrap();
        assert!(network.adopt(Vec::new()).unwrap().is_empty());
        assert_eq!(network.bridge().unwrap().subnet, "10.7.0.0/24".parse().unwrap());
        let container = Container::start(&network, "one", &[]);
        assert_eq!(container.endpoint.address, Ipv4Addr::new(10, 7, 0, 2));
    });
}

#[test]
fn a_bridge_that_somebody_deleted_comes_back_with_its_ports() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let first = Container::start(&network, "first", &[port(8080, 80)]);
        let _server = first.serve(80);
        ip("link del gantry0");
        assert!(crate::host::is_unreachable(address(UPLINK, 8080)));
        // With the next container, or the next daemon.
        let second = Container::start(&network, "second", &[]);
        assert!(connect(address(UPLINK, 8080)).is_ok());
        assert!(connect(address(Ipv4Addr::LOCALHOST, 8080)).is_ok());
        assert!(second.connect(first.at(80)).is_ok());
        drop(network);
        ip("link del gantry0");
        let network = Network::open(host.options()).unwrap();
        network.adopt(vec![stored(&first.endpoint), stored(&second.endpoint)]).unwrap();
        assert!(connect(address(UPLINK, 8080)).is_ok());
        assert!(second.connect(first.at(80)).is_ok());
    });
}

const DIRECTORY: &str = "GANTRY_NETWORK_TEST_DIRECTORY";

/// Not a test by itself: what [`a_daemon_that_is_killed_leaves_nothing_that_the_next_does_not_find`] kills. Attaches and detaches
/// containers, and writes down what is attached as an engine does: after the attachment, before the detachment.
#[test]
fn work_until_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let network =
        Network::open(Options { netns_dir: directory.join("netns"), ..Options::default() }).unwrap();
    network.adopt(records(&directory).into_values().collect()).unwrap();
    let mut record = OpenOptions::new().append(true).create(true).open(directory.join("records")).unwrap();
    let mut write = |line: String| record.write_all((line + "\n").as_bytes()).unwrap();
    println!("begin");
    for number in 0.. {
        let id = format!("c{}-{number}", std::process::id());
        let mut request = Attach::new(&id, network.create_netns(&id).unwrap());
        request.ports = vec![port(0, 80)];
        let endpoint = network.attach(&request).unwrap();
        write(serde_json::to_string(&endpoint).unwrap());
        if number % 4 != 0 {
            write(format!("-{id}"));
            network.detach(&endpoint);
            network.remove_netns(&id).unwrap();
        }
    }
}

/// What is attached by the record, whose last line may be half written.
fn records(directory: &std::path::Path) -> std::collections::HashMap<String, Endpoint> {
    let mut found = std::collections::HashMap::new();
    for line in fs::read_to_string(directory.join("records")).unwrap_or_default().lines() {
        if let Some(id) = line.strip_prefix('-') {
            found.remove(id);
        } else if let Ok(endpoint) = serde_json::from_str::<Endpoint>(line) {
            found.insert(endpoint.id.clone(), endpoint);
        }
    }
    found
}

#[test]
fn a_daemon_that_is_killed_leaves_nothing_that_the_next_does_not_find() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let directory = host.netns_dir().parent().unwrap().to_owned();
        for round in 0..12u64 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["recovery::work_until_killed", "--exact", "--nocapture"])
                .env(DIRECTORY, &directory)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            // From its beginning, at a different instant each time.
            let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            while !line.contains("begin") {
                line.clear();
                assert_ne!(std::io::BufRead::read_line(&mut output, &mut line).unwrap(), 0);
            }
            std::thread::park_timeout(Duration::from_micros(round * 3_700));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let living = records(&directory);
        assert!(!living.is_empty());
        let network = Network::open(host.options()).unwrap();
        for name in network.netns_names().unwrap() {
            if !living.contains_key(&name) {
                network.remove_netns(&name).unwrap();
            }
        }
        let lost = network.adopt(living.values().cloned().collect()).unwrap();
        assert!(lost.is_empty(), "{lost:?}");
        let expected: HashSet<_> = living.values().map(|endpoint| endpoint.host_interface.clone()).collect();
        until_true("strays are gone", || {
            devices().into_iter().filter(|name| name.starts_with("veth")).collect::<HashSet<_>>() == expected
        });
        for endpoint in living.values() {
            let netns = crate::host::open(&endpoint.netns);
            let _server = crate::host::Server::start(&netns, 80);
            assert!(connect(address(UPLINK, endpoint.ports[0].host_port)).is_ok(), "{endpoint:?}");
        }
        for endpoint in living.values() {
            network.detach(endpoint);
            network.remove_netns(&endpoint.id).unwrap();
        }
        network.settle();
        until_true("devices are gone", || !devices().iter().any(|name| name.starts_with("veth")));
        assert!(network.netns_names().unwrap().is_empty());
        for endpoint in living.values() {
            assert!(connect(address(UPLINK, endpoint.ports[0].host_port)).is_err());
        }
    });
}
