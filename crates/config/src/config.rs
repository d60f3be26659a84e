//! Every key there is. The documentation of the fields is the documentation of the keys.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::docker::{AddressPool, DoorAddress};
use crate::section::{Section, section};
use crate::value::{Endpoint, Interface, Size, words};

/// The configuration of `gantryd`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// The keys above the first table.
    pub store: Store,
    /// `[grpc]`.
    pub grpc: Grpc,
    /// `[ttrpc]`.
    pub ttrpc: Ttrpc,
    /// `[debug]`.
    pub debug: Debug,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[tracing]`.
    pub tracing: Tracing,
    /// `[registry]`.
    pub registry: Registry,
    /// `[registry.timeouts]`.
    pub registry_timeouts: RegistryTimeouts,
    /// `[registry.retry]`.
    pub registry_retry: RegistryRetry,
    /// `[pull]`.
    pub pull: Pull,
    /// `[images]`.
    pub images: Images,
    /// `[content]`.
    pub content: Content,
    /// `[snapshots]`.
    pub snapshots: Snapshots,
    /// `[gc]`.
    pub gc: Gc,
    /// `[tasks]`.
    pub tasks: Tasks,
    /// `[docker]`.
    pub docker: Docker,
    /// `[limits.registry]`.
    pub registry_limits: RegistryLimits,
    /// `[limits.content]`.
    pub content_limits: ContentLimits,
    /// `[limits.layers]`.
    pub layer_limits: LayerLimits,
    /// `[limits.events]`.
    pub event_limits: EventLimits,
    /// `[proxy_plugins.<name>]`.
    pub proxy_plugins: BTreeMap<String, ProxyPlugin>,
    /// `[runtimes.<name>]`.
    pub runtimes: BTreeMap<String, Runtime>,
}

section! {
    /// The keys above the first table.
    Store {
        /// The directory of everything that is kept: content, snapshots, the database.
        root: PathBuf = "/var/lib/gantry".into(),
        /// The directory of everything that a reboot may take: sockets, bundles.
        state: PathBuf = "/run/gantry".into(),
        /// When a change of the records is on the disk: `normal` forces it within 100 ms, `full` before it is answered.
        durability: Durability = Durability::Normal,
    }
}

words! {
    /// When a change of the records is on the disk.
    Durability: "\"normal\" or \"full\"" {
        /// Within 100 ms.
        Normal = "normal",
        /// Before the answer.
        Full = "full",
    }
}

section! {
    /// The socket of the gRPC services.
    Grpc {
        /// The path of the socket.
        address: PathBuf = "/run/gantry/gantry.sock".into(),
        /// The user that the socket belongs to.
        uid: u32 = 0,
        /// The group that the socket belongs to; it may connect.
        gid: u32 = 0,
        /// The largest message that is taken.
        max_recv_message_size: Size = Size(16 << 20),
        /// The largest message that is sent.
        max_send_message_size: Size = Size(16 << 20),
    }
}

section! {
    /// The socket on which shims report events.
    Ttrpc {
        /// The path of the socket; if it is not given, that of `[grpc]` with `.ttrpc` after it.
        address: Option<PathBuf> = None,
        /// The user that the socket belongs to.
        uid: u32 = 0,
        /// The group that the socket belongs to.
        gid: u32 = 0,
    }
}

section! {
    /// The log, and the socket for profiles.
    Debug {
        /// The least severe entry that is logged.
        level: Level = Level::Info,
        /// How entries are written.
        format: LogFormat = LogFormat::Text,
        /// The path of a socket that tells what the daemon is doing; none if it is not given.
        address: Option<PathBuf> = None,
        /// The user that this socket belongs to.
        uid: u32 = 0,
        /// The group that this socket belongs to.
        gid: u32 = 0,
    }
}

words! {
    /// How severe an entry of the log is.
    Level: "\"trace\", \"debug\", \"info\", \"warn\" or \"error\"" {
        /// Every step.
        Trace = "trace",
        /// What developers want.
        Debug = "debug",
        /// What an operator wants in production.
        Info = "info",
        /// Abnormal but harmless.
        Warn = "warn",
        /// A requested thing did not happen.
        Error = "error",
    }
}

words! {
    /// How entries of the log are written.
    LogFormat: "\"text\" or \"json\"" {
        /// For people.
        Text = "text",
        /// For programs, one object a line.
        Json = "json",
    }
}

section! {
    /// Metrics in the format of Prometheus.
    Metrics {
        /// Where they are served, at `/v1/metrics`; nowhere if it is not given.
        address: Option<SocketAddr> = None,
        /// Whether the time of each gRPC method is measured.
        grpc_histogram: bool = false,
    }
}

section! {
    /// Traces by OpenTelemetry.
    Tracing {
        /// The URL of the collector (OTLP over HTTP), with `/v1/traces` after it if it has no path; no traces if neither it nor `OTEL_EXPORTER_OTLP_ENDPOINT` is given.
        endpoint: Option<Endpoint> = None,
        /// The part of the requests that is traced, where whoever asks has not decided it; `OTEL_TRACES_SAMPLER` if it is 1.
        sampling_ratio: f64 = 1.0,
        /// The name of this daemon in the traces; `OTEL_SERVICE_NAME` goes before it.
        service_name: String = "gantryd".into(),
    }
}

section! {
    /// Where registries are, and who we are there.
    Registry {
        /// Directories with a directory for each registry that has a `hosts.toml` or certificates; the first that has the registry counts.
        config_path: Vec<PathBuf> = vec!["/etc/containerd/certs.d".into(), "/etc/docker/certs.d".into()],
        /// A `config.json` of Docker's command line with credentials for requests that bring none.
        docker_config: Option<PathBuf> = None,
        /// The longest time that a credential helper may take.
        helper_timeout: Duration = Duration::from_secs(30),
        /// Whether a registry on TLS may lead to content on plain HTTP.
        plain_http_elsewhere: bool = false,
    }
}

section! {
    /// How long a registry may take.
    RegistryTimeouts {
        /// For a connection, TLS and a proxy included.
        dial: Duration = Duration::from_secs(30),
        /// From the end of a request to the head of its answer.
        response: Duration = Duration::from_secs(60),
        /// The same at the end of an upload.
        commit: Duration = Duration::from_secs(900),
        /// The longest time in which a body does not advance.
        stall: Duration = Duration::from_secs(60),
        /// For the whole of a manifest or another small document.
        document: Duration = Duration::from_secs(120),
        /// After which an unused connection is closed.
        idle: Duration = Duration::from_secs(60),
    }
}

section! {
    /// What happens after an answer of 408, 429 or 5xx, or a broken connection.
    RegistryRetry {
        /// The most attempts in a row at one host that bring nothing.
        attempts: u32 = 5,
        /// The first pause; each next one is twice as long.
        pause: Duration = Duration::from_millis(250),
        /// The longest pause of our own.
        longest_pause: Duration = Duration::from_secs(10),
        /// The longest pause that a registry may ask for.
        longest_retry_after: Duration = Duration::from_secs(60),
    }
}

section! {
    /// How images are pulled and pushed.
    Pull {
        /// The most layers that are fetched at the same time, in all pulls together; each needs a few MiB. 0 for six.
        max_concurrent_downloads: u32 = 0,
        /// The most blobs of one image that are pushed at the same time.
        max_concurrent_uploads: u32 = 3,
        /// The most layers that are unpacked at the same time; 0 for as many as there are processors.
        max_concurrent_unpacks: u32 = 0,
        /// The size from which a blob is fetched in parts; 0 for never.
        ranges_from: Size = Size(256 << 20),
        /// The size of a part.
        range_size: Size = Size(4 << 20),
        /// The most parts of one blob that are fetched at the same time.
        ranges: u32 = 4,
    }
}

section! {
    /// Names of images.
    Images {
        /// The containerd namespaces that see and share the image names of the Docker door, CRI and the command line.
        shared_namespaces: Vec<String> = vec!["k8s.io".into(), "moby".into()],
    }
}

section! {
    /// Blobs.
    Content {
        /// Whether a namespace gets a blob that another one has without sending its bytes: `shared` or `isolated`.
        sharing_policy: SharingPolicy = SharingPolicy::Shared,
    }
}

words! {
    /// Whether namespaces share blobs without sending them.
    SharingPolicy: "\"shared\" or \"isolated\"" {
        /// Who knows the digest has the blob.
        Shared = "shared",
        /// Everybody sends it.
        Isolated = "isolated",
    }
}

section! {
    /// Snapshots.
    Snapshots {
        /// The driver that is used when a request names none; it may be the name of a proxy plugin.
        default: String = "overlayfs".into(),
    }
}

section! {
    /// When unreferenced content and snapshots are removed.
    Gc {
        /// The largest part of the time that collections may pause writers, at most 0.5.
        pause_threshold: f64 = 0.02,
        /// After how many deletions a collection is due; 0 for the next of the others.
        deletion_threshold: u32 = 0,
        /// After how many changes a collection is due; 0 for never.
        mutation_threshold: u32 = 100,
        /// How long after it is due: a client that removes one thing is about to remove another.
        schedule_delay: Duration = Duration::from_millis(100),
        /// How long after the start of the daemon the first one is.
        startup_delay: Duration = Duration::from_millis(100),
    }
}

section! {
    /// How much a registry may send, and how much it is asked for.
    RegistryLimits {
        /// The largest manifest or index.
        manifest_bytes: Size = Size(4 << 20),
        /// The largest token answer, list of tags or list of referrers.
        document_bytes: Size = Size(4 << 20),
        /// The most pages of a list.
        pages: u32 = 10_000,
        /// The most entries of a list.
        entries: usize = 1_000_000,
        /// The most redirects of one request.
        redirects: u32 = 10,
        /// The most requests that a host is asked at the same time.
        requests_per_host: usize = 32,
        /// The most connections to a host that are kept for later.
        idle_connections_per_host: usize = 8,
        /// The largest read from a connection of HTTP/1.
        read_bytes: Size = Size(512 << 10),
        /// How much a server may send ahead on one stream of HTTP/2.
        stream_window_bytes: u32 = 4 << 20,
        /// How much a server may send ahead on one connection of HTTP/2.
        connection_window_bytes: u32 = 16 << 20,
        /// The size of a part when a blob is pushed in parts.
        upload_chunk_bytes: Size = Size(16 << 20),
        /// The most tokens that are remembered.
        tokens: usize = 1024,
    }
}

section! {
    /// What content may be.
    ContentLimits {
        /// After which an upload that nobody goes on with is removed.
        ingest_idle: Duration = Duration::from_secs(24 * 3600),
    }
}

section! {
    /// What a layer may be, whoever made it.
    LayerLimits {
        /// The most entries, and directories that they imply.
        entries: u64 = 8_000_000,
        /// The largest layer, uncompressed.
        archive_bytes: Size = Size(1 << 40),
        /// The largest file with its holes.
        file_bytes: Size = Size(1 << 42),
        /// The most components of a name.
        depth: usize = 2048,
        /// The largest extended header.
        pax_bytes: Size = Size(1 << 20),
        /// The most extended attributes of one file.
        xattrs: usize = 1024,
        /// The most names of one file.
        links: u64 = 1_000_000,
        /// The most parts of one sparse file.
        sparse_parts: usize = 1 << 20,
        /// The memory for names that are kept until the end of a layer.
        names_bytes: Size = Size(256 << 20),
        /// How many times its compressed size a layer may have, once it has more than `ratio_grace_bytes`.
        ratio: u64 = 2000,
        /// How large a layer may become before its ratio counts.
        ratio_grace_bytes: Size = Size(4 << 30),
    }
}

section! {
    /// How much of the past can be asked for.
    EventLimits {
        /// The most events that are kept.
        rows: u64 = 100_000,
        /// How long events are kept.
        age: Duration = Duration::from_secs(7 * 24 * 3600),
    }
}

section! {
    /// What runs of containers.
    Tasks {
        /// The binary of our shim; if it is not given, containerd-shim-gantry-v2 beside the daemon or in PATH.
        shim: Option<PathBuf> = None,
        /// Whether shims log for developers.
        shim_debug: bool = false,
        /// Whether a shim and its containers share no processor core with others.
        core_scheduling: bool = false,
        /// How often containers that are to be restarted are looked after; one that ends is restarted at once.
        restart_interval: Duration = Duration::from_secs(10),
    }
}

section! {
    /// Docker's API. What is not given here is as `daemon.json` has it.
    Docker {
        /// Where it is served, in one text or a list; where `hosts` of `daemon.json` has it, too.
        address: Vec<DoorAddress> = vec![DoorAddress::Unix("/run/gantry/docker.sock".into())],
        /// The user that its sockets belong to.
        uid: u32 = 0,
        /// The group that its sockets belong to, by number; it may connect, and is as good as root then.
        gid: Option<u32> = None,
        /// The same by name, which goes before the number.
        group: Option<String> = None,
        /// Whether TCP is served by TLS.
        tls: bool = false,
        /// Whether clients need a certificate, too.
        tlsverify: bool = false,
        /// Whose certificates clients may have.
        tlscacert: Option<PathBuf> = None,
        /// Our own certificate.
        tlscert: Option<PathBuf> = None,
        /// Its key.
        tlskey: Option<PathBuf> = None,
        /// dockerd's configuration, read as it is; it need not be there.
        daemon_json: PathBuf = "/etc/docker/daemon.json".into(),
        /// Whether containers of other doors are listed: `list` or `hide`.
        foreign: Foreign = Foreign::List,
        /// The user whose ids of /etc/subuid and /etc/subgid containers have: `user`, `user:group`, numbers, or `default` for
        /// dockremap's or, without those, for ids that nobody has; where `userns-remap` of `daemon.json` has one, too.
        userns_remap: Option<String> = None,
        /// The user namespaces of containers that do not say: `host` for the host's or that of `userns_remap`, `auto` or
        /// `auto:size=N` for a range of ids for each container.
        userns_mode: String = "host".into(),
        /// Whose ids of /etc/subuid and /etc/subgid those ranges are taken from; without any, ids that nobody has.
        userns_auto_user: String = "containers".into(),
        /// The bridge of the default network, or `none`; `gantry0` if no file names one.
        bridge: Option<Interface> = None,
        /// The address and subnet of that bridge; the first free pool's if no file has one.
        bip: Option<Ipv4Net> = None,
        /// Where networks get their subnets from; Docker's ranges, 172.17.0.0/16 and on, if no file has any.
        default_address_pools: Vec<AddressPool> = Vec::new(),
    }
}

words! {
    /// Whether containers of other doors are listed.
    Foreign: "\"list\" or \"hide\"" {
        /// They are, and cannot be changed.
        List = "list",
        /// They are not.
        Hide = "hide",
    }
}

section! {
    /// A runtime, by the name by which clients ask for it.
    Runtime {
        /// The binary of its shim; if it is not given, the one that its name stands for.
        path: Option<PathBuf> = None,
        /// The OCI runtime that the shim executes where a container names none; if it is not given, the one that is linked into our shim.
        binary: String = String::new(),
        /// Where that keeps its state.
        root: Option<PathBuf> = None,
        /// Whether systemd keeps the cgroups.
        systemd_cgroup: bool = false,
    }
}

words! {
    /// What a proxy plugin is.
    ProxyKind: "\"snapshot\"" {
        /// A snapshotter.
        Snapshot = "snapshot",
    }
}

/// A plugin that is reached over gRPC.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyPlugin {
    /// What it is.
    pub kind: ProxyKind,
    /// The path of its socket.
    pub address: PathBuf,
    /// The platform that it is for.
    pub platform: Option<String>,
    /// Told to whoever asks for the list of plugins.
    pub exports: BTreeMap<String, String>,
    /// Such as `rebase`.
    pub capabilities: Vec<String>,
}

impl Config {
    /// The path of the socket on which shims report events.
    pub fn ttrpc_address(&self) -> PathBuf {
        self.ttrpc.address.clone().unwrap_or_else(|| {
            let mut path = self.grpc.address.clone().into_os_string();
            path.push(".ttrpc");
            path.into()
        })
    }

    /// Every table with its name, in the order in which they are written.
    pub(crate) fn sections(&self) -> Vec<(&'static [&'static str], &dyn Section)> {
        vec![
            (&[], &self.store),
            (&["grpc"], &self.grpc),
            (&["ttrpc"], &self.ttrpc),
            (&["debug"], &self.debug),
            (&["metrics"], &self.metrics),
            (&["tracing"], &self.tracing),
            (&["registry"], &self.registry),
            (&["registry", "timeouts"], &self.registry_timeouts),
            (&["registry", "retry"], &self.registry_retry),
            (&["pull"], &self.pull),
            (&["images"], &self.images),
            (&["content"], &self.content),
            (&["snapshots"], &self.snapshots),
            (&["gc"], &self.gc),
            (&["tasks"], &self.tasks),
            (&["docker"], &self.docker),
            (&["limits", "registry"], &self.registry_limits),
            (&["limits", "content"], &self.content_limits),
            (&["limits", "layers"], &self.layer_limits),
            (&["limits", "events"], &self.event_limits),
        ]
    }

    /// The table of that name.
    pub(crate) fn section(&mut self, path: &[&str]) -> Option<&mut dyn Section> {
        Some(match path {
            [] => &mut self.store,
            ["grpc"] => &mut self.grpc,
            ["ttrpc"] => &mut self.ttrpc,
            ["debug"] => &mut self.debug,
            ["metrics"] => &mut self.metrics,
            ["tracing"] => &mut self.tracing,
            ["registry"] => &mut self.registry,
            ["registry", "timeouts"] => &mut self.registry_timeouts,
            ["registry", "retry"] => &mut self.registry_retry,
            ["pull"] => &mut self.pull,
            ["images"] => &mut self.images,
            ["content"] => &mut self.content,
            ["snapshots"] => &mut self.snapshots,
            ["gc"] => &mut self.gc,
            ["tasks"] => &mut self.tasks,
            ["docker"] => &mut self.docker,
            ["limits", "registry"] => &mut self.registry_limits,
            ["limits", "content"] => &mut self.content_limits,
            ["limits", "layers"] => &mut self.layer_limits,
            ["limits", "events"] => &mut self.event_limits,
            _ => return None,
        })
    }
}
