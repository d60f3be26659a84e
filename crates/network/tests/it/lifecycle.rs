//! What comes and goes, and what is left.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use gantry_network::{Attach, Error, Network, Options};
use gantry_sys::ns;
use gantry_testkit::{DEADLINE, Need, require, until_true};
use gantry_types::ErrorKind;

use crate::host::{
    BridgeNetfilter, Container, Host, UPLINK, address, connect, ip, is_unreachable, on_host, port, within,
};

/// The devices of the namespace: a thread's own view of sysfs is its mount's, so the kernel is asked.
pub(crate) fn devices() -> HashSet<String> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    table.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

fn veths() -> usize {
    devices().iter().filter(|name| name.starts_with("veth")).count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn nothing_is_made_before_something_needs_it() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        assert!(network.adopt(Vec::new()).unwrap().is_empty());
        assert_eq!(network.bridge(), None);
        assert!(!devices().contains("gantry0"));
        let bridge = network.ensure().unwrap();
        assert_eq!(network.bridge(), Some(bridge));
        assert!(devices().contains("gantry0"));
    });
}

#[test]
fn nothing_is_left_after_a_detachment() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(Options { pool_size: 0, ..host.options() }).unwrap();
        let before = descriptors();
        for round in 0..3 {
            let first = Container::start(&network, "one", &[port(8080, 80)]);
            let second = Container::start(&network, "two", &[]);
            assert_eq!(veths(), 2);
            first.stop(&network);
            // Its network namespace stays, so that its device must be deleted.
            network.detach(&second.endpoint);
            network.settle();
            assert!(network.endpoints().is_empty());
            until_true("devices are gone", || veths() == 0);
            within(&second.netns, || assert!(!devices().contains("eth0")));
            second.stop(&network);
            network.settle();
            assert!(network.netns_names().unwrap().is_empty(), "round {round}");
        }
        assert!(is_unreachable(address(UPLINK, 8080)));
        // A program that another test is starting may have the socket for an instant.
        until_true("the port is free", || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).is_ok());
        // Other tests of this process have some, too; what leaks here grows with the rounds.
        assert!(descriptors() < before + 100, "{before} descriptors before, {} after", descriptors());
    });
}

#[test]
fn a_network_namespace_of_another_user_namespace_is_furnished_and_attached() {
    const BOTH: u64 = 0x1000_0000 | 0x4000_0000;
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let file = |pid: i32| std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
        let netns = gantry_sys::userns::visit(BOTH, |pid| OwnedFd::from(file(pid))).unwrap();
        let path = network.adopt_netns("owned", netns.try_clone().unwrap()).unwrap();
        let endpoint = network.attach(&Attach::new("owned", &path)).unwrap();
        let shown = within(&netns, || {
            let disabled = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
            // A kernel without IPv6 has no such file.
            assert_eq!(std::fs::read_to_string(disabled).unwrap_or("1\n".into()), "1\n");
            // The loopback device is up: nobody listens, but there is a way.
            let refused = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, 9)).unwrap_err().kind();
            assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
            devices()
        });
        assert_eq!(shown, HashSet::from(["lo".to_owned(), "eth0".to_owned()]));
        let again = network.adopt_netns("owned", netns).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        network.detach(&endpoint);
        network.remove_netns("owned").unwrap();
        network.settle();
        until_true("its device is gone", || veths() == 0);
    });
}

#[test]
fn a_port_leads_to_the_next_container_at_once() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let mut last = None;
        for round in 0..5 {
            let container = Container::start(&network, "one", &[port(8080, 80)]);
            let _server = container.serve(80);
            assert!(connect(address(UPLINK, 8080)).is_ok(), "round {round}");
            assert_ne!(Some(container.endpoint.address), last, "an address is given again at once");
            last = Some(container.endpoint.address);
            container.stop(&network);
        }
    });
}

#[test]
fn conflicts_are_told_in_dockers_words_and_leave_nothing() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let _one = Container::start(&network, "one", &[port(8080, 80)]);
        let path = network.create_netns("two").unwrap();
        let attach = |host_port: u16| {
            let mut request = Attach::new("two", &path);
            request.ports.push(port(host_port, 80));
            network.attach(&request)
        };
        let error = attach(8080).unwrap_err();
        assert_eq!(error.to_string(), "Bind for 0.0.0.0:8080 failed: port is already allocated");
        let theirs = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let error = attach(theirs.local_addr().unwrap().port()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(matches!(error, Error::PortInUse { .. }), "{error}");
        let same_id = network.attach(&Attach::new("one", &path)).unwrap_err();
        assert_eq!(same_id.kind(), ErrorKind::AlreadyExists);
        let taken = Attach { address: Some(Ipv4Addr::new(172, 17, 0, 2)), ..Attach::new("two", &path) };
        assert!(matches!(network.attach(&taken), Err(Error::AddressInUse { .. })));
        // The next address is not behind those of the failures: they gave them back.
        assert_eq!(veths(), 1);
        let endpoint = attach(8081).unwrap();
        assert!(network.endpoints().contains(&endpoint));
        // A second device of one name in one network namespace.
        let again = network.attach(&Attach::new("three", &path)).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        assert_eq!(veths(), 2);
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8081));
        assert!(listener.is_err(), "a published port can be taken by others");
    });
}

