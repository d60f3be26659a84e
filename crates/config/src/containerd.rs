//! Where containerd's keys have a counterpart (containerd 2.4, `cmd/containerd/server/config` and its plugins).

const CRI_V2: &str = "io.containerd.grpc.v1.cri";
const CRI_IMAGES: &str = "io.containerd.cri.v1.images";
const TRANSFER: &str = "io.containerd.transfer.v1.local";
const SCHEDULER: &str = "io.containerd.gc.v1.scheduler";
const BOLT: &str = "io.containerd.metadata.v1.bolt";
const TRACING: &str = "io.containerd.internal.v1.tracing";
const OTLP: &str = "io.containerd.tracing.processor.v1.otlp";
const SERVER_GRPC: &str = "io.containerd.server.v1.grpc";
const SERVER_TTRPC: &str = "io.containerd.server.v1.ttrpc";
const SERVER_DEBUG: &str = "io.containerd.server.v1.debug";
const SERVER_METRICS: &str = "io.containerd.server.v1.metrics";
const PROMETHEUS: &str = "io.containerd.metrics.v1.grpc-prometheus";

/// A key with its tables.
pub(crate) type Path = &'static [&'static str];

/// A table of ours and a key in it.
pub(crate) type Counterpart = (Path, &'static str);

/// containerd's keys (below `plugins` those of the plugin's name) and ours.
const COUNTERPARTS: &[(Path, Counterpart)] = &[
    (&["root"], (&[], "root")),
    (&["state"], (&[], "state")),
    (&["grpc", "address"], (&["grpc"], "address")),
    (&["grpc", "uid"], (&["grpc"], "uid")),
    (&["grpc", "gid"], (&["grpc"], "gid")),
    (&["grpc", "max_recv_message_size"], (&["grpc"], "max_recv_message_size")),
    (&["grpc", "max_send_message_size"], (&["grpc"], "max_send_message_size")),
    (&["ttrpc", "address"], (&["ttrpc"], "address")),
    (&["ttrpc", "uid"], (&["ttrpc"], "uid")),
    (&["ttrpc", "gid"], (&["ttrpc"], "gid")),
    (&["debug", "level"], (&["debug"], "level")),
    (&["debug", "format"], (&["debug"], "format")),
    (&["debug", "address"], (&["debug"], "address")),
    (&["debug", "uid"], (&["debug"], "uid")),
    (&["debug", "gid"], (&["debug"], "gid")),
    (&["metrics", "address"], (&["metrics"], "address")),
    (&["metrics", "grpc_histogram"], (&["metrics"], "grpc_histogram")),
    (&["plugins", CRI_V2, "registry", "config_path"], (&["registry"], "config_path")),
    (&["plugins", CRI_V2, "max_concurrent_downloads"], (&["pull"], "max_concurrent_downloads")),
    (&["plugins", CRI_V2, "containerd", "snapshotter"], (&["snapshots"], "default")),
    (&["plugins", CRI_IMAGES, "registry", "config_path"], (&["registry"], "config_path")),
    (&["plugins", CRI_IMAGES, "max_concurrent_downloads"], (&["pull"], "max_concurrent_downloads")),
    (&["plugins", CRI_IMAGES, "snapshotter"], (&["snapshots"], "default")),
    (&["plugins", TRANSFER, "config_path"], (&["registry"], "config_path")),
    (&["plugins", TRANSFER, "max_concurrent_downloads"], (&["pull"], "max_concurrent_downloads")),
    (&["plugins", TRANSFER, "max_concurrent_uploaded_layers"], (&["pull"], "max_concurrent_uploads")),
    (&["plugins", TRANSFER, "max_concurrent_unpacks"], (&["pull"], "max_concurrent_unpacks")),
    (&["plugins", SCHEDULER, "pause_threshold"], (&["gc"], "pause_threshold")),
    (&["plugins", SCHEDULER, "deletion_threshold"], (&["gc"], "deletion_threshold")),
    (&["plugins", SCHEDULER, "mutation_threshold"], (&["gc"], "mutation_threshold")),
    (&["plugins", SCHEDULER, "schedule_delay"], (&["gc"], "schedule_delay")),
    (&["plugins", SCHEDULER, "startup_delay"], (&["gc"], "startup_delay")),
    (&["plugins", BOLT, "content_sharing_policy"], (&["content"], "sharing_policy")),
    (&["plugins", TRACING, "sampling_ratio"], (&["tracing"], "sampling_ratio")),
    (&["plugins", TRACING, "service_name"], (&["tracing"], "service_name")),
    (&["plugins", OTLP, "endpoint"], (&["tracing"], "endpoint")),
    (&["plugins", SERVER_GRPC, "address"], (&["grpc"], "address")),
    (&["plugins", SERVER_GRPC, "uid"], (&["grpc"], "uid")),
    (&["plugins", SERVER_GRPC, "gid"], (&["grpc"], "gid")),
    (&["plugins", SERVER_GRPC, "max_recv_message_size"], (&["grpc"], "max_recv_message_size")),
    (&["plugins", SERVER_GRPC, "max_send_message_size"], (&["grpc"], "max_send_message_size")),
    (&["plugins", SERVER_TTRPC, "address"], (&["ttrpc"], "address")),
    (&["plugins", SERVER_TTRPC, "uid"], (&["ttrpc"], "uid")),
    (&["plugins", SERVER_TTRPC, "gid"], (&["ttrpc"], "gid")),
    (&["plugins", SERVER_DEBUG, "address"], (&["debug"], "address")),
    (&["plugins", SERVER_DEBUG, "uid"], (&["debug"], "uid")),
    (&["plugins", SERVER_DEBUG, "gid"], (&["debug"], "gid")),
    (&["plugins", SERVER_METRICS, "address"], (&["metrics"], "address")),
    (&["plugins", PROMETHEUS, "grpc_histogram"], (&["metrics"], "grpc_histogram")),
];

/// Our table and key for one of containerd's.
pub(crate) fn counterpart(path: &[&str]) -> Option<Counterpart> {
    COUNTERPARTS.iter().find(|(theirs, _)| *theirs == path).map(|(_, ours)| *ours)
}

/// Whether a key in this table of containerd's has a counterpart.
pub(crate) fn has_counterparts(path: &[&str]) -> bool {
    COUNTERPARTS.iter().any(|(theirs, _)| theirs.len() > path.len() && theirs.starts_with(path))
}

/// containerd's keys with a counterpart that begin with `path`, for suggestions and the documentation.
pub(crate) fn counterparts() -> impl Iterator<Item = (Path, Counterpart)> {
    COUNTERPARTS.iter().copied()
}

/// What containerd takes for a level or a format of its log, and what that is here.
pub(crate) fn word(ours: Counterpart, theirs: &str) -> Option<&'static str> {
    match (ours, theirs) {
        ((["debug"], "level"), "fatal" | "panic") => Some("error"),
        ((["debug"], "level"), "warning") => Some("warn"),
        _ => None,
    }
}
