use gantry_types::{ChainId, Labels, Namespace};
use rusqlite::params;

use super::prepare::check_key;
use super::read::{Found, find, require};
use super::{Kind, Snapshot, Usage, get};
use crate::labels::Meaning;
use crate::node::{Kind as NodeKind, Node};
use crate::released::release;
use crate::{Bytes, Change, Error, Event, Resource, edges, leases, row};

/// How an active snapshot is committed.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// The driver.
    pub driver: &'a str,
    /// The name that it has.
    pub key: &'a str,
    /// The name that it gets.
    pub name: &'a str,
    /// The parent that it gets, if it has none (a rebase).
    pub parent: Option<&'a str>,
    /// The labels that it gets in place of those it had.
    pub labels: &'a Labels,
    /// What it takes.
    pub usage: Usage,
    /// Its chain id, from our own unpacker alone: what a client commits is never shared.
    pub chain: Option<&'a ChainId>,
    /// The lease of the request.
    pub lease: Option<&'a str>,
}

/// What a commit made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The snapshot under its new name.
    pub snapshot: Snapshot,
    /// The number that it had, if somebody else has committed the same chain meanwhile: the name stands for the other's
    /// directory now, and this one is released.
    pub superseded: Option<u64>,
}

/// Commits an active snapshot.
///
/// # Errors
/// AlreadyExists for the name (the lease gets it), NotFound for the key, the parent or the lease, FailedPrecondition for a
/// key that is not active, InvalidArgument for the name, the labels, or a parent that is not committed.
pub fn commit(
    change: &mut Change<'_>,
    namespace: &Namespace,
    request: &Commit<'_>,
) -> Result<Committed, Error> {
    let labels = Change::checked("snapshot labels", request.labels)?;
    check_key(request.name)?;
    let resource = |key: &str| Resource::Snapshot { driver: request.driver.to_owned(), key: key.to_owned() };
    if find(change, namespace, request.driver, request.name)?.is_some() {
        change.lease_anyway(namespace, request.lease, resource(request.name))?;
        return Err(Error::exists("snapshot", request.name));
    }
    let active = require(change, namespace, request.driver, request.key)?;
    if active.snapshot.kind != Kind::Active {
        return Err(Error::refused("snapshot", request.key, "is not active"));
    }
    let parent = parent(change, namespace, request, &active)?;
    let parent_number = parent.as_ref().map(|parent| parent.snapshot.number);
    let superseded = place(change, request, active.snapshot.number, parent_number)?;
    rename(change, namespace, request, &active, parent.map(|parent| parent.id), &labels, superseded)?;
    change.lease(namespace, request.lease, resource(request.name))?;
    leases::forget(change, namespace, request.lease, &resource(request.key))?;
    if superseded.is_some() {
        let number = active.snapshot.number;
        change.prepare("DELETE FROM snapshot WHERE number = ?1")?.execute([number.cast_signed()])?;
        release(change, &Bytes::Snapshot { driver: request.driver.to_owned(), number })?;
    }
    change.emit(
        namespace,
        Event::SnapshotCommit {
            key: request.key.to_owned(),
            name: request.name.to_owned(),
            snapshotter: request.driver.to_owned(),
        },
    )?;
    let snapshot = get(change, namespace, request.driver, request.name)?;
    Ok(Committed { snapshot, superseded: superseded.map(|_| active.snapshot.number) })
}

/// The parent that the snapshot has, or gets.
fn parent(
    change: &Change<'_>,
    namespace: &Namespace,
    request: &Commit<'_>,
    active: &Found,
) -> Result<Option<Found>, Error> {
    let name = match &active.snapshot.parent {
        Some(parent) => parent.as_str(),
        // As with containerd, a parent that is there already stays.
        None => match request.parent.filter(|parent| !parent.is_empty()) {
            Some(parent) => parent,
            None => return Ok(None),
        },
    };
    let parent = require(change, namespace, request.driver, name)?;
    if parent.snapshot.kind != Kind::Committed {
        return Err(Error::invalid("parent", format_args!("{name:?} is not a committed snapshot")));
    }
    Ok(Some(parent))
}

/// Makes the directory's record a committed one. Returns the number of the directory that has its chain already.
fn place(
    change: &Change<'_>,
    request: &Commit<'_>,
    number: u64,
    parent: Option<u64>,
) -> Result<Option<u64>, Error> {
    let mut chain = request.chain;
    if let Some(id) = chain {
        let sql = "SELECT number, parent FROM snapshot WHERE driver = ?1 AND chain = ?2";
        let other = change.row(sql, params![request.driver, id.as_str()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?))
        })?;
        match other {
            Some((other, its)) if its == parent.map(u64::cast_signed) => {
                return Ok(Some(other.cast_unsigned()));
            }
            // It stands on another directory of the same content: each keeps its own.
            Some(_) => chain = None,
            None => {}
        }
        let shared = match parent {
            None => true,
            Some(parent) => {
                let sql = "SELECT 1 FROM snapshot WHERE number = ?1 AND chain IS NOT NULL";
                change.any(sql, [parent.cast_signed()])?
            }
        };
        // Whoever shares it would have to share what it stands on.
        chain = chain.filter(|_| shared);
    }
    change
        .prepare(
            "UPDATE snapshot SET kind = ?2, parent = ?3, chain = ?4, size = ?5, inodes = ?6, boot = ?7, synced = 0
             WHERE number = ?1",
        )?
        .execute(params![
            number.cast_signed(),
            Kind::Committed as u8,
            parent.map(u64::cast_signed),
            chain.map(ChainId::as_str),
            row::size("usage", request.usage.size)?,
            row::size("usage", request.usage.inodes)?,
            change.config.boot
        ])?;
    Ok(None)
}

fn rename(
    change: &mut Change<'_>,
    namespace: &Namespace,
    request: &Commit<'_>,
    active: &Found,
    parent: Option<i64>,
    labels: &Labels,
    superseded: Option<u64>,
) -> Result<(), Error> {
    let meaning = Meaning::of(labels);
    let number = superseded.unwrap_or(active.snapshot.number);
    change
        .prepare(
            "UPDATE snapshot_name SET key = ?2, number = ?3, parent = ?4, labels = ?5, created = ?6, updated = ?6,
             root = ?7, expires = ?8, used = ?9 WHERE id = ?1",
        )?
        .execute(params![
            active.id,
            request.name,
            number.cast_signed(),
            parent,
            row::encode(labels),
            change.now_row(),
            meaning.root,
            meaning.expires,
            meaning.used
        ])?;
    edges::replace(change, Node::new(NodeKind::Snapshot, active.id), namespace.as_str(), &meaning)
}