#[test]
fn a_file_that_is_no_network_namespace_is_refused() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        for path in ["/proc/self/ns/mnt", "/proc/self/status", "/dev/null", "/nowhere"] {
            assert!(matches!(network.attach(&Attach::new("one", path)), Err(Error::Netns { .. })), "{path}");
        }
        for name in ["", ".", "..", "a/b", ".hidden", "a\0b"] {
            assert!(matches!(network.create_netns(name), Err(Error::Invalid { .. })), "{name:?}");
            assert!(matches!(network.remove_netns(name), Err(Error::Invalid { .. })), "{name:?}");
        }
        assert!(network.remove_netns("nothing").is_ok());
        network.create_netns("one").unwrap();
        assert!(matches!(network.create_netns("one"), Err(Error::NetnsExists { .. })));
        network.remove_netns("one").unwrap();
        // What a killed daemon left: the file without the mount.
        std::fs::write(host.netns_dir().join("one"), "").unwrap();
        network.create_netns("one").unwrap();
    });
}

#[test]
fn a_hundred_containers_come_and_go_at_once() {
    require!(Need::Root, Need::Program("ip"));
    const CONTAINERS: usize = 100;
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let (next, started) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= CONTAINERS {
                            return;
                        }
                        let ports = if number.is_multiple_of(2) { vec![port(0, 80)] } else { Vec::new() };
                        let container = Container::start(&network, &format!("c{number}"), &ports);
                        started.lock().unwrap().push(container);
                    }
                });
            }
        });
        let started = started.into_inner().unwrap();
        let distinct =
            |of: &dyn Fn(&Container) -> String| started.iter().map(of).collect::<HashSet<_>>().len();
        assert_eq!(distinct(&|c| c.endpoint.address.to_string()), CONTAINERS);
        assert_eq!(distinct(&|c| c.endpoint.host_interface.clone()), CONTAINERS);
        assert_eq!(veths(), CONTAINERS);
        let published = started.iter().find(|container| !container.endpoint.ports.is_empty()).unwrap();
        let _server = published.serve(80);
        assert!(connect(address(UPLINK, published.endpoint.ports[0].host_port)).is_ok());
        drop(_server);
        for container in started {
            container.stop(&network);
        }
        network.settle();
        until_true("devices are gone", || veths() == 0);
        assert!(network.netns_names().unwrap().is_empty());
    });
}

#[test]
fn all_addresses_of_a_small_network_can_be_used_again_and_again() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let options = Options { subnet: "10.9.0.1/29".parse().ok(), ..host.options() };
        let network = Network::open(options).unwrap();
        for round in 0..3 {
            let containers: Vec<_> =
                (0..5).map(|number| Container::start(&network, &format!("c{round}-{number}"), &[])).collect();
            let path = network.create_netns("more").unwrap();
            let more = network.attach(&Attach::new("more", &path));
            assert!(matches!(more, Err(Error::AddressesExhausted { .. })), "{more:?}");
            network.remove_netns("more").unwrap();
            for container in containers {
                container.stop(&network);
            }
        }
    });
}

fn bridge_of(host: &Host, change: impl FnOnce(&mut Options)) -> Result<gantry_network::Bridge, Error> {
    let mut options = host.options();
    change(&mut options);
    Network::open(options)?.ensure()
}

#[test]
fn the_bridges_network_is_free_or_configured_or_that_which_it_has() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        ip("address add 172.17.5.5/24 dev up0");
        assert_eq!(bridge_of(host, |_| {}).unwrap().subnet, "172.18.0.0/16".parse().unwrap());
        ip("address del 172.17.5.5/24 dev up0");
        let again = bridge_of(host, |_| {}).unwrap();
        assert_eq!(again.subnet, "172.18.0.0/16".parse().unwrap());
        assert_eq!(again.gateway, Ipv4Addr::new(172, 18, 0, 1));
        let other = bridge_of(host, |options| {
            options.bridge = "br1".to_owned();
            options.subnet = "10.8.0.9/24".parse().ok();
        });
        let other = other.unwrap();
        assert_eq!(
            (other.gateway, other.subnet),
            (Ipv4Addr::new(10, 8, 0, 9), "10.8.0.0/24".parse().unwrap())
        );
        let taken = bridge_of(host, |options| options.bridge = "up0".to_owned());
        assert!(matches!(taken, Err(Error::NotABridge { .. })));
    });
}

#[test]
fn bytes_are_counted_from_the_containers_side() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[]);
        let before = network.counters(&container.endpoint).unwrap();
        let socket =
            within(&container.netns, || std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9)).unwrap());
        for _ in 0..10 {
            socket.send_to(&[0; 1000], address(container.endpoint.gateway, 9)).unwrap();
        }
        until_true("all are counted", || {
            let after = network.counters(&container.endpoint).unwrap();
            after.sent_packets - before.sent_packets >= 10 && after.sent_bytes - before.sent_bytes >= 10_000
        });
        let endpoint = container.endpoint.clone();
        container.stop(&network);
        network.settle();
        assert_eq!(network.counters(&endpoint).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_network_namespace_of_anothers_making_is_made_ready() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&host.outside));
        let endpoint = network.attach(&Attach::new("outside", path)).unwrap();
        host.at_outside(|| {
            let setting =
                |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/eth0/{name}"));
            assert_eq!(setting("accept_ra").unwrap(), "0\n");
            assert_eq!(setting("disable_ipv6").unwrap(), "1\n");
        });
        network.detach(&endpoint);
    });
}

#[test]
fn a_network_that_goes_finishes_its_work() {
    require!(Need::Root, Need::Program("ip"));
    on_host(BridgeNetfilter::Off, |host| {
        let network = Network::open(host.options()).unwrap();
        let container = Container::start(&network, "one", &[port(8080, 80)]);
        network.detach(&container.endpoint);
        network.detach(&container.endpoint);
        let began = std::time::Instant::now();
        drop(network);
        assert!(began.elapsed() < DEADLINE);
        assert_eq!(veths(), 0);
        assert!(ns::kind(std::os::fd::AsFd::as_fd(&container.netns)).is_ok());
    });
}
