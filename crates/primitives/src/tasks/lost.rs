//! The ends of tasks that no shim tells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use gantry_metadata::TaskState;
use gantry_proto_shim::any::{Any, Named, Timestamp};
use gantry_proto_shim::events::{Event, TaskDelete, TaskExit};
use gantry_proto_shim::own::Cause;
use gantry_tasks::{Key, Lost};
use gantry_types::{ErrorKind, Namespace};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{ShimEvent, Tasks};
use crate::{Result, Store};

/// What is told of a task that ended with the machine: nobody knows how.
const UNKNOWN_STATUS: u32 = 255;

/// Writes to the journal what is heard of lost tasks, until the daemon ends.
pub(super) async fn record(store: Store, mut lost: UnboundedReceiver<Lost>) {
    while let Some(lost) = lost.recv().await {
        write(&store, &lost).await;
    }
}

/// The same for what has been heard already.
pub(super) async fn record_waiting(store: &Store, lost: &mut UnboundedReceiver<Lost>) {
    while let Ok(lost) = lost.try_recv() {
        write(store, &lost).await;
    }
}

async fn write(store: &Store, lost: &Lost) {
    if let Err(error) = tell(store, lost).await {
        tracing::error!(namespace = %lost.namespace, container = lost.id, %error, "the end of a task cannot be written down");
    }
}

async fn tell(store: &Store, lost: &Lost) -> Result<()> {
    let Lost { namespace, id, pid, exit_status, exited_at, cause } = lost;
    tracing::info!(%namespace, container = id, cause, "a task was lost");
    if let Some(ended) = told(store, lost).await? {
        return tell_deletion(store, &ended).await;
    }
    let exit = TaskExit {
        container_id: id.clone(),
        id: id.clone(),
        pid: *pid,
        exit_status: *exit_status,
        exited_at: Some(*exited_at),
        cause: Some(Cause { text: cause.clone(), ..Cause::default() }),
    };
    publish(store, namespace, &exit).await?;
    tell_deletion(store, lost).await
}

/// How a task ended whose shim has told it before it was lost.
async fn told(store: &Store, lost: &Lost) -> Result<Option<Lost>> {
    match store.task_get(lost.namespace.clone(), lost.id.clone(), String::new()).await {
        Ok(task) => Ok(task.exited.filter(|_| task.state == TaskState::Stopped).map(|exited| Lost {
            pid: task.pid,
            exit_status: task.exit_status,
            exited_at: SystemTime::from(exited).into(),
            ..lost.clone()
        })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn tell_deletion(store: &Store, lost: &Lost) -> Result<()> {
    let Lost { namespace, id, pid, exit_status, exited_at, .. } = lost;
    let delete = TaskDelete {
        container_id: id.clone(),
        pid: *pid,
        exit_status: *exit_status,
        exited_at: Some(*exited_at),
        ..TaskDelete::default()
    };
    publish(store, namespace, &delete).await
}

async fn publish<E: Event + Named>(store: &Store, namespace: &Namespace, event: &E) -> Result<()> {
    let Any { type_url, value } = Any::pack(event);
    let event = ShimEvent { namespace: namespace.clone(), topic: E::TOPIC.to_owned(), type_url, value };
    store.forward(None, event).await.map(drop)
}

/// The first processes of tasks whose ends nobody has heard of, if the machine is still the same.
pub(super) async fn running(store: &Store) -> Result<BTreeMap<Key, u32>> {
    let all = store.task_list_all().await?.into_iter();
    let lives = all.filter(|(_, task)| {
        task.exec.is_empty() && task.pid != 0 && task.state != TaskState::Stopped && task.boot == store.boot()
    });
    Ok(lives.map(|(namespace, task)| ((namespace, task.container), task.pid)).collect())
}

/// Tells the ends of tasks of which nothing is left but a row: the machine has stopped, or somebody removed their bundles.
/// Those of `ending` are told of when they are cleaned up after.
pub(super) async fn settle(tasks: &Tasks, ending: &BTreeSet<Key>) -> Result<()> {
    for (namespace, task) in tasks.store.task_list_all().await? {
        let is_first = task.exec.is_empty();
        let key = (namespace.clone(), task.container.clone());
        if !is_first || tasks.exists(&key) || ending.contains(&key) {
            continue;
        }
        let ended = task.exited.map(|time| Timestamp::from(SystemTime::from(time)));
        let lost = Lost {
            namespace,
            id: task.container,
            pid: task.pid,
            exit_status: if ended.is_some() { task.exit_status } else { UNKNOWN_STATUS },
            exited_at: ended.unwrap_or_else(|| SystemTime::now().into()),
            cause: "the machine or the shim stopped".to_owned(),
        };
        if ended.is_none() {
            tell(&tasks.store, &lost).await?;
        } else {
            tell_deletion(&tasks.store, &lost).await?;
        }
    }
    Ok(())
}
