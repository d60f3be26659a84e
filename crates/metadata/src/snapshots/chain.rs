//! Chain snapshots, which namespaces share, and the numbers of all.

use std::collections::BTreeSet;

use gantry_types::{ChainId, Labels, Namespace};
use rusqlite::params;

use super::prepare::insert_name;
use super::read::find;
use super::{Snapshot, get, remove_row};
use crate::{Change, Error, Event, Resource, View, row};

/// The key of the last number that was given out.
pub(crate) const NUMBER: &str = "snapshot_number";
/// The most snapshots in a stack.
const MAX_DEPTH: usize = 1024;

/// The number of the shared snapshot of a chain, if there is one.
///
/// # Errors
/// Those of the database.
pub fn find_chain(view: &View<'_>, driver: &str, chain: &ChainId) -> Result<Option<u64>, Error> {
    let sql = "SELECT number FROM snapshot WHERE driver = ?1 AND chain = ?2";
    view.row(sql, params![driver, chain.as_str()], |row| row::unsigned(row, 0))
}

/// Gives a namespace the shared snapshot of a chain and all below it, each under its chain id, as far as it does not have
/// them. The lease gets the uppermost. The events are those of an unpacking: who follows them sees each snapshot come.
///
/// # Errors
/// NotFound if nobody has the chain, or for the lease; FailedPrecondition if the namespace has one of these names for a
/// snapshot of its own.
pub fn share(
    change: &mut Change<'_>,
    namespace: &Namespace,
    driver: &str,
    chain: &ChainId,
    labels: &Labels,
    lease: Option<&str>,
) -> Result<Snapshot, Error> {
    let labels = Change::checked("snapshot labels", labels)?;
    let mut stack = Vec::new();
    let mut next = find_chain(change, driver, chain)?;
    if next.is_none() {
        return Err(Error::not_found("chain", chain.as_str()));
    }
    while let Some(number) = next {
        let sql = "SELECT chain, parent FROM snapshot WHERE number = ?1";
        let found = change.row(sql, [number.cast_signed()], |row| {
            Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<i64>>(1)?))
        })?;
        let Some((Some(id), parent)) = found else { break };
        stack.push((id, number));
        if stack.len() > MAX_DEPTH {
            return Err(Error::damaged(format!("chain {chain} is deeper than {MAX_DEPTH}")));
        }
        next = parent.map(i64::cast_unsigned);
    }
    change.enter(namespace)?;
    let mut parent = None;
    let mut below = "";
    for (key, number) in stack.iter().rev() {
        parent = Some(match find(change, namespace, driver, key)? {
            Some(found) if found.snapshot.number == *number => found.id,
            Some(_) => return Err(Error::refused("snapshot", key, "is another one in this namespace")),
            None => {
                let labels = if key == chain.as_str() { labels.clone() } else { Labels::new() };
                insert_name(change, namespace, driver, key, *number, parent, &labels)?;
                tell(change, namespace, driver, key, *number, below)?;
                find(change, namespace, driver, key)?.ok_or_else(|| Error::not_found("snapshot", key))?.id
            }
        });
        below = key;
    }
    change.lease(
        namespace,
        lease,
        Resource::Snapshot { driver: driver.to_owned(), key: chain.to_string() },
    )?;
    get(change, namespace, driver, chain.as_str())
}

/// The name of a snapshot that is being unpacked, in containerd's form.
pub fn extraction_key(number: u64, chain: &str) -> String {
    format!("extract-{number} {chain}")
}

/// The events of a snapshot that is unpacked.
fn tell(
    change: &mut Change<'_>,
    namespace: &Namespace,
    driver: &str,
    name: &str,
    number: u64,
    parent: &str,
) -> Result<(), Error> {
    let (key, snapshotter) = (extraction_key(number, name), driver.to_owned());
    let parent = parent.to_owned();
    change.emit(
        namespace,
        Event::SnapshotPrepare { key: key.clone(), parent, snapshotter: snapshotter.clone() },
    )?;
    change.emit(namespace, Event::SnapshotCommit { key, name: name.to_owned(), snapshotter })
}

/// A number that no snapshot ever had. It is used up even if nothing is made with it.
///
/// # Errors
/// Those of the database.
pub fn reserve_number(change: &mut Change<'_>) -> Result<u64, Error> {
    let sql = "INSERT INTO setting (key, value) VALUES (?1, '1')
               ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1 RETURNING CAST(value AS INTEGER)";
    let number = change.row(sql, [NUMBER], |row| row::unsigned(row, 0))?;
    number.ok_or_else(|| Error::damaged("no number for a snapshot".to_owned()))
}

