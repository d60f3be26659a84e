//! Removing the containers that do not run.

use std::collections::BTreeMap;

use gantry_docker_api::List;
use gantry_docker_api::container::ContainerPruneResponse;
use gantry_engine::{Event, EventKind, RemoveRequest};

use super::filter::{is_active, until};
use crate::http::{Answer, Call, Outcome};

/// `POST /containers/prune`
pub(super) async fn prune(call: Call) -> Outcome {
    let filters = call.filters()?;
    filters.check(&["label", "label!", "until"])?;
    let until = until(&filters)?;
    let engine = &call.door.engine;
    let mut deleted = List::default();
    let mut reclaimed = 0_u64;
    for container in engine.containers() {
        let record = container.record();
        let label = |key: &str| record.labels.get(key).map(String::as_str);
        let is_kept = filters.contains("label!") && filters.matches_labels("label!", label);
        let is_old = until.is_none_or(|until| record.created < until);
        if is_active(&record) || is_kept || !is_old || !filters.matches_labels("label", label) {
            continue;
        }
        let size = engine.container_sizes(&container).await.map_or(0, |sizes| sizes.rw);
        match engine.container_remove(&container, RemoveRequest::default()).await {
            Ok(()) => {
                reclaimed = reclaimed.saturating_add(size);
                deleted.push(record.id.clone());
            }
            // It was started meanwhile, or somebody else removes it.
            Err(error) => tracing::warn!(container = %record.id, %error, "a container was not pruned"),
        }
    }
    engine.announce(&event(EventKind::Container, reclaimed)).await;
    Ok(Answer::json(&ContainerPruneResponse { containers_deleted: deleted, space_reclaimed: reclaimed }))
}

/// The event of a prune.
pub(crate) fn event(kind: EventKind, reclaimed: u64) -> Event {
    let attributes = BTreeMap::from([("reclaimed".to_owned(), reclaimed.to_string())]);
    Event { kind, action: "prune".to_owned(), id: String::new(), attributes }
}
