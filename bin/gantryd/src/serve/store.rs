//! From the configuration to the store's options.

use std::sync::Arc;

use anyhow::{Context, Result};
use gantry_config::docker::DaemonRegistry;
use gantry_config::{Config, Durability, LayerLimits, SharingPolicy, Size};
use gantry_primitives::access::{DockerCredentials, TreeHosts};
use gantry_primitives::registry::{self, Anonymous, Credentials, Limits, Proxies, Retry, Timeouts};
use gantry_primitives::{Access, Durability as Commits, Options, ProxySnapshotter, Schedule, Store};
use gantry_types::Namespace;

/// Opens the store, on a thread that may wait for the disk.
pub(crate) async fn open(config: &Config, docker: Option<&DaemonRegistry>) -> Result<Store> {
    let mut options = options(config)?;
    if let Some(docker) = docker {
        under(&mut options.registry.proxies, docker);
    }
    let root = config.store.root.display().to_string();
    let opened =
        tokio::task::spawn_blocking(move || Store::open(options)).await.context("the store panicked")?;
    opened.with_context(|| format!("cannot open the store at {root}"))
}

/// Proxies of `daemon.json` go before those of the environment, as with dockerd.
fn under(proxies: &mut Proxies, docker: &DaemonRegistry) {
    let set = |ours: &mut String, theirs: Option<&str>| {
        if let Some(text) = theirs {
            text.clone_into(ours);
        }
    };
    set(&mut proxies.http, docker.http_proxy.as_ref().map(|hidden| hidden.expose()));
    set(&mut proxies.https, docker.https_proxy.as_ref().map(|hidden| hidden.expose()));
    set(&mut proxies.none, docker.no_proxy.as_deref());
}

