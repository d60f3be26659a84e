//! A host of a test's own, and containers on it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use gantry_network::{Attach, Endpoint, Network, Options, PortRequest, Protocol};
use gantry_sys::ns;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{MountPropagationFlags, mount_change};

const NEWNET: u64 = 0x4000_0000;
const NEWNS: u64 = 0x0002_0000;
/// How long a packet may take that arrives, and one must be waited for that does not.
const ARRIVES: Duration = Duration::from_secs(5);
const NEVER: Duration = Duration::from_millis(300);

/// The host's address towards the outside, and the outside's.
pub(crate) const UPLINK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// A second address of the host's.
pub(crate) const UPLINK_2: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);

/// Whether bridged packets pass the filter of IPv4, which is a setting of hosts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BridgeNetfilter {
    On,
    Off,
}

/// What a test has.
pub(crate) struct Host {
    directory: tempfile::TempDir,
    pub(crate) outside: OwnedFd,
}

/// Runs a test in a network namespace that plays the host.
pub(crate) fn on_host(bridge_netfilter: BridgeNetfilter, test: impl FnOnce(&Host) + Send) {
    thread::scope(|scope| {
        let played = scope.spawn(|| {
            ns::unshare(NEWNET | NEWNS).unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            gantry_sys::net::loopback_up().unwrap();
            let value = match bridge_netfilter {
                BridgeNetfilter::On => "1",
                BridgeNetfilter::Off => "0",
            };
            std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", value).unwrap();
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
            let host = Host { directory: tempfile::tempdir().unwrap(), outside: new_netns() };
            let outside = format!("/proc/self/fd/{}", host.outside.as_raw_fd());
            let outside = host.directory.path().join("outside").to_str().map(|path| {
                std::fs::write(path, "").unwrap();
                rustix::mount::mount_bind(&outside, path).unwrap();
                path.to_owned()
            });
            ip(&format!("link add up0 type veth peer name out0 netns {}", outside.unwrap()));
            ip(&format!("address add {UPLINK}/24 dev up0"));
            ip(&format!("address add {UPLINK_2}/24 dev up0"));
            ip("link set up0 up");
            within(&host.outside, || {
                ip(&format!("address add {OUTSIDE}/24 dev out0"));
                ip("link set out0 up");
            });
            test(&host);
        });
        if let Err(panic) = played.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Runs something in a network namespace.
pub(crate) fn within<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            ns::setns(netns.as_fd(), NEWNET).unwrap();
            work()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn new_netns() -> OwnedFd {
    let made = thread::spawn(|| {
        ns::unshare(NEWNET).unwrap();
        OwnedFd::from(std::fs::File::open("/proc/thread-self/ns/net").unwrap())
    });
    made.join().unwrap()
}

impl Host {
    pub(crate) fn options(&self) -> Options {
        Options { netns_dir: self.directory.path().join("netns"), ..Options::default() }
    }

    pub(crate) fn netns_dir(&self) -> std::path::PathBuf {
        self.directory.path().join("netns")
    }

    /// Something of the outside's.
    pub(crate) fn at_outside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.outside, work)
    }
}

/// A container without processes.
pub(crate) struct Container {
    pub(crate) endpoint: Endpoint,
    pub(crate) netns: OwnedFd,
}

impl Container {
    pub(crate) fn start(network: &Network, id: &str, ports: &[PortRequest]) -> Self {
        let path = network.create_netns(id).unwrap();
        let request = Attach { ports: ports.to_vec(), ..Attach::new(id, &path) };
        let endpoint = network
            .attach(&request)
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        Container { endpoint, netns: open(&path) }
    }

    pub(crate) fn stop(self, network: &Network) {
        network.detach(&self.endpoint);
        network.remove_netns(&self.endpoint.id).unwrap();
    }

    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.endpoint.address.into(), port)
    }

    pub(crate) fn connect(&self, to: SocketAddr) -> io::Result<String> {
        within(&self.netns, || connect(to))
    }

    pub(crate) fn serve(&self, port: u16) -> Server {
        Server::start(&self.netns, port)
    }
}

pub(crate) fn open(path: &Path) -> OwnedFd {
    std::fs::File::open(path).unwrap().into()
}

pub(crate) fn port(host_port: u16, container_port: u16) -> PortRequest {
    PortRequest { host_ip: None, host_port, host_port_end: 0, container_port, protocol: Protocol::Tcp }
}

pub(crate) fn port_at(address: Ipv4Addr, host_port: u16, container_port: u16) -> PortRequest {
    PortRequest { host_ip: Some(address.into()), ..port(host_port, container_port) }
}

pub(crate) fn address(address: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(address), port)
}

/// Tells everybody who connects where they seem to be.
pub(crate) struct Server {
    _end: io::PipeWriter,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(netns: &OwnedFd, port: u16) -> Self {
        let listener = within(netns, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        let (ended, end) = io::pipe().unwrap();
        let thread = thread::spawn(move || {
            loop {
                let mut ready = [PollFd::new(&listener, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
                poll(&mut ready, None).unwrap();
                if !ready[1].revents().is_empty() {
                    return;
                }
                let Ok((mut stream, from)) = listener.accept() else { continue };
                let _ = stream.write_all(from.ip().to_string().as_bytes());
            }
        });
        Server { _end: end, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let (_, replacement) = io::pipe().unwrap();
        drop(std::mem::replace(&mut self._end, replacement));
        let _ = self.thread.take().unwrap().join();
    }
}

/// What a server says of where we come from.
pub(crate) fn connect(to: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, ARRIVES)?;
    stream.set_read_timeout(Some(ARRIVES))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Whether a connection is neither made nor, by anyone but the host itself, refused.
pub(crate) fn is_unreachable(to: SocketAddr) -> bool {
    TcpStream::connect_timeout(&to, NEVER).is_err()
}

/// Sends datagrams until one arrives.
pub(crate) fn datagrams_arrive(from: &UdpSocket, to: SocketAddr, at: &UdpSocket) -> bool {
    at.set_read_timeout(Some(NEVER)).unwrap();
    let began = Instant::now();
    while began.elapsed() < ARRIVES {
        from.send_to(b"hello", to).unwrap();
        if at.recv_from(&mut [0; 16]).is_ok() {
            return true;
        }
    }
    false
}
