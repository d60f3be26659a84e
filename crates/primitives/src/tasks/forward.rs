//! What shims say of their processes: it is written down with the event that says it.

use gantry_metadata::{Event, Task, sources, tasks};
use gantry_proto_shim::any::Any;
use gantry_types::Namespace;

use super::heard;
use crate::events::validate_topic;
use crate::{Result, Store};

/// Who sends an event, and its number there: numbers only grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSource {
    /// The name.
    pub name: String,
    /// The number.
    pub sequence: u64,
}

/// An event of a shim, without its time: the journal's is that of its arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimEvent {
    /// The namespace that it happened in.
    pub namespace: Namespace,
    /// Its topic.
    pub topic: String,
    /// The type of the value.
    pub type_url: String,
    /// The value.
    pub value: Vec<u8>,
}

impl Store {
    /// Writes a shim's event to the journal, and what it says of a process to the record of that, both or neither. An event
    /// that has come from its source before is not written again; says whether it was new.
    ///
    /// # Errors
    /// InvalidArgument for the topic or the source.
    pub async fn forward(&self, source: Option<EventSource>, event: ShimEvent) -> Result<bool> {
        validate_topic(&event.topic)?;
        let ShimEvent { namespace, topic, type_url, value } = event;
        let event = Any { type_url, value };
        let heard = heard::read(&event);
        let Any { type_url, value } = event;
        let new = self.blocking(move |inner| {
            inner.write(move |change| {
                if let Some(EventSource { name, sequence }) = source
                    && !sources::accept(change, &name, sequence)?
                {
                    return Ok(false);
                }
                if let Some(heard) = heard {
                    heard.write(change, &namespace)?;
                }
                change.emit(&namespace, Event::Foreign { topic, type_url, value })?;
                Ok(true)
            })
        });
        let new = new.await?;
        crate::failpoint::hit("event.recorded");
        Ok(new)
    }

    /// Forgets how far a source was heard: who has its name from now on counts from the beginning.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn forget_source(&self, name: String) -> Result<()> {
        self.blocking(move |inner| inner.write(move |change| Ok(sources::forget(change, &name)?))).await
    }

    /// What was last heard of a process; `exec` is empty for a container's first one.
    ///
    /// # Errors
    /// NotFound.
    pub async fn task_get(&self, namespace: Namespace, container: String, exec: String) -> Result<Task> {
        self.blocking(move |inner| inner.read(|view| Ok(tasks::get(view, &namespace, &container, &exec)?)))
            .await
    }

    /// What was last heard of every process, by namespace and container; the first process comes before the execs.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn task_list_all(&self) -> Result<Vec<(Namespace, Task)>> {
        self.blocking(|inner| inner.read(|view| Ok(tasks::list_all(view)?))).await
    }

    /// Forgets a process, and with a container's first one its execs. No event says that an exec was deleted.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn task_forget(&self, namespace: Namespace, container: String, exec: String) -> Result<()> {
        self.blocking(move |inner| {
            inner.write(move |change| Ok(tasks::remove(change, &namespace, &container, &exec)?))
        })
        .await
    }
}
