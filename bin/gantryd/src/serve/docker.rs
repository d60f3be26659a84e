//! From the configuration, `daemon.json` included, to the engine and the Docker door.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use gantry_config::Config;
use gantry_config::docker::{Bridge, CgroupDriver, DaemonRuntime, DockerDaemon, DoorAddress, DoorTls};
use gantry_door_docker::{About, Listener};
use gantry_engine::{Engine, LogOptions, Parts, Settings};
use gantry_network::{Firewall, Forwarding, Masquerade, Neighbours, Network, Options as NetworkOptions};
use gantry_primitives::tasks::{DEFAULT_RUNTIME, Tasks};
use gantry_primitives::{Access, Store};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::sync::watch;

use super::incoming;
use super::socket::{Remove, Socket};

/// The socket's usual place, which moves with the state directory.
const USUAL: &str = "/run/gantry/docker.sock";
const FILE: &str = "docker.sock";
/// The static binary that is an init under the name that containers see it by.
const INIT: &str = "gantry-runtime";
/// The inits of others, where ours is not installed: static ones, as the container has no libraries of the host's.
const INITS: [&str; 3] = ["/usr/libexec/docker/docker-init", "/usr/bin/docker-init", "/usr/bin/tini-static"];
/// Docker's names for what ours does.
const RUNTIMES: [&str; 3] = ["runc", "gantry", RUNC];
/// runc's shim, for which ours stands in.
const RUNC: &str = "io.containerd.runc.v2";
const DEFAULT: &str = "runc";
const GROUP: &str = "docker";

/// What the two files say together.
pub(crate) fn read(config: &Config) -> Result<DockerDaemon> {
    let path = &config.docker.daemon_json;
    let daemon = match path.exists() {
        true => DockerDaemon::load(path)?,
        false => DockerDaemon::parse(path, "{}")?,
    };
    let mut daemon = daemon.under(&config.docker);
    let state = &config.store.state;
    for host in &mut daemon.hosts {
        if *host == DoorAddress::Unix(USUAL.into()) {
            *host = DoorAddress::Unix(state.join(FILE));
        }
    }
    Ok(daemon)
}

/// Where the door listens.
pub(crate) struct Doors {
    pub(crate) unix: Vec<Socket>,
    tcp: Vec<TcpListener>,
}

impl Doors {
    /// Takes the sockets from the service manager's, or makes them. Before there are threads.
    pub(crate) fn open(daemon: &DockerDaemon, given: &mut Vec<OwnedFd>) -> Result<Self> {
        let gid = group(daemon.group.as_deref())?;
        let mut doors = Self { unix: Vec::new(), tcp: Vec::new() };
        for host in &daemon.hosts {
            match host {
                DoorAddress::Unix(path) => doors.unix.push(Socket::open(path, 0, gid, given)?),
                DoorAddress::Tcp { host, .. } => {
                    let port = host_port(daemon, host)?;
                    doors.tcp.push(tcp(host, port, given)?);
                }
                DoorAddress::Inherited => {}
            }
        }
        Ok(doors)
    }

    /// Other descriptors of all listeners, for the next binary.
    pub(crate) fn others(&self) -> std::io::Result<Vec<OwnedFd>> {
        let unix = self.unix.iter().map(|socket| socket.another().map(|(fd, _)| fd));
        let tcp = self.tcp.iter().map(|listener| listener.try_clone().map(OwnedFd::from));
        unix.chain(tcp).collect()
    }

    /// The listeners of the door, and what removes the sockets' files.
    pub(crate) fn listeners(self, daemon: &DockerDaemon) -> Result<(Vec<Listener>, Vec<Remove>)> {
        let tls = daemon.tls.as_ref().map(server_tls).transpose()?;
        let mut listeners = Vec::new();
        let mut removes = Vec::new();
        for socket in self.unix {
            let (listener, peers, remove) = socket.into_parts();
            let listener = Arc::new(tokio::net::UnixListener::from_std(listener)?);
            listeners.push(Listener::Unix(Box::pin(incoming::incoming(listener, peers))));
            removes.push(remove);
        }
        for listener in self.tcp {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            listeners.push(match &tls {
                Some(tls) => Listener::Tls(listener, Arc::clone(tls)),
                None => {
                    tracing::warn!(
                        address = ?listener.local_addr().ok(),
                        "whoever reaches this port is root: give it certificates ([docker] tlsverify)"
                    );
                    Listener::Tcp(listener)
                }
            });
        }
        Ok((listeners, removes))
    }
}

