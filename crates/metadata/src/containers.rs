//! Records of containers: what they are to be made of. That one runs is not known here.

use std::collections::BTreeMap;

use gantry_types::{Labels, Namespace, identifier};
use rusqlite::{Row, params};

use crate::labels::Meaning;
use crate::node::{Kind, Node};
use crate::time::Timestamp;
use crate::{Change, Error, Event, Opaque, View, edges, fields, row};

/// The record of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: Labels,
    /// The name of its image; it keeps nothing.
    pub image: String,
    /// The name of its runtime.
    pub runtime: String,
    /// The options of its runtime.
    pub runtime_options: Option<Opaque>,
    /// Its specification.
    pub spec: Option<Opaque>,
    /// The driver of its snapshot.
    pub snapshotter: String,
    /// The name of its snapshot, which it keeps.
    pub snapshot_key: String,
    /// Whatever clients keep with it.
    pub extensions: BTreeMap<String, Opaque>,
    /// The sandbox that it belongs to.
    pub sandbox: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
}

impl Container {
    /// A record with nothing but what it must have.
    pub fn new(id: impl Into<String>, runtime: impl Into<String>, spec: Opaque) -> Self {
        Self {
            id: id.into(),
            labels: Labels::new(),
            image: String::new(),
            runtime: runtime.into(),
            runtime_options: None,
            spec: Some(spec),
            snapshotter: String::new(),
            snapshot_key: String::new(),
            extensions: BTreeMap::new(),
            sandbox: String::new(),
            created: Timestamp::UNIX_EPOCH,
            updated: Timestamp::UNIX_EPOCH,
        }
    }
}

const COLUMNS: &str =
    "id, name, labels, image, runtime, snapshotter, snapshot_key, sandbox, created, updated";
/// What a full update replaces.
const MUTABLE: [&str; 5] = ["labels", "spec", "extensions", "image", "snapshotkey"];

/// Makes a record.
///
/// # Errors
/// AlreadyExists; InvalidArgument for the id, the labels, a missing runtime or specification, or a snapshot without a driver.
pub fn create(
    change: &mut Change<'_>,
    namespace: &Namespace,
    container: &Container,
) -> Result<Container, Error> {
    let mut container = container.clone();
    validate(&mut container)?;
    change.enter(namespace)?;
    if find(change, namespace, &container.id)?.is_some() {
        return Err(Error::exists("container", container.id));
    }
    container.created = change.now();
    container.updated = container.created;
    let now = change.now_row();
    change
        .prepare(
            "INSERT INTO container
             (namespace, name, labels, image, runtime, snapshotter, snapshot_key, sandbox, created, updated)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)",
        )?
        .execute(params![
            namespace.as_str(),
            container.id,
            row::encode(&container.labels),
            container.image,
            container.runtime,
            container.snapshotter,
            container.snapshot_key,
            container.sandbox,
            now
        ])?;
    let id = change.last_id();
    write_rest(change, namespace, id, &container)?;
    let (image, runtime) = (container.image.clone(), container.runtime.clone());
    change.emit(namespace, Event::ContainerCreate { id: container.id.clone(), image, runtime })?;
    Ok(container)
}

/// Changes a record: `fields` (`labels`, `labels.<key>`, `extensions`, `extensions.<key>`, `image`, `spec`, `snapshotkey`)
/// or all of these.
///
/// # Errors
/// NotFound; InvalidArgument for a field, for what [`create`] refuses, or for another runtime or snapshotter.
pub fn update(
    change: &mut Change<'_>,
    namespace: &Namespace,
    container: &Container,
    fields: &[String],
) -> Result<Container, Error> {
    if container.id.is_empty() {
        return Err(Error::invalid("container id", "must be specified"));
    }
    let (id, mut updated) = require(change, namespace, &container.id)?;
    if fields.is_empty() {
        if updated.snapshotter != container.snapshotter {
            return Err(Error::invalid("container.Snapshotter", "is immutable"));
        }
        if updated.runtime != container.runtime {
            return Err(Error::invalid("container.Runtime.Name", "is immutable"));
        }
        MUTABLE.iter().try_for_each(|path| apply(path, &mut updated, container))?;
    }
    fields.iter().try_for_each(|path| apply(path, &mut updated, container))?;
    validate(&mut updated)?;
    updated.updated = change.now();
    change
        .prepare(
            "UPDATE container SET labels = ?2, image = ?3, snapshot_key = ?4, updated = ?5 WHERE id = ?1",
        )?
        .execute(params![
            id,
            row::encode(&updated.labels),
            updated.image,
            updated.snapshot_key,
            change.now_row()
        ])?;
    write_rest(change, namespace, id, &updated)?;
    change.emit(
        namespace,
        Event::ContainerUpdate {
            id: updated.id.clone(),
            image: updated.image.clone(),
            labels: updated.labels.clone(),
            snapshot_key: updated.snapshot_key.clone(),
        },
    )?;
    Ok(updated)
}

