//! The bodies of events.

use gantry_primitives::Event;
use gantry_proto_containerd::events::container_create::Runtime;
use gantry_proto_containerd::{Any, events, images};

use crate::into_proto;

/// The body of an event, beside its name.
pub(super) fn any(event: &Event) -> Any {
    match event {
        Event::NamespaceCreate { .. } | Event::NamespaceUpdate { .. } | Event::NamespaceDelete { .. } => {
            namespace(event)
        }
        Event::ImageCreate { .. } | Event::ImageUpdate { .. } | Event::ImageDelete { .. } => image(event),
        Event::ContentCreate { digest, size, media_type } => Any::pack(&events::ContentCreate {
            digest: digest.to_string(),
            size: into_proto::length(*size),
            media_type: media_type.clone(),
        }),
        Event::ContentDelete { digest } => Any::pack(&events::ContentDelete { digest: digest.to_string() }),
        Event::SnapshotPrepare { .. } | Event::SnapshotCommit { .. } | Event::SnapshotRemove { .. } => {
            snapshot(event)
        }
        Event::Foreign { type_url, value, .. } => {
            Any { type_url: type_url.clone(), value: value.clone().into() }
        }
        _ => container(event),
    }
}

fn namespace(event: &Event) -> Any {
    match event.clone() {
        Event::NamespaceCreate { name, labels } => Any::pack(&events::NamespaceCreate { name, labels }),
        Event::NamespaceUpdate { name, labels } => Any::pack(&events::NamespaceUpdate { name, labels }),
        Event::NamespaceDelete { name } => Any::pack(&events::NamespaceDelete { name }),
        _ => Any::empty(),
    }
}

fn image(event: &Event) -> Any {
    match event.clone() {
        Event::ImageCreate { name, labels } => Any::pack(&images::ImageCreate { name, labels }),
        Event::ImageUpdate { name, labels } => Any::pack(&images::ImageUpdate { name, labels }),
        Event::ImageDelete { name } => Any::pack(&images::ImageDelete { name }),
        _ => Any::empty(),
    }
}

fn snapshot(event: &Event) -> Any {
    match event.clone() {
        Event::SnapshotPrepare { key, parent, snapshotter } => {
            Any::pack(&events::SnapshotPrepare { key, parent, snapshotter })
        }
        Event::SnapshotCommit { key, name, snapshotter } => {
            Any::pack(&events::SnapshotCommit { key, name, snapshotter })
        }
        Event::SnapshotRemove { key, snapshotter } => Any::pack(&events::SnapshotRemove { key, snapshotter }),
        _ => Any::empty(),
    }
}

fn container(event: &Event) -> Any {
    match event.clone() {
        Event::ContainerCreate { id, image, runtime } => {
            let runtime = Some(Runtime { name: runtime, options: None });
            Any::pack(&events::ContainerCreate { id, image, runtime })
        }
        Event::ContainerUpdate { id, image, labels, snapshot_key } => {
            Any::pack(&events::ContainerUpdate { id, image, labels, snapshot_key })
        }
        Event::ContainerDelete { id } => Any::pack(&events::ContainerDelete { id }),
        _ => Any::empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_types::{Digest, Labels};

    #[test]
    fn every_event_has_the_name_that_clients_know() {
        let (name, labels) = ("x".to_owned(), Labels::new());
        let digest = Digest::sha256(b"");
        let table = [
            (
                Event::NamespaceCreate { name: name.clone(), labels: labels.clone() },
                "containerd.events.NamespaceCreate",
            ),
            (Event::ImageUpdate { name: name.clone(), labels }, "containerd.services.images.v1.ImageUpdate"),
            (Event::ImageDelete { name: name.clone() }, "containerd.services.images.v1.ImageDelete"),
            (Event::ContentDelete { digest }, "containerd.events.ContentDelete"),
            (
                Event::SnapshotRemove { key: name.clone(), snapshotter: name.clone() },
                "containerd.events.SnapshotRemove",
            ),
            (Event::ContainerDelete { id: name.clone() }, "containerd.events.ContainerDelete"),
            (Event::Foreign { topic: "/x".into(), type_url: "a.B".into(), value: vec![1] }, "a.B"),
        ];
        for (event, expected) in table {
            assert_eq!(any(&event).type_url, expected, "{event:?}");
        }
    }
}
