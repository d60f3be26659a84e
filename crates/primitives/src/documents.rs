//! What the engine keeps, and the one way to change several records at once.

use gantry_metadata::{Container, Event, containers, documents};
use gantry_types::Namespace;

use crate::{Result, Store};

/// The namespace of the engine's containers.
pub const ENGINE_NAMESPACE: &str = "moby";
/// The kind of the documents of its containers.
pub const CONTAINER_DOCUMENT: &str = "container";
/// What the topics of its events begin with; clients of containerd's events do not get them.
pub const ENGINE_TOPICS: &str = "/engine/";

/// One change of several that are made together or not at all.
#[derive(Debug, Clone)]
pub enum Step {
    /// Writes a value in place of the one that was there.
    PutDocument {
        /// What it is of.
        kind: &'static str,
        /// Its name.
        name: String,
        /// JSON that only the engine reads.
        value: Vec<u8>,
    },
    /// Removes a value, if it is there.
    RemoveDocument {
        /// What it is of.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Makes the record of a container.
    CreateContainer(Box<Container>),
    /// Replaces fields of a container's record.
    UpdateContainer(Box<Container>, Vec<String>),
    /// Removes the record of a container, if it is there.
    RemoveContainer(String),
    /// Writes an event to the journal; who subscribes gets it after the commit.
    Announce {
        /// A path of words.
        topic: String,
        /// The type of the value.
        type_url: &'static str,
        /// The event.
        value: Vec<u8>,
    },
}

impl Store {
    /// Makes all of `steps`, or none.
    ///
    /// # Errors
    /// Those of the steps: AlreadyExists, NotFound, InvalidArgument.
    pub async fn commit(&self, namespace: Namespace, steps: Vec<Step>) -> Result<()> {
        for step in &steps {
            if let Step::Announce { topic, .. } = step {
                crate::events::validate_topic(topic)?;
            }
        }
        self.blocking(move |inner| {
            inner.write(move |change| {
                for step in steps {
                    take(change, &namespace, step)?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The values of a kind, by name.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn documents(&self, kind: &'static str) -> Result<Vec<(String, Vec<u8>)>> {
        self.blocking(move |inner| inner.read(|view| Ok(documents::list(view, kind)?))).await
    }
}

/// Refuses to change a container that the engine has made, whose record is half of what it keeps (DESIGN 5: the owner's door).
pub(crate) fn refuse_owned(
    change: &gantry_metadata::Change<'_>,
    namespace: &Namespace,
    id: &str,
) -> Result<()> {
    if namespace.as_str() == ENGINE_NAMESPACE && documents::exists(change, CONTAINER_DOCUMENT, id)? {
        let reason = "belongs to Gantry's engine: use docker or gantry for this".to_owned();
        return Err(crate::Error::Refused { what: "container", name: id.to_owned(), reason });
    }
    Ok(())
}

fn take(change: &mut gantry_metadata::Change<'_>, namespace: &Namespace, step: Step) -> Result<()> {
    match step {
        Step::PutDocument { kind, name, value } => documents::put(change, kind, &name, &value)?,
        Step::RemoveDocument { kind, name } => documents::remove(change, kind, &name)?,
        Step::CreateContainer(container) => {
            containers::create(change, namespace, &container)?;
        }
        Step::UpdateContainer(container, fields) => {
            containers::update(change, namespace, &container, &fields)?;
        }
        Step::RemoveContainer(id) => match containers::delete(change, namespace, &id) {
            Err(error) if error.kind() == gantry_types::ErrorKind::NotFound => {}
            result => result?,
        },
        Step::Announce { topic, type_url, value } => {
            change.emit(namespace, Event::Foreign { topic, type_url: type_url.to_owned(), value })?;
        }
    }
    Ok(())
}
