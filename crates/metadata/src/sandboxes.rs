//! Records of sandboxes.

use std::collections::BTreeMap;

use gantry_types::{Labels, Namespace, identifier};
use rusqlite::{Row, params};

use crate::labels::Meaning;
use crate::node::{Kind, Node};
use crate::time::Timestamp;
use crate::{Change, Error, Opaque, View, edges, fields, row};

/// The record of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: Labels,
    /// The name of its runtime.
    pub runtime: String,
    /// The options of its runtime.
    pub runtime_options: Option<Opaque>,
    /// Its specification.
    pub spec: Option<Opaque>,
    /// What runs it.
    pub sandboxer: String,
    /// Whatever clients keep with it.
    pub extensions: BTreeMap<String, Opaque>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
}

const COLUMNS: &str = "id, name, labels, runtime, sandboxer, created, updated";
/// What a full update replaces.
const MUTABLE: [&str; 4] = ["labels", "extensions", "spec", "runtime"];

impl Sandbox {
    /// A record with nothing but a name.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            labels: Labels::new(),
            runtime: String::new(),
            runtime_options: None,
            spec: None,
            sandboxer: String::new(),
            extensions: BTreeMap::new(),
            created: Timestamp::UNIX_EPOCH,
            updated: Timestamp::UNIX_EPOCH,
        }
    }
}