fn apply(path: &str, updated: &mut Container, given: &Container) -> Result<(), Error> {
    if fields::apply(path, "labels", &mut updated.labels, &given.labels)
        || fields::apply(path, "extensions", &mut updated.extensions, &given.extensions)
    {
        return Ok(());
    }
    match path {
        "spec" => updated.spec.clone_from(&given.spec),
        "image" => updated.image.clone_from(&given.image),
        "snapshotkey" => updated.snapshot_key.clone_from(&given.snapshot_key),
        _ => return Err(fields::unknown(path, "container", &given.id)),
    }
    Ok(())
}

/// Removes a record.
///
/// # Errors
/// NotFound.
pub fn delete(change: &mut Change<'_>, namespace: &Namespace, id: &str) -> Result<(), Error> {
    let row = find(change, namespace, id)?.ok_or_else(|| Error::not_found("container", id))?;
    edges::remove(change, Node::new(Kind::Container, row))?;
    row::remove_opaques(change, Kind::Container, row)?;
    change.prepare("DELETE FROM container WHERE id = ?1")?.execute([row])?;
    change.deleted();
    change.emit(namespace, Event::ContainerDelete { id: id.to_owned() })
}

/// One record.
///
/// # Errors
/// NotFound.
pub fn get(view: &View<'_>, namespace: &Namespace, id: &str) -> Result<Container, Error> {
    require(view, namespace, id).map(|(_, container)| container)
}

/// All records of a namespace, by id.
///
/// # Errors
/// Those of the database.
pub fn list(view: &View<'_>, namespace: &Namespace) -> Result<Vec<Container>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM container WHERE namespace = ?1 ORDER BY name");
    let rows = view.rows(&sql, [namespace.as_str()], read)?;
    rows.into_iter().map(|(id, container)| complete(view, id, container)).collect()
}

fn require(view: &View<'_>, namespace: &Namespace, id: &str) -> Result<(i64, Container), Error> {
    let sql = format!("SELECT {COLUMNS} FROM container WHERE namespace = ?1 AND name = ?2");
    let found = view.row(&sql, params![namespace.as_str(), id], read)?;
    let (row, container) = found.ok_or_else(|| Error::not_found("container", id))?;
    Ok((row, complete(view, row, container)?))
}

fn complete(view: &View<'_>, row: i64, mut container: Container) -> Result<Container, Error> {
    let opaques = row::opaques(view, Kind::Container, row)?;
    container.spec = opaques.spec;
    container.runtime_options = opaques.options;
    container.extensions = opaques.extensions;
    Ok(container)
}

fn find(view: &View<'_>, namespace: &Namespace, id: &str) -> Result<Option<i64>, Error> {
    let sql = "SELECT id FROM container WHERE namespace = ?1 AND name = ?2";
    view.row(sql, params![namespace.as_str(), id], |row| row.get(0))
}

fn write_rest(
    change: &mut Change<'_>,
    namespace: &Namespace,
    row: i64,
    container: &Container,
) -> Result<(), Error> {
    let (spec, options) = (container.spec.as_ref(), container.runtime_options.as_ref());
    row::write_opaques(change, Kind::Container, row, spec, options, &container.extensions)?;
    let meaning = Meaning::of(&container.labels);
    edges::replace(change, Node::new(Kind::Container, row), namespace.as_str(), &meaning)
}

fn validate(container: &mut Container) -> Result<(), Error> {
    identifier::validate(&container.id).map_err(|error| Error::invalid("container.ID", error))?;
    if container.extensions.contains_key("") {
        return Err(Error::invalid("container.Extensions", "keys must not be zero-length"));
    }
    row::check_labels("container labels", &mut container.labels)?;
    if container.runtime.is_empty() {
        return Err(Error::invalid("container.Runtime.Name", "must be set"));
    }
    if container.spec.is_none() {
        return Err(Error::invalid("container.Spec", "must be set"));
    }
    if !container.snapshot_key.is_empty() && container.snapshotter.is_empty() {
        return Err(Error::invalid("container.Snapshotter", "must be set if container.SnapshotKey is set"));
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<(i64, Container)> {
    let container = Container {
        id: row.get(1)?,
        labels: row::map(row, 2)?,
        image: row.get(3)?,
        runtime: row.get(4)?,
        runtime_options: None,
        spec: None,
        snapshotter: row.get(5)?,
        snapshot_key: row.get(6)?,
        extensions: BTreeMap::new(),
        sandbox: row.get(7)?,
        created: row::timestamp(row, 8)?,
        updated: row::timestamp(row, 9)?,
    };
    Ok((row.get(0)?, container))
}