/// A number of bytes as memory has it.
pub(crate) fn bytes(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

/// How registries are reached where a request does not say it.
pub(crate) fn access(config: &Config) -> Access {
    let registry = &config.registry;
    let credentials: Arc<dyn Credentials> = match &registry.docker_config {
        Some(path) => Arc::new(DockerCredentials::new(path, registry.helper_timeout)),
        None => Arc::new(Anonymous),
    };
    Access { hosts: Arc::new(TreeHosts::new(registry.config_path.clone())), credentials }
}

fn options(config: &Config) -> Result<Options> {
    let mut options = Options::new(&config.store.root);
    options.durability = match config.store.durability {
        Durability::Normal => Commits::Relaxed,
        Durability::Full => Commits::Full,
    };
    options.shared_namespaces = namespaces(&config.images.shared_namespaces)?;
    options.journal = (config.event_limits.rows, config.event_limits.age);
    options.content.idle_ingest_age = config.content_limits.ingest_idle;
    let proxies = config.proxy_plugins.iter().map(|(name, plugin)| ProxySnapshotter {
        name: name.clone(),
        socket: plugin.address.clone(),
        capabilities: plugin.capabilities.clone(),
    });
    options.proxies = proxies.collect();
    options.default_snapshotter.clone_from(&config.snapshots.default);
    options.isolated_content = config.content.sharing_policy == SharingPolicy::Isolated;
    let pull = &config.pull;
    if pull.max_concurrent_downloads > 0 {
        options.concurrency.layers = usize::try_from(pull.max_concurrent_downloads).unwrap_or(usize::MAX);
    }
    if pull.max_concurrent_unpacks > 0 {
        options.concurrency.unpacks = usize::try_from(pull.max_concurrent_unpacks).unwrap_or(usize::MAX);
    }
    options.ranges_from = Some(pull.ranges_from.0).filter(|from| *from > 0 && pull.ranges > 1);
    options.ranges = registry::Ranges {
        chunk_bytes: pull.range_size.0.max(1),
        parallel: usize::try_from(pull.ranges.max(1)).unwrap_or(1),
    };
    limit_layers(&mut options, &config.layer_limits);
    options.registry = registry_options(config);
    options.collection = Schedule {
        startup_delay: config.gc.startup_delay,
        delay: config.gc.schedule_delay,
        deletions: config.gc.deletion_threshold.into(),
        mutations: config.gc.mutation_threshold.into(),
    };
    Ok(options)
}

fn limit_layers(options: &mut Options, limits: &LayerLimits) {
    let (layer, inflate) = (&mut options.layer, &mut options.inflate);
    layer.entries = limits.entries;
    layer.archive_bytes = limits.archive_bytes.0;
    layer.file_bytes = limits.file_bytes.0;
    layer.depth = limits.depth;
    layer.pax_bytes = limits.pax_bytes.0;
    layer.xattrs = limits.xattrs;
    layer.links = limits.links;
    layer.sparse_parts = limits.sparse_parts;
    layer.names_bytes = bytes(limits.names_bytes);
    inflate.output_bytes = limits.archive_bytes.0;
    inflate.ratio = limits.ratio;
    inflate.ratio_grace_bytes = limits.ratio_grace_bytes.0;
}

fn namespaces(names: &[String]) -> Result<Vec<Namespace>> {
    let parse = |name: &String| name.parse().with_context(|| format!("images.shared_namespaces: {name:?}"));
    names.iter().map(parse).collect()
}

fn registry_options(config: &Config) -> registry::Options {
    let (limits, times, retry) = (&config.registry_limits, &config.registry_timeouts, &config.registry_retry);
    registry::Options {
        limits: Limits {
            manifest_bytes: limits.manifest_bytes.0,
            document_bytes: limits.document_bytes.0,
            pages: limits.pages,
            entries: limits.entries,
            redirects: limits.redirects,
            requests_per_host: limits.requests_per_host,
            idle_connections_per_host: limits.idle_connections_per_host,
            read_bytes: bytes(limits.read_bytes),
            stream_window_bytes: limits.stream_window_bytes,
            connection_window_bytes: limits.connection_window_bytes,
            upload_chunk_bytes: limits.upload_chunk_bytes.0,
            tokens: limits.tokens,
        },
        timeouts: Timeouts {
            dial: times.dial,
            response: times.response,
            commit: times.commit,
            stall: times.stall,
            document: times.document,
            idle: times.idle,
        },
        retry: Retry {
            attempts: retry.attempts,
            pause: retry.pause,
            longest_pause: retry.longest_pause,
            longest_retry_after: retry.longest_retry_after,
        },
        proxies: Proxies::from_variables(|name| std::env::var(name).ok()),
        plain_http_elsewhere: config.registry.plain_http_elsewhere,
        ..registry::Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_the_configuration_are_those_of_the_parts() {
        let ours = options(&Config::default()).unwrap();
        let theirs = Options::new(&Config::default().store.root);
        assert_eq!(format!("{:?}", ours.collection), format!("{:?}", theirs.collection));
        assert_eq!(format!("{:?}", ours.content), format!("{:?}", theirs.content));
        assert_eq!(format!("{:?}", ours.registry.limits), format!("{:?}", theirs.registry.limits));
        assert_eq!(format!("{:?}", ours.registry.timeouts), format!("{:?}", theirs.registry.timeouts));
        assert_eq!(format!("{:?}", ours.registry.retry), format!("{:?}", theirs.registry.retry));
        assert_eq!((ours.journal, ours.durability), (theirs.journal, theirs.durability));
        assert_eq!(ours.shared_namespaces, theirs.shared_namespaces);
        assert_eq!(
            format!("{:?} {:?}", ours.layer, ours.inflate),
            format!("{:?} {:?}", theirs.layer, theirs.inflate)
        );
    }

    #[test]
    fn a_namespace_that_is_none_is_refused_by_name() {
        let mut config = Config::default();
        config.images.shared_namespaces = vec!["a/b".into()];
        assert!(format!("{:#}", options(&config).unwrap_err()).contains("a/b"));
    }
}