/// Makes a record.
///
/// # Errors
/// AlreadyExists, InvalidArgument for the id or the labels.
pub fn create(change: &mut Change<'_>, namespace: &Namespace, sandbox: &Sandbox) -> Result<Sandbox, Error> {
    let mut sandbox = sandbox.clone();
    validate(&mut sandbox)?;
    change.enter(namespace)?;
    if find(change, namespace, &sandbox.id)?.is_some() {
        return Err(Error::exists("sandbox", sandbox.id));
    }
    sandbox.created = change.now();
    sandbox.updated = sandbox.created;
    change
        .prepare(
            "INSERT INTO sandbox (namespace, name, labels, runtime, sandboxer, created, updated)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        )?
        .execute(params![
            namespace.as_str(),
            sandbox.id,
            row::encode(&sandbox.labels),
            sandbox.runtime,
            sandbox.sandboxer,
            change.now_row()
        ])?;
    let id = change.last_id();
    write_rest(change, namespace, id, &sandbox)?;
    Ok(sandbox)
}

/// Changes a record: `fields` (`labels`, `labels.<key>`, `extensions`, `extensions.<key>`, `spec`, `runtime`) or all of these.
///
/// # Errors
/// NotFound, InvalidArgument for a field, the labels, or another runtime in an update of everything.
pub fn update(
    change: &mut Change<'_>,
    namespace: &Namespace,
    sandbox: &Sandbox,
    fields: &[String],
) -> Result<Sandbox, Error> {
    let (id, mut updated) = require(change, namespace, &sandbox.id)?;
    if fields.is_empty() {
        if updated.runtime != sandbox.runtime {
            return Err(Error::invalid("sandbox.Runtime.Name", "is immutable"));
        }
        MUTABLE.iter().try_for_each(|path| apply(path, &mut updated, sandbox))?;
    }
    fields.iter().try_for_each(|path| apply(path, &mut updated, sandbox))?;
    validate(&mut updated)?;
    updated.updated = change.now();
    change
        .prepare("UPDATE sandbox SET labels = ?2, runtime = ?3, updated = ?4 WHERE id = ?1")?
        .execute(params![id, row::encode(&updated.labels), updated.runtime, change.now_row()])?;
    write_rest(change, namespace, id, &updated)?;
    Ok(updated)
}

fn apply(path: &str, updated: &mut Sandbox, given: &Sandbox) -> Result<(), Error> {
    if fields::apply(path, "labels", &mut updated.labels, &given.labels)
        || fields::apply(path, "extensions", &mut updated.extensions, &given.extensions)
    {
        return Ok(());
    }
    match path {
        "spec" => updated.spec.clone_from(&given.spec),
        "runtime" => {
            updated.runtime.clone_from(&given.runtime);
            updated.runtime_options.clone_from(&given.runtime_options);
        }
        _ => return Err(fields::unknown(path, "sandbox", &given.id)),
    }
    Ok(())
}

/// Removes a record.
///
/// # Errors
/// NotFound.
pub fn delete(change: &mut Change<'_>, namespace: &Namespace, id: &str) -> Result<(), Error> {
    let row = find(change, namespace, id)?.ok_or_else(|| Error::not_found("sandbox", id))?;
    edges::remove(change, Node::new(Kind::Sandbox, row))?;
    row::remove_opaques(change, Kind::Sandbox, row)?;
    change.prepare("DELETE FROM sandbox WHERE id = ?1")?.execute([row])?;
    change.deleted();
    Ok(())
}

/// One record.
///
/// # Errors
/// NotFound.
pub fn get(view: &View<'_>, namespace: &Namespace, id: &str) -> Result<Sandbox, Error> {
    require(view, namespace, id).map(|(_, sandbox)| sandbox)
}

/// All records of a namespace, by id.
///
/// # Errors
/// Those of the database.
pub fn list(view: &View<'_>, namespace: &Namespace) -> Result<Vec<Sandbox>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM sandbox WHERE namespace = ?1 ORDER BY name");
    let rows = view.rows(&sql, [namespace.as_str()], read)?;
    rows.into_iter().map(|(id, sandbox)| complete(view, id, sandbox)).collect()
}

fn require(view: &View<'_>, namespace: &Namespace, id: &str) -> Result<(i64, Sandbox), Error> {
    let sql = format!("SELECT {COLUMNS} FROM sandbox WHERE namespace = ?1 AND name = ?2");
    let found = view.row(&sql, params![namespace.as_str(), id], read)?;
    let (row, sandbox) = found.ok_or_else(|| Error::not_found("sandbox", id))?;
    Ok((row, complete(view, row, sandbox)?))
}

fn complete(view: &View<'_>, row: i64, mut sandbox: Sandbox) -> Result<Sandbox, Error> {
    let opaques = row::opaques(view, Kind::Sandbox, row)?;
    sandbox.spec = opaques.spec;
    sandbox.runtime_options = opaques.options;
    sandbox.extensions = opaques.extensions;
    Ok(sandbox)
}

fn find(view: &View<'_>, namespace: &Namespace, id: &str) -> Result<Option<i64>, Error> {
    let sql = "SELECT id FROM sandbox WHERE namespace = ?1 AND name = ?2";
    view.row(sql, params![namespace.as_str(), id], |row| row.get(0))
}

fn write_rest(
    change: &mut Change<'_>,
    namespace: &Namespace,
    row: i64,
    sandbox: &Sandbox,
) -> Result<(), Error> {
    let (spec, options) = (sandbox.spec.as_ref(), sandbox.runtime_options.as_ref());
    row::write_opaques(change, Kind::Sandbox, row, spec, options, &sandbox.extensions)?;
    let meaning = Meaning::of(&sandbox.labels);
    edges::replace(change, Node::new(Kind::Sandbox, row), namespace.as_str(), &meaning)
}

fn validate(sandbox: &mut Sandbox) -> Result<(), Error> {
    identifier::validate(&sandbox.id).map_err(|error| Error::invalid("sandbox.ID", error))?;
    row::check_labels("sandbox labels", &mut sandbox.labels)
}

fn read(row: &Row<'_>) -> rusqlite::Result<(i64, Sandbox)> {
    let sandbox = Sandbox {
        id: row.get(1)?,
        labels: row::map(row, 2)?,
        runtime: row.get(3)?,
        runtime_options: None,
        spec: None,
        sandboxer: row.get(4)?,
        extensions: BTreeMap::new(),
        created: row::timestamp(row, 5)?,
        updated: row::timestamp(row, 6)?,
    };
    Ok((row.get(0)?, sandbox))
}