fn host_port(daemon: &DockerDaemon, host: &str) -> Result<u16> {
    let find =
        |address: &&DoorAddress| matches!(address, DoorAddress::Tcp { host: other, .. } if other == host);
    let address = daemon.hosts.iter().find(find);
    address
        .and_then(|address| address.port(daemon.tls.as_ref()))
        .ok_or_else(|| anyhow!("tcp://{host} has no port"))
}

/// The group of the sockets: docker's if it is there, else root's.
fn group(name: Option<&str>) -> Result<u32> {
    let wanted = name.unwrap_or(GROUP);
    if let Ok(number) = wanted.parse() {
        return Ok(number);
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let found = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(wanted)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    match (found, name) {
        (Some(gid), _) => Ok(gid),
        (None, None) => Ok(0),
        (None, Some(name)) => bail!("docker.group: there is no group {name:?}"),
    }
}

fn tcp(host: &str, port: u16, given: &mut Vec<OwnedFd>) -> Result<TcpListener> {
    use std::net::{SocketAddr, ToSocketAddrs as _};
    let address = (host, port).to_socket_addrs().with_context(|| format!("tcp://{host}:{port}"))?.next();
    let address = address.with_context(|| format!("tcp://{host}:{port}: it has no address"))?;
    let is_it = |fd: &OwnedFd| {
        let bound = rustix::net::getsockname(fd).ok().and_then(|any| SocketAddr::try_from(any).ok());
        bound == Some(address)
    };
    let listener = match given.iter().position(is_it) {
        Some(index) => TcpListener::from(given.remove(index)),
        None => TcpListener::bind(address).with_context(|| format!("cannot listen at {address}"))?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn server_tls(tls: &DoorTls) -> Result<Arc<rustls::ServerConfig>> {
    let file = |path: &Option<PathBuf>, key: &str| {
        path.clone().with_context(|| format!("docker.{key}: TLS needs it"))
    };
    let cert = file(&tls.cert, "tlscert")?;
    let key = file(&tls.key, "tlskey")?;
    let chain = certificates(&cert)?;
    let key = PrivateKeyDer::from_pem_file(&key).with_context(|| format!("cannot read {}", key.display()))?;
    let builder = rustls::ServerConfig::builder();
    let builder = if tls.verify {
        let ca = file(&tls.ca, "tlscacert")?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&ca)? {
            roots
                .add(certificate)
                .with_context(|| format!("cannot take a certificate of {}", ca.display()))?;
        }
        builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).context("the certificate does not fit its key")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || format!("cannot read {}", path.display());
    CertificateDer::pem_file_iter(path).with_context(read)?.collect::<Result<_, _>>().with_context(read)
}

/// Opens the engine.
pub(crate) async fn open(
    config: &Config,
    daemon: &DockerDaemon,
    store: &Store,
    tasks: &Arc<Tasks>,
    access: watch::Receiver<Access>,
) -> Result<Engine> {
    let network = network(config, daemon)?;
    let network =
        tokio::task::spawn_blocking(move || Network::open(network)).await.context("the network panicked")?;
    let parts = Parts {
        store: store.clone(),
        tasks: Arc::clone(tasks),
        network: network.context("cannot open the network")?,
        settings: settings(config, daemon)?,
        access,
    };
    Engine::open(parts).await.context("cannot open the engine")
}

fn network(config: &Config, daemon: &DockerDaemon) -> Result<NetworkOptions> {
    let said = &daemon.network;
    let usual = NetworkOptions::default();
    let bridge = match &said.bridge {
        Some(Bridge::Named(name)) => name.clone(),
        _ => usual.bridge.clone(),
    };
    Ok(NetworkOptions {
        bridge,
        subnet: said.bip.map(|net| net.trunc()),
        gateway: said.bip.map(|net| net.addr()),
        fixed_cidr: said.fixed_cidr,
        mtu: said.mtu.unwrap_or(usual.mtu),
        neighbours: if said.icc { Neighbours::Reachable } else { Neighbours::Isolated },
        masquerade: if said.ip_masquerade { Masquerade::On } else { Masquerade::Off },
        forwarding: if said.ip_forward { Forwarding::Enable } else { Forwarding::Leave },
        firewall: if said.iptables { Firewall::Nftables } else { Firewall::Off },
        default_bind_address: said.publish_address,
        netns_dir: config.store.state.join("netns"),
        ..usual
    })
}

fn settings(config: &Config, daemon: &DockerDaemon) -> Result<Settings> {
    let said = &daemon.containers;
    let network = &daemon.network;
    let mut runtimes: BTreeMap<String, String> =
        RUNTIMES.iter().map(|name| ((*name).to_owned(), DEFAULT_RUNTIME.to_owned())).collect();
    runtimes.extend(config.runtimes.keys().map(|name| (name.clone(), name.clone())));
    for (name, runtime) in &said.runtimes {
        match runtime {
            DaemonRuntime::Shim { kind, .. } => runtimes.insert(name.clone(), kind.clone()),
            // An OCI runtime's binary: our shim executes it by its table in our own file.
            DaemonRuntime::Binary { path, .. } if config.runtimes.contains_key(name) => {
                tracing::debug!(name, path = %path.display(), "daemon.json's runtime is that of [runtimes]");
                None
            }
            DaemonRuntime::Binary { .. } => {
                tracing::warn!(
                    name,
                    "a runtime of daemon.json needs a table [runtimes.{name}] with its binary"
                );
                None
            }
        };
    }
    let seccomp_profile = match said.seccomp_profile.as_deref() {
        None | Some("" | "builtin") => None,
        Some("unconfined") => {
            bail!("daemon.json: seccomp-profile \"unconfined\" is not supported: give it to containers")
        }
        Some(path) => Some(std::fs::read_to_string(path).with_context(|| format!("seccomp-profile {path}"))?),
    };
    let ours =
        config.runtimes.iter().filter(|(_, table)| table.path.is_none()).map(|(name, _)| name.as_str());
    let runc_like = ours.chain([DEFAULT_RUNTIME, RUNC]).map(str::to_owned).collect();
    Ok(Settings {
        root: config.store.root.clone(),
        state: config.store.state.clone(),
        runtime: if said.default_runtime.is_empty() {
            DEFAULT.to_owned()
        } else {
            said.default_runtime.clone()
        },
        runtimes,
        runc_like,
        log: LogOptions { driver: said.log_driver.clone(), options: said.log_opts.clone() },
        cgroup_parent: said.cgroup_parent.clone().unwrap_or_default(),
        systemd_cgroups: said
            .cgroup_driver
            .map_or_else(is_systemds, |driver| driver == CgroupDriver::Systemd),
        init: init(),
        init_by_default: said.init,
        shm_size: said.shm_bytes,
        ulimits: said.ulimits.iter().map(|(name, limit)| (name.clone(), limit.soft, limit.hard)).collect(),
        dns: network.dns.iter().map(ToString::to_string).collect(),
        dns_search: network.dns_search.clone(),
        dns_options: network.dns_options.clone(),
        seccomp_profile,
        no_new_privileges: said.no_new_privileges,
        cgroupns_mode: match said.private_cgroupns {
            Some(true) => "private".to_owned(),
            Some(false) => "host".to_owned(),
            None => String::new(),
        },
        ipc_mode: if said.shareable_ipc { "shareable".to_owned() } else { String::new() },
        cdi_directories: said.cdi_spec_dirs.clone(),
        show_foreign: config.docker.foreign == gantry_config::Foreign::List,
        userns: gantry_engine::UsernsSettings {
            remap: said.userns_remap.clone().filter(|user| !user.is_empty()),
            mode: config.docker.userns_mode.parse().context("docker.userns_mode")?,
            auto_user: config.docker.userns_auto_user.clone(),
        },
    })
}

/// Whether the tree of cgroups is systemd's, so that nobody else makes any at its root: docker's default, too.
fn is_systemds() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists() && Path::new("/run/systemd/system").is_dir()
}

/// What `--init` runs: ours beside the daemon or in `PATH`, else another's.
fn init() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name(INIT));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let ours = std::env::split_paths(&path).map(|directory| directory.join(INIT)).collect::<Vec<_>>();
    let others = INITS.iter().map(PathBuf::from);
    beside.into_iter().chain(ours).chain(others).find(|path| path.is_file())
}

/// Who the door says that it is.
pub(crate) fn about(config: &Config, daemon: &DockerDaemon, id: &str, revision: &str) -> About {
    About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: revision.to_owned(),
        id: id.to_owned(),
        containerd_address: config.grpc.address.display().to_string(),
        labels: daemon.labels.clone(),
        live_restore: true,
        insecure_registries: daemon.registry.insecure.clone(),
        mirrors: daemon.registry.mirrors.clone(),
        debug: matches!(config.debug.level, gantry_config::Level::Debug | gantry_config::Level::Trace),
        ..About::default()
    }
}
