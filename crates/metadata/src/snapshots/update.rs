use gantry_types::{Labels, Namespace};
use rusqlite::params;

use super::read::require;
use super::{Snapshot, Usage};
use crate::labels::Meaning;
use crate::node::{Kind as NodeKind, Node};
use crate::{Change, Error, edges, fields, row};

/// Changes the labels: those of `fields`, or all.
///
/// # Errors
/// NotFound, InvalidArgument for a field or the labels.
pub fn update(
    change: &mut Change<'_>,
    namespace: &Namespace,
    driver: &str,
    key: &str,
    labels: &Labels,
    fields: &[String],
) -> Result<Snapshot, Error> {
    let mut found = require(change, namespace, driver, key)?;
    let snapshot = &mut found.snapshot;
    fields::labels_only(fields, "snapshot", key, &mut snapshot.labels, labels)?;
    row::check_labels("snapshot labels", &mut snapshot.labels)?;
    snapshot.updated = change.now();
    let meaning = Meaning::of(&snapshot.labels);
    change
        .prepare(
            "UPDATE snapshot_name SET labels = ?2, updated = ?3, root = ?4, expires = ?5, used = ?6 WHERE id = ?1",
        )?
        .execute(params![
            found.id,
            row::encode(&snapshot.labels),
            change.now_row(),
            meaning.root,
            meaning.expires,
            meaning.used
        ])?;
    edges::replace(change, Node::new(NodeKind::Snapshot, found.id), namespace.as_str(), &meaning)?;
    Ok(found.snapshot)
}

/// Records what a snapshot takes, when that is known only after its commit.
///
/// # Errors
/// Those of the database.
pub fn set_usage(change: &mut Change<'_>, number: u64, usage: Usage) -> Result<(), Error> {
    let (size, inodes) = (row::size("usage", usage.size)?, row::size("usage", usage.inodes)?);
    change.prepare("UPDATE snapshot SET size = ?2, inodes = ?3 WHERE number = ?1")?.execute(params![
        number.cast_signed(),
        size,
        inodes
    ])?;
    Ok(())
}
