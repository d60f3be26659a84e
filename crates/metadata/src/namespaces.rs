//! Namespaces, and which of them share the image names.

use gantry_types::labels::SHAREABLE;
use gantry_types::{Labels, Namespace};
use rusqlite::params;

use crate::{Change, Error, Event, View, fields, images, row};

/// Makes a namespace.
///
/// # Errors
/// AlreadyExists, InvalidArgument for the labels, FailedPrecondition if it cannot join the shared image names.
pub fn create(change: &mut Change<'_>, namespace: &Namespace, labels: &Labels) -> Result<(), Error> {
    let labels = Change::checked("namespace labels", labels)?;
    if exists(change, namespace)? {
        return Err(Error::exists("namespace", namespace.as_str()));
    }
    insert(change, namespace)?;
    set_labels(change, namespace, &labels)?;
    change.emit(namespace, Event::NamespaceCreate { name: namespace.to_string(), labels })
}

/// Changes the labels: those of `fields`, or all. As any other writing, it makes the namespace where there is none.
///
/// # Errors
/// InvalidArgument for a field or the labels, FailedPrecondition if it cannot join the shared image names.
pub fn update(
    change: &mut Change<'_>,
    namespace: &Namespace,
    labels: &Labels,
    fields: &[String],
) -> Result<Labels, Error> {
    ensure(change, namespace)?;
    let mut current = get(change, namespace)?;
    fields::labels_only(fields, "namespace", namespace.as_str(), &mut current, labels)?;
    row::check_labels("namespace labels", &mut current)?;
    set_labels(change, namespace, &current)?;
    change
        .emit(namespace, Event::NamespaceUpdate { name: namespace.to_string(), labels: current.clone() })?;
    Ok(current)
}

/// The labels of a namespace. containerd's Get answers with none for a namespace that is not there; that is the door's to say.
///
/// # Errors
/// NotFound.
pub fn get(view: &View<'_>, namespace: &Namespace) -> Result<Labels, Error> {
    let sql = "SELECT labels FROM namespace WHERE name = ?1";
    let labels = view.row(sql, [namespace.as_str()], |row| row::map(row, 0))?;
    labels.ok_or_else(|| Error::not_found("namespace", namespace.as_str()))
}

/// All namespaces with their labels, by name.
///
/// # Errors
/// Those of the database.
pub fn list(view: &View<'_>) -> Result<Vec<(Namespace, Labels)>, Error> {
    view.rows("SELECT name, labels FROM namespace ORDER BY name", [], |row| {
        Ok((parse(row, 0)?, row::map(row, 1)?))
    })
}

/// Removes an empty namespace.
///
/// # Errors
/// NotFound, FailedPrecondition with what is still there.
pub fn delete(change: &mut Change<'_>, namespace: &Namespace) -> Result<(), Error> {
    if !exists(change, namespace)? {
        return Err(Error::not_found("namespace", namespace.as_str()));
    }
    let left = contents(change, namespace)?;
    if !left.is_empty() {
        let reason = format!("must be empty, but it still has {}", left.join(", "));
        return Err(Error::refused("namespace", namespace.as_str(), reason));
    }
    for row in
        change.rows("SELECT id FROM lease WHERE namespace = ?1", [namespace.as_str()], |row| row.get(0))?
    {
        crate::leases::remove_row(change, row)?;
    }
    crate::ingests::remove_all(change, namespace)?;
    images::leave(change, namespace)?;
    change.prepare("DELETE FROM namespace WHERE name = ?1")?.execute([namespace.as_str()])?;
    change.deleted();
    change.emit(namespace, Event::NamespaceDelete { name: namespace.to_string() })
}

/// Whether a namespace uses the shared image names.
///
/// # Errors
/// Those of the database.
pub fn is_shared(view: &View<'_>, namespace: &Namespace) -> Result<bool, Error> {
    let sql = "SELECT shared FROM namespace WHERE name = ?1";
    let shared = view.row(sql, [namespace.as_str()], |row| row.get(0))?;
    Ok(shared.unwrap_or_else(|| view.config.shared.contains(namespace)))
}

/// The image space of a namespace.
pub(crate) fn space<'a>(view: &View<'_>, namespace: &'a Namespace) -> Result<&'a str, Error> {
    Ok(if is_shared(view, namespace)? { images::SHARED } else { namespace.as_str() })
}

