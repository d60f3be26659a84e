use gantry_types::{ChainId, Namespace};
use rusqlite::types::ValueRef;
use rusqlite::{Row, params};

use super::{Kind, Snapshot, Usage};
use crate::{Error, View, row};

const SELECT: &str =
    "SELECT n.key, p.key, s.kind, n.labels, n.created, n.updated, n.number, s.parent, s.chain, s.size,
     s.inodes, n.id
     FROM snapshot_name AS n JOIN snapshot AS s ON s.number = n.number
     LEFT JOIN snapshot_name AS p ON p.id = n.parent
     WHERE n.namespace = ?1 AND n.driver = ?2";

/// A snapshot with the row of its name.
pub(super) struct Found {
    pub(super) id: i64,
    pub(super) snapshot: Snapshot,
}

pub(super) fn find(
    view: &View<'_>,
    namespace: &Namespace,
    driver: &str,
    key: &str,
) -> Result<Option<Found>, Error> {
    let sql = format!("{SELECT} AND n.key = ?3");
    view.row(&sql, params![namespace.as_str(), driver, key], |row| {
        Ok(Found { id: row.get(11)?, snapshot: read(row)? })
    })
}

/// As [`find`], of a snapshot that has to exist.
pub(super) fn require(
    view: &View<'_>,
    namespace: &Namespace,
    driver: &str,
    key: &str,
) -> Result<Found, Error> {
    find(view, namespace, driver, key)?.ok_or_else(|| Error::not_found("snapshot", key))
}

/// One snapshot.
///
/// # Errors
/// NotFound.
pub fn get(view: &View<'_>, namespace: &Namespace, driver: &str, key: &str) -> Result<Snapshot, Error> {
    require(view, namespace, driver, key).map(|found| found.snapshot)
}

/// Hands each snapshot of a namespace and driver to `take`, by name, until that returns an error.
///
/// # Errors
/// Those of `take` and of the database.
pub fn each<E: From<Error>>(
    view: &View<'_>,
    namespace: &Namespace,
    driver: &str,
    take: impl FnMut(Snapshot) -> Result<(), E>,
) -> Result<(), E> {
    view.each(&format!("{SELECT} ORDER BY n.key"), params![namespace.as_str(), driver], read, take)
}

/// All snapshots of a namespace and driver, by name.
///
/// # Errors
/// Those of the database.
pub fn list(view: &View<'_>, namespace: &Namespace, driver: &str) -> Result<Vec<Snapshot>, Error> {
    view.rows(&format!("{SELECT} ORDER BY n.key"), params![namespace.as_str(), driver], read)
}

/// The numbers of all snapshots of a driver: directories of no other are orphans.
///
/// # Errors
/// Those of the database.
pub fn driver_numbers(view: &View<'_>, driver: &str) -> Result<Vec<u64>, Error> {
    view.rows("SELECT number FROM snapshot WHERE driver = ?1 ORDER BY number", [driver], |row| {
        row::unsigned(row, 0)
    })
}

fn read(row: &Row<'_>) -> rusqlite::Result<Snapshot> {
    let code = row.get(2)?;
    let kind = Kind::from_code(code)
        .ok_or_else(|| row::damaged(2, rusqlite::types::FromSqlError::OutOfRange(code)))?;
    let optional = |column| match row.get_ref(column)? {
        ValueRef::Null => Ok::<_, rusqlite::Error>(false),
        _ => Ok(true),
    };
    Ok(Snapshot {
        name: row.get(0)?,
        parent: row.get(1)?,
        kind,
        labels: row::map(row, 3)?,
        created: row::timestamp(row, 4)?,
        updated: row::timestamp(row, 5)?,
        number: row::unsigned(row, 6)?,
        parent_number: if optional(7)? { Some(row::unsigned(row, 7)?) } else { None },
        chain: if optional(8)? { Some(ChainId(row::digest(row, 8)?)) } else { None },
        usage: Usage { size: row::unsigned(row, 9)?, inodes: row::unsigned(row, 10)? },
    })
}
