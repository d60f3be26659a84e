//! Docker's `daemon.json`, read as it is (moby `daemon/config` at v28.5.2).
//!
//! Every key that dockerd knows is known: those that nothing here stands for are listed in [`DockerDaemon::ignored`]. One
//! that dockerd does not know is an error, as it is there.

mod builder;
mod containers;
mod keys;
mod network;
mod over;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use builder::{BuilderGc, BuilderPolicy};
pub use containers::{CgroupDriver, DaemonContainers, DaemonRuntime, DaemonUlimit};
pub(crate) use network::is_interface;
pub use network::{Bridge, DaemonNetwork};

use super::{DoorAddress, Hidden};
use crate::load::read;
use crate::{Error, Ignored, Level};
use keys::Keys;

/// The largest `daemon.json`, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Keys of dockerd's that nothing here stands for.
const WITHOUT_COUNTERPART: &[&str] = &[
    "allow-nondistributable-artifacts",
    "api-cors-header",
    "bridge-accept-fwmark",
    "cluster-advertise",
    "cluster-store",
    "cluster-store-opts",
    "containerd",
    "containerd-namespace",
    "containerd-plugin-namespace",
    "containerd-plugins-namespace",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cri-containerd",
    "deprecated-key-path",
    "experimental",
    "init-path",
    "network-control-plane-mtu",
    "network-diagnostic-port",
    "node-generic-resources",
    "nri-opts",
    "oom-score-adjust",
    "pidfile",
    "raw-logs",
    "resolv-conf",
    "rootless",
    "swarm-default-advertise-addr",
    "swarm-raft-election-tick",
    "swarm-raft-heartbeat-tick",
    "userland-proxy-path",
];

/// Names of dockerd's flags that it takes for keys and passes over: the keys have others.
const FLAGS: &[&str] = &[
    "add-runtime",
    "authorization-plugin",
    "cdi-spec-dir",
    "default-address-pool",
    "default-network-opt",
    "default-ulimit",
    "dns-opt",
    "exec-opt",
    "feature",
    "host",
    "http-proxy",
    "https-proxy",
    "insecure-registry",
    "label",
    "log-opt",
    "no-proxy",
    "registry-mirror",
    "storage-opt",
];

/// What `daemon.json` says, with dockerd's defaults for the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct DockerDaemon {
    /// What has no counterpart here.
    pub ignored: Vec<Ignored>,
    /// `hosts`: where the API is served, beside our own address.
    pub hosts: Vec<DoorAddress>,
    /// `group`: the group of the sockets, a name or a number.
    pub group: Option<String>,
    /// `tls`, `tlsverify`, `tlscacert`, `tlscert` and `tlskey`; none without one of the first two.
    pub tls: Option<DoorTls>,
    /// `min-api-version`, such as `1.24`.
    pub min_api_version: Option<(u32, u32)>,
    /// `metrics-addr`.
    pub metrics_address: Option<SocketAddr>,
    /// `data-root`.
    pub data_root: Option<PathBuf>,
    /// `exec-root`.
    pub exec_root: Option<PathBuf>,
    /// `debug` and `log-level`.
    pub log_level: Option<Level>,
    /// `log-format` is `json`.
    pub log_json: bool,
    /// `labels` of the daemon, `key=value`.
    pub labels: Vec<String>,
    /// `live-restore`.
    pub live_restore: bool,
    /// `shutdown-timeout` in seconds; negative for no limit.
    pub shutdown_timeout_seconds: i64,
    /// `features`, such as `containerd-snapshotter` and `cdi`.
    pub features: BTreeMap<String, bool>,
    /// `storage-driver`.
    pub storage_driver: Option<String>,
    /// `storage-opts`, `key=value`.
    pub storage_opts: Vec<String>,
    /// `builder.gc`.
    pub builder_gc: BuilderGc,
    /// `builder.entitlements`, such as `network-host`.
    pub builder_entitlements: BTreeMap<String, bool>,
    /// What registries are asked for.
    pub registry: DaemonRegistry,
    /// What containers get that do not say otherwise.
    pub containers: DaemonContainers,
    /// What networks get that do not say otherwise, and the default bridge.
    pub network: DaemonNetwork,
}

/// How the API is served by TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DoorTls {
    /// `tlsverify`: whether clients need a certificate of `ca`.
    pub verify: bool,
    /// `tlscacert`; `/root/.docker/ca.pem` if it is not given.
    pub ca: Option<PathBuf>,
    /// `tlscert`; `/root/.docker/cert.pem` if it is not given.
    pub cert: Option<PathBuf>,
    /// `tlskey`; `/root/.docker/key.pem` if it is not given.
    pub key: Option<PathBuf>,
}

/// The keys of registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonRegistry {
    /// `insecure-registries`: hosts, or subnets of hosts.
    pub insecure: Vec<String>,
    /// `registry-mirrors` of Docker Hub: URLs.
    pub mirrors: Vec<String>,
    /// `max-concurrent-downloads`; our own default if it is not given.
    pub max_concurrent_downloads: Option<u32>,
    /// `max-concurrent-uploads`.
    pub max_concurrent_uploads: Option<u32>,
    /// `max-download-attempts`.
    pub max_download_attempts: Option<u32>,
    /// `proxies.http-proxy`, which may have a password.
    pub http_proxy: Option<Hidden>,
    /// `proxies.https-proxy`.
    pub https_proxy: Option<Hidden>,
    /// `proxies.no-proxy`.
    pub no_proxy: Option<String>,
}