/// Has later numbers be larger than `floor`, the largest number of a directory that was found, and than every record's.
///
/// # Errors
/// Those of the database.
pub fn raise_number(change: &mut Change<'_>, floor: u64) -> Result<(), Error> {
    let floor = row::size("snapshot number", floor)?;
    let largest =
        change.row("SELECT coalesce(max(number), 0) FROM snapshot", [], |row| row.get::<_, i64>(0))?;
    let floor = floor.max(largest.unwrap_or(0));
    change
        .prepare(
            "INSERT INTO setting (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = max(CAST(value AS INTEGER), ?2)",
        )?
        .execute(params![NUMBER, floor])?;
    Ok(())
}

/// Committed snapshots of a driver that were made in this boot and not yet forced to the disk.
///
/// # Errors
/// Those of the database.
pub fn unsynced(view: &View<'_>, driver: &str) -> Result<Vec<u64>, Error> {
    let sql = "SELECT number FROM snapshot WHERE synced = 0 AND boot = ?1 AND driver = ?2 AND kind = 3";
    view.rows(sql, params![view.config.boot, driver], |row| row::unsigned(row, 0))
}

/// Records that snapshots were forced to the disk.
///
/// # Errors
/// Those of the database.
pub fn mark_synced(change: &mut Change<'_>, numbers: &[u64]) -> Result<(), Error> {
    for number in numbers {
        change
            .prepare("UPDATE snapshot SET synced = 1 WHERE number = ?1")?
            .execute([number.cast_signed()])?;
    }
    Ok(())
}

/// What became of the unsynced snapshots of earlier boots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Chain snapshots that went with their names: they are unpacked again when they are needed.
    pub dropped: Vec<u64>,
    /// Chain snapshots that something else stands on: they have to be unpacked again in place, then
    /// [marked](mark_synced).
    pub suspect: Vec<(u64, ChainId)>,
    /// Others: containers' data and what clients committed. Whatever their writers did not force may be lost.
    pub unsure: Vec<u64>,
}

/// Deals with what an unclean boot leaves of a driver.
///
/// # Errors
/// Those of the database.
pub fn forget_unsynced(change: &mut Change<'_>, driver: &str) -> Result<Forgotten, Error> {
    let sql =
        "SELECT number, chain FROM snapshot WHERE synced = 0 AND boot <> ?1 AND driver = ?2 ORDER BY number";
    let rows = change.rows(sql, params![change.config.boot, driver], |row| {
        let shared = row.get_ref(1)? != rusqlite::types::ValueRef::Null;
        Ok((row::unsigned(row, 0)?, if shared { Some(ChainId(row::digest(row, 1)?)) } else { None }))
    })?;
    let mut forgotten = Forgotten::default();
    let mut gone = BTreeSet::new();
    for (number, chain) in rows {
        let Some(chain) = chain else {
            forgotten.unsure.push(number);
            continue;
        };
        if gone.contains(&number) {
            continue;
        }
        match above(change, number)? {
            Some(stack) => {
                for number in stack.into_iter().rev().filter(|number| gone.insert(*number)) {
                    drop_names(change, driver, number)?;
                    forgotten.dropped.push(number);
                }
            }
            None => forgotten.suspect.push((number, chain)),
        }
    }
    Ok(forgotten)
}

/// `number` and all that stands on it, parents first; nothing if some of it is no chain snapshot.
fn above(change: &Change<'_>, number: u64) -> Result<Option<Vec<u64>>, Error> {
    let mut stack = vec![number];
    let mut next = 0;
    while let Some(number) = stack.get(next).copied() {
        next += 1;
        let sql = "SELECT DISTINCT s.number, s.chain IS NOT NULL FROM snapshot_name AS p
                   JOIN snapshot_name AS n ON n.parent = p.id JOIN snapshot AS s ON s.number = n.number
                   WHERE p.number = ?1";
        for (child, shared) in change
            .rows(sql, [number.cast_signed()], |row| Ok((row::unsigned(row, 0)?, row.get::<_, bool>(1)?)))?
        {
            if !shared {
                return Ok(None);
            }
            if !stack.contains(&child) {
                stack.push(child);
            }
        }
    }
    Ok(Some(stack))
}

fn drop_names(change: &mut Change<'_>, driver: &str, number: u64) -> Result<(), Error> {
    let sql = "SELECT id, namespace, key FROM snapshot_name WHERE number = ?1";
    let names = change.rows(sql, [number.cast_signed()], |row| {
        Ok((row.get::<_, i64>(0)?, crate::namespaces::parse(row, 1)?, row.get::<_, String>(2)?))
    })?;
    for (id, namespace, key) in names {
        remove_row(change, &namespace, driver, &key, id, number)?;
    }
    Ok(())
}
