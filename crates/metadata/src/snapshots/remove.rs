use gantry_types::Namespace;

use super::read::require;
use crate::node::{Kind as NodeKind, Node};
use crate::released::release;
use crate::{Bytes, Change, Error, Event, Resource, edges, leases};

/// Removes a name; the directory is released if no other name stands for it.
///
/// # Errors
/// NotFound, FailedPrecondition if it is the parent of others.
pub fn remove(
    change: &mut Change<'_>,
    namespace: &Namespace,
    driver: &str,
    key: &str,
    lease: Option<&str>,
) -> Result<(), Error> {
    let found = require(change, namespace, driver, key)?;
    if change.any("SELECT 1 FROM snapshot_name WHERE parent = ?1", [found.id])? {
        return Err(Error::refused("snapshot", key, "cannot be removed: it has children"));
    }
    let resource = Resource::Snapshot { driver: driver.to_owned(), key: key.to_owned() };
    leases::forget(change, namespace, lease, &resource)?;
    remove_row(change, namespace, driver, key, found.id, found.snapshot.number)
}

/// Removes a name without children.
pub(crate) fn remove_row(
    change: &mut Change<'_>,
    namespace: &Namespace,
    driver: &str,
    key: &str,
    id: i64,
    number: u64,
) -> Result<(), Error> {
    edges::remove(change, Node::new(NodeKind::Snapshot, id))?;
    change.prepare("DELETE FROM snapshot_name WHERE id = ?1")?.execute([id])?;
    change.deleted();
    if !change.any("SELECT 1 FROM snapshot_name WHERE number = ?1", [number.cast_signed()])? {
        change.prepare("DELETE FROM snapshot WHERE number = ?1")?.execute([number.cast_signed()])?;
        release(change, &Bytes::Snapshot { driver: driver.to_owned(), number })?;
    }
    change.emit(namespace, Event::SnapshotRemove { key: key.to_owned(), snapshotter: driver.to_owned() })
}
