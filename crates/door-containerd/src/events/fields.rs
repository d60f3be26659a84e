//! What the filter of a subscription sees of an event: `namespace`, `topic` and `event.*`.

use gantry_primitives::filter::{Fields, label};
use gantry_primitives::{Envelope, Event};
use gantry_proto_containerd::{Any, events};

pub(super) struct EnvelopeFields<'a>(pub(super) &'a Envelope);

impl Fields for EnvelopeFields<'_> {
    fn field(&self, path: &[&str]) -> Option<String> {
        let found = match path {
            ["namespace"] => self.0.namespace.to_string(),
            ["topic"] => self.0.topic.clone(),
            ["event", rest @ ..] => event(&self.0.event, rest)?,
            _ => return None,
        };
        Some(found).filter(|text| !text.is_empty())
    }
}

/// A text of the event; numbers cannot be asked for, as with containerd.
fn event(event: &Event, path: &[&str]) -> Option<String> {
    let (field, rest) = path.split_first()?;
    let labels = match event {
        Event::NamespaceCreate { labels, .. }
        | Event::NamespaceUpdate { labels, .. }
        | Event::ImageCreate { labels, .. }
        | Event::ImageUpdate { labels, .. }
        | Event::ContainerUpdate { labels, .. } => Some(labels),
        _ => None,
    };
    if *field == "labels" {
        return label(labels?, rest);
    }
    let text = match (event, path) {
        (Event::NamespaceCreate { name, .. }, ["name"])
        | (Event::NamespaceUpdate { name, .. }, ["name"])
        | (Event::NamespaceDelete { name }, ["name"])
        | (Event::ImageCreate { name, .. }, ["name"])
        | (Event::ImageUpdate { name, .. }, ["name"])
        | (Event::ImageDelete { name }, ["name"])
        | (Event::SnapshotCommit { name, .. }, ["name"]) => name.clone(),
        (Event::ContentCreate { digest, .. } | Event::ContentDelete { digest }, ["digest"]) => {
            digest.to_string()
        }
        (Event::ContentCreate { media_type, .. }, ["mediaType" | "media_type"]) => media_type.clone(),
        (
            Event::SnapshotPrepare { key, .. }
            | Event::SnapshotCommit { key, .. }
            | Event::SnapshotRemove { key, .. },
            ["key"],
        ) => key.clone(),
        (
            Event::SnapshotPrepare { snapshotter, .. }
            | Event::SnapshotCommit { snapshotter, .. }
            | Event::SnapshotRemove { snapshotter, .. },
            ["snapshotter"],
        ) => snapshotter.clone(),
        (Event::SnapshotPrepare { parent, .. }, ["parent"]) => parent.clone(),
        (
            Event::ContainerCreate { id, .. }
            | Event::ContainerUpdate { id, .. }
            | Event::ContainerDelete { id },
            ["id"],
        ) => id.clone(),
        (Event::ContainerCreate { image, .. } | Event::ContainerUpdate { image, .. }, ["image"]) => {
            image.clone()
        }
        (Event::ContainerCreate { runtime, .. }, ["runtime", "name"]) => runtime.clone(),
        (Event::ContainerUpdate { snapshot_key, .. }, ["snapshot_key"]) => snapshot_key.clone(),
        (Event::Foreign { type_url, value, .. }, _) => {
            return task(&Any { type_url: type_url.clone(), value: value.clone().into() }, path);
        }
        _ => return None,
    };
    Some(text)
}

/// A text of a task's event. What else is published is opaque.
fn task(any: &Any, path: &[&str]) -> Option<String> {
    let [field] = path else { return None };
    macro_rules! texts {
        ($($message:ident { $($name:ident),* })*) => {
            $(if any.is::<events::$message>() {
                let found: events::$message = any.unpack().ok()??;
                return match *field {
                    $(stringify!($name) => Some(found.$name),)*
                    _ => None,
                };
            })*
        };
    }
    texts! {
        TaskCreate { container_id, bundle, checkpoint }
        TaskStart { container_id }
        TaskDelete { container_id, id }
        TaskExit { container_id, id }
        TaskOom { container_id }
        TaskExecAdded { container_id, exec_id }
        TaskExecStarted { container_id, exec_id }
        TaskPaused { container_id }
        TaskResumed { container_id }
        TaskCheckpointed { container_id, checkpoint }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_primitives::Timestamp;
    use gantry_primitives::filter::Filters;

    fn envelope(topic: &str, event: Event) -> Envelope {
        let namespace = "moby".parse().unwrap();
        Envelope { cursor: 1, time: Timestamp::UNIX_EPOCH, namespace, topic: topic.into(), event }
    }

    fn passes(filter: &str, envelope: &Envelope) -> bool {
        Filters::parse(&[filter]).unwrap().passes(&EnvelopeFields(envelope))
    }

    #[test]
    fn the_filter_of_dockerd_takes_events_of_tasks_in_its_namespace() {
        let exit = events::TaskExit { container_id: "c".into(), id: "e".into(), ..Default::default() };
        let any = Any::pack(&exit);
        let foreign =
            Event::Foreign { topic: "/tasks/exit".into(), type_url: any.type_url, value: any.value.to_vec() };
        let task = envelope("/tasks/exit", foreign);
        assert!(passes("namespace==moby,topic~=|^/tasks/|", &task));
        assert!(passes("event.container_id==c,event.id==e", &task));
        assert!(!passes("event.exec_id", &task));
        let image = envelope("/images/delete", Event::ImageDelete { name: "i".into() });
        assert!(!passes("namespace==moby,topic~=|^/tasks/|", &image));
        assert!(passes("event.name==i", &image));
    }

    #[test]
    fn labels_of_an_event_are_asked_for_by_key() {
        let labels = [("a.b".to_owned(), "c".to_owned())].into();
        let image = envelope("/images/create", Event::ImageCreate { name: "i".into(), labels });
        assert!(passes(r#"event.labels."a.b"==c"#, &image));
        assert!(!passes("event.labels.x", &image));
    }
}
