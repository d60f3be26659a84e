//! From our types to the wire.

use std::time::SystemTime;

use gantry_primitives::{Container, Content, Image, IngestStatus, Lease, Opaque, Sandbox};
use gantry_proto_containerd::{Any, Timestamp, containers, content, images, leases, types};
use gantry_types::{Descriptor, Mount, Platform};

use crate::time;

/// A time.
pub(crate) fn timestamp(time: impl Into<SystemTime>) -> Option<Timestamp> {
    Some(time::into_proto(time.into()))
}

/// A length; none is as long as the wire cannot say.
pub(crate) fn length(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A descriptor.
pub(crate) fn descriptor(given: &Descriptor) -> types::Descriptor {
    types::Descriptor {
        media_type: given.media_type.clone(),
        digest: given.digest.to_string(),
        size: length(given.size),
        annotations: given.annotations.clone(),
    }
}

/// A platform.
pub(crate) fn platform(given: &Platform) -> types::Platform {
    let Platform { architecture, os, os_version, os_features, variant } = given.clone();
    types::Platform { os, architecture, variant, os_version, os_features }
}

/// A list of mounts.
pub(crate) fn mounts(given: Vec<Mount>) -> Vec<types::Mount> {
    let mount =
        |Mount { kind, source, target, options }| types::Mount { r#type: kind, source, target, options };
    given.into_iter().map(mount).collect()
}

/// A record of content.
pub(crate) fn content(given: Content) -> content::Info {
    content::Info {
        digest: given.digest.to_string(),
        size: length(given.size),
        created_at: timestamp(given.created),
        updated_at: timestamp(given.updated),
        labels: given.labels,
    }
}

/// An ingest.
pub(crate) fn ingest(given: IngestStatus) -> content::Status {
    content::Status {
        started_at: timestamp(given.started),
        updated_at: timestamp(given.updated),
        r#ref: given.reference,
        offset: length(given.offset),
        total: length(given.total),
        expected: given.expected.map(|digest| digest.to_string()).unwrap_or_default(),
    }
}

/// An image.
pub(crate) fn image(given: Image) -> images::Image {
    images::Image {
        name: given.name,
        labels: given.labels,
        target: Some(descriptor(&given.target)),
        created_at: timestamp(given.created),
        updated_at: timestamp(given.updated),
    }
}

/// A lease.
pub(crate) fn lease(given: Lease) -> leases::Lease {
    leases::Lease { id: given.id, created_at: timestamp(given.created), labels: given.labels }
}

/// A value of a type that is not looked at.
pub(crate) fn any(given: Opaque) -> Any {
    Any { type_url: given.type_url, value: given.value.into() }
}

/// The record of a container.
pub(crate) fn container(given: Container) -> containers::Container {
    let runtime =
        containers::container::Runtime { name: given.runtime, options: given.runtime_options.map(any) };
    containers::Container {
        id: given.id,
        labels: given.labels,
        image: given.image,
        runtime: Some(runtime),
        spec: given.spec.map(any),
        snapshotter: given.snapshotter,
        snapshot_key: given.snapshot_key,
        created_at: timestamp(given.created),
        updated_at: timestamp(given.updated),
        extensions: given.extensions.into_iter().map(|(name, value)| (name, any(value))).collect(),
        sandbox: given.sandbox,
    }
}

/// The record of a sandbox.
pub(crate) fn sandbox(given: Sandbox) -> types::Sandbox {
    let runtime = types::sandbox::Runtime { name: given.runtime, options: given.runtime_options.map(any) };
    types::Sandbox {
        sandbox_id: given.id,
        runtime: Some(runtime),
        spec: given.spec.map(any),
        labels: given.labels,
        created_at: timestamp(given.created),
        updated_at: timestamp(given.updated),
        extensions: given.extensions.into_iter().map(|(name, value)| (name, any(value))).collect(),
        sandboxer: given.sandboxer,
    }
}

/// A value of a shim.
pub(crate) fn shim_any(given: gantry_proto_shim::any::Any) -> Any {
    Any { type_url: given.type_url, value: given.value.into() }
}

/// A time of a shim.
pub(crate) fn shim_time(given: gantry_proto_shim::any::Timestamp) -> Timestamp {
    Timestamp { seconds: given.seconds, nanos: given.nanos }
}
