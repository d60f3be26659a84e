//! Activated mounts, by a name of the namespace. One with a lease goes with it.

use gantry_types::{Labels, Namespace};
use rusqlite::{Row, params};

use crate::released::release;
use crate::time::Timestamp;
use crate::{Bytes, Change, Error, View, fields, leases, row};

/// An activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Its name.
    pub name: String,
    /// The lease that keeps it; without one it stays until it is deactivated.
    pub lease: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// What was mounted, in the words of the caller.
    pub state: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
}

const COLUMNS: &str = "name, lease, labels, state, created, updated";
/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 4096;

/// Records an activation.
///
/// # Errors
/// AlreadyExists, InvalidArgument for the name or the labels, NotFound for the lease.
pub fn create(
    change: &mut Change<'_>,
    namespace: &Namespace,
    name: &str,
    labels: &Labels,
    state: &str,
    lease: Option<&str>,
) -> Result<Activation, Error> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(Error::invalid("mount name", format_args!("must have 1 to {MAX_NAME_BYTES} bytes")));
    }
    let labels = Change::checked("mount labels", labels)?;
    change.enter(namespace)?;
    if let Some(lease) = lease {
        leases::require(change, namespace, lease)?;
    }
    if find(change, namespace, name)?.is_some() {
        return Err(Error::exists("mount", name));
    }
    change
        .prepare(
            "INSERT INTO mount (namespace, name, lease, labels, state, created, updated)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        )?
        .execute(params![
            namespace.as_str(),
            name,
            lease.unwrap_or_default(),
            row::encode(&labels),
            state,
            change.now_row()
        ])?;
    get(change, namespace, name)
}

/// Changes labels (those of `fields`, or all) and, if it is given, the state.
///
/// # Errors
/// NotFound, InvalidArgument for a field or the labels.
pub fn update(
    change: &mut Change<'_>,
    namespace: &Namespace,
    name: &str,
    labels: &Labels,
    fields: &[String],
    state: Option<&str>,
) -> Result<Activation, Error> {
    let mut mount = get(change, namespace, name)?;
    fields::labels_only(fields, "mount", name, &mut mount.labels, labels)?;
    row::check_labels("mount labels", &mut mount.labels)?;
    change
        .prepare(
            "UPDATE mount SET labels = ?3, state = coalesce(?4, state), updated = ?5 WHERE namespace = ?1 AND name = ?2",
        )?
        .execute(params![namespace.as_str(), name, row::encode(&mount.labels), state, change.now_row()])?;
    get(change, namespace, name)
}

/// Removes the record of what the caller has unmounted.
///
/// # Errors
/// NotFound.
pub fn remove(change: &mut Change<'_>, namespace: &Namespace, name: &str) -> Result<(), Error> {
    let id = find(change, namespace, name)?.ok_or_else(|| Error::not_found("mount", name))?;
    change.prepare("DELETE FROM mount WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Removes, and releases, activations whose lease is gone. Returns how many.
pub(crate) fn collect(change: &mut Change<'_>, limit: usize) -> Result<usize, Error> {
    let sql = "SELECT id, namespace, state FROM mount AS m WHERE lease <> '' AND NOT EXISTS
               (SELECT 1 FROM lease AS l WHERE l.namespace = m.namespace AND l.name = m.lease) LIMIT ?1";
    let rows = change.rows(sql, [i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        Ok((row.get::<_, i64>(0)?, crate::namespaces::parse(row, 1)?, row.get::<_, String>(2)?))
    })?;
    let count = rows.len();
    for (id, namespace, state) in rows {
        change.prepare("DELETE FROM mount WHERE id = ?1")?.execute([id])?;
        release(change, &Bytes::Mount { namespace, state })?;
    }
    Ok(count)
}

/// One activation.
///
/// # Errors
/// NotFound.
pub fn get(view: &View<'_>, namespace: &Namespace, name: &str) -> Result<Activation, Error> {
    let sql = format!("SELECT {COLUMNS} FROM mount WHERE namespace = ?1 AND name = ?2");
    view.row(&sql, params![namespace.as_str(), name], read)?.ok_or_else(|| Error::not_found("mount", name))
}

/// All activations of a namespace, by name.
///
/// # Errors
/// Those of the database.
pub fn list(view: &View<'_>, namespace: &Namespace) -> Result<Vec<Activation>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM mount WHERE namespace = ?1 ORDER BY name");
    view.rows(&sql, [namespace.as_str()], read)
}

fn find(view: &View<'_>, namespace: &Namespace, name: &str) -> Result<Option<i64>, Error> {
    let sql = "SELECT id FROM mount WHERE namespace = ?1 AND name = ?2";
    view.row(sql, params![namespace.as_str(), name], |row| row.get(0))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Activation> {
    let lease: String = row.get(1)?;
    Ok(Activation {
        name: row.get(0)?,
        lease: (!lease.is_empty()).then_some(lease),
        labels: row::map(row, 2)?,
        state: row.get(3)?,
        created: row::timestamp(row, 4)?,
        updated: row::timestamp(row, 5)?,
    })
}