/// All namespaces that use the shared image names.
pub(crate) fn sharing(view: &View<'_>) -> Result<Vec<String>, Error> {
    view.rows("SELECT name FROM namespace WHERE shared <> 0", [], |row| row.get(0))
}

pub(crate) fn ensure(change: &mut Change<'_>, namespace: &Namespace) -> Result<(), Error> {
    if exists(change, namespace)? { Ok(()) } else { insert(change, namespace) }
}

/// Has the namespaces of the configuration join, and those leave that are no more in it.
pub(crate) fn apply_configuration(change: &mut Change<'_>) -> Result<(), Error> {
    for (namespace, labels) in list(change)? {
        let wanted = wants_sharing(change, &namespace, &labels);
        match (is_shared(change, &namespace)?, wanted) {
            (false, true) => {
                for name in images::join(change, &namespace)? {
                    tracing::warn!(namespace = %namespace, image = name, "the shared names have it for another image: it stays behind");
                }
                mark(change, &namespace, true)?;
            }
            (true, false) => {
                images::leave(change, &namespace)?;
                mark(change, &namespace, false)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn exists(view: &View<'_>, namespace: &Namespace) -> Result<bool, Error> {
    view.any("SELECT 1 FROM namespace WHERE name = ?1", [namespace.as_str()])
}

fn insert(change: &Change<'_>, namespace: &Namespace) -> Result<(), Error> {
    let shared = change.config.shared.contains(namespace);
    change
        .prepare("INSERT INTO namespace (name, labels, shared) VALUES (?1, '{}', ?2)")?
        .execute(params![namespace.as_str(), shared])?;
    Ok(())
}

fn wants_sharing(view: &View<'_>, namespace: &Namespace, labels: &Labels) -> bool {
    labels.get(SHAREABLE).is_some_and(|value| value == "true") || view.config.shared.contains(namespace)
}

fn mark(change: &mut Change<'_>, namespace: &Namespace, shared: bool) -> Result<(), Error> {
    // What the shared names keep, and where, is another question now.
    change.ledger.outdated = true;
    change
        .prepare("UPDATE namespace SET shared = ?2 WHERE name = ?1")?
        .execute(params![namespace.as_str(), shared])?;
    Ok(())
}

fn set_labels(change: &mut Change<'_>, namespace: &Namespace, labels: &Labels) -> Result<(), Error> {
    change
        .prepare("UPDATE namespace SET labels = ?2 WHERE name = ?1")?
        .execute(params![namespace.as_str(), row::encode(labels)])?;
    match (is_shared(change, namespace)?, wants_sharing(change, namespace, labels)) {
        (false, true) => {
            let behind = images::join(change, namespace)?;
            if let Some(first) = behind.first() {
                let reason =
                    format!("cannot share image names: {first:?} is the name of another image there");
                return Err(Error::refused("namespace", namespace.as_str(), reason));
            }
            mark(change, namespace, true)
        }
        (true, false) => {
            images::leave(change, namespace)?;
            mark(change, namespace, false)
        }
        _ => Ok(()),
    }
}

/// The kinds of what is still in a namespace.
fn contents(view: &View<'_>, namespace: &Namespace) -> Result<Vec<String>, Error> {
    let name = namespace.as_str();
    let mut left = Vec::new();
    let held = images::containerd_holder(namespace);
    if view.any("SELECT 1 FROM image WHERE space = ?1", [name])?
        || view.any("SELECT 1 FROM holder WHERE name = ?1", [held])?
    {
        left.push("images".to_owned());
    }
    if view.any("SELECT 1 FROM content WHERE namespace = ?1", [name])? {
        left.push("blobs".to_owned());
    }
    if view.any("SELECT 1 FROM container WHERE namespace = ?1", [name])? {
        left.push("containers".to_owned());
    }
    if view.any("SELECT 1 FROM sandbox WHERE namespace = ?1", [name])? {
        left.push("sandboxes".to_owned());
    }
    if view.any("SELECT 1 FROM task WHERE namespace = ?1", [name])? {
        left.push("tasks".to_owned());
    }
    let sql = "SELECT DISTINCT driver FROM snapshot_name WHERE namespace = ?1";
    for driver in view.rows(sql, [name], |row| row.get::<_, String>(0))? {
        left.push(format!("snapshots on {driver:?} snapshotter"));
    }
    Ok(left)
}

pub(crate) fn parse(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Namespace> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error| row::damaged(column, error))
}