impl Default for DockerDaemon {
    fn default() -> Self {
        let nothing = Keys::parse(Path::new(""), "").and_then(|mut keys| Self::take(&mut keys));
        nothing.expect("no key is required")
    }
}

impl DockerDaemon {
    /// Reads a file.
    ///
    /// # Errors
    /// NotFound for one that is not there; InvalidArgument for a value that its key cannot have and for keys that dockerd
    /// does not know.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::parse(path, &read(path, MAX_BYTES)?)
    }

    /// Reads a text as if it were the file `path`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let mut keys = Keys::parse(path, text)?;
        let mut daemon = Self::take(&mut keys)?;
        daemon.ignored = keys.rest(&[WITHOUT_COUNTERPART, FLAGS].concat())?;
        Ok(daemon)
    }

    fn take(keys: &mut Keys<'_>) -> Result<Self, Error> {
        // Whoever relies on them must not believe that they are asked.
        keys.refuse("authorization-plugins", "left out: no plugin is asked here")?;
        let (builder_gc, builder_entitlements) = builder::take(keys)?;
        Ok(Self {
            ignored: Vec::new(),
            hosts: keys
                .take_list("hosts", DoorAddress::ALLOWED, |value| DoorAddress::parse(value.as_str()?))?,
            group: keys.text("group")?,
            tls: tls(keys)?,
            min_api_version: keys.take("min-api-version", "a version such as \"1.24\"", |value| {
                let (major, minor) = value.as_str()?.split_once('.')?;
                Some((major.parse().ok()?, minor.parse().ok()?))
            })?,
            metrics_address: keys.take("metrics-addr", "an address and a port", |value| {
                let text = value.as_str()?;
                text.strip_prefix(':').map_or(text.to_owned(), |port| format!("[::]:{port}")).parse().ok()
            })?,
            data_root: keys.path("data-root")?,
            exec_root: keys.path("exec-root")?,
            log_level: log_level(keys)?,
            log_json: keys.word("log-format", &["text", "json"])?.is_some_and(|word| word == "json"),
            labels: keys.pairs("labels")?,
            live_restore: keys.flag("live-restore")?.unwrap_or(false),
            shutdown_timeout_seconds: keys
                .take("shutdown-timeout", "a whole number", |v| v.as_i64())?
                .unwrap_or(15),
            features: keys.take_map("features", "true or false", serde_json::Value::as_bool)?,
            storage_driver: keys.text("storage-driver")?,
            storage_opts: keys.pairs("storage-opts")?,
            builder_gc,
            builder_entitlements,
            registry: registry(keys)?,
            containers: DaemonContainers::take(keys)?,
            network: DaemonNetwork::take(keys)?,
        })
    }
}

fn tls(keys: &mut Keys<'_>) -> Result<Option<DoorTls>, Error> {
    let (tls, verify) = (keys.flag("tls")?.unwrap_or(false), keys.flag("tlsverify")?.unwrap_or(false));
    let (ca, cert, key) = (keys.path("tlscacert")?, keys.path("tlscert")?, keys.path("tlskey")?);
    // Asking for certificates is asking for TLS, there, too.
    Ok((tls || verify).then_some(DoorTls { verify, ca, cert, key }))
}

fn log_level(keys: &mut Keys<'_>) -> Result<Option<Level>, Error> {
    let debug = keys.flag("debug")?.unwrap_or(false);
    let level = keys.take("log-level", "\"debug\", \"info\", \"warn\", \"error\" or \"fatal\"", |value| {
        Some(match value.as_str()? {
            "trace" => Level::Trace,
            "debug" => Level::Debug,
            "info" => Level::Info,
            "warn" | "warning" => Level::Warn,
            "error" | "fatal" | "panic" => Level::Error,
            _ => return None,
        })
    })?;
    Ok(if debug { Some(Level::Debug) } else { level })
}

fn registry(keys: &mut Keys<'_>) -> Result<DaemonRegistry, Error> {
    let mut proxies: BTreeMap<String, String> =
        keys.take_map("proxies", "a table of texts", |value| value.as_str().map(str::to_owned))?;
    let mut proxy = |name: &str| proxies.remove(name).filter(|text| !text.is_empty());
    let (http, https, no_proxy) = (proxy("http-proxy"), proxy("https-proxy"), proxy("no-proxy"));
    if let Some(name) = proxies.keys().next() {
        return Err(keys.unknown(vec![name.clone()]));
    }
    Ok(DaemonRegistry {
        insecure: keys.texts("insecure-registries")?,
        mirrors: keys.take_list("registry-mirrors", "a list of URLs", |value| {
            let text = value.as_str()?;
            crate::hosts::HostUrl::parse(text).map(|_| text.to_owned())
        })?,
        max_concurrent_downloads: keys.count("max-concurrent-downloads")?,
        max_concurrent_uploads: keys.count("max-concurrent-uploads")?,
        max_download_attempts: keys.count("max-download-attempts")?,
        http_proxy: http.map(Hidden),
        https_proxy: https.map(Hidden),
        no_proxy,
    })
}
