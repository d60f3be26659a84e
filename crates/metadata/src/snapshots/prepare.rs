use gantry_types::labels::SNAPSHOT_REF;
use gantry_types::{Labels, Namespace};
use rusqlite::params;

use super::read::{find, require};
use super::{Kind, Snapshot, get, reserve_number};
use crate::labels::Meaning;
use crate::node::{Kind as NodeKind, Node};
use crate::{Change, Error, Event, Resource, edges};

/// The longest name, in bytes.
const MAX_KEY_BYTES: usize = 4096;

/// A snapshot to be made.
#[derive(Debug, Clone, Copy)]
pub struct Creation<'a> {
    /// The driver.
    pub driver: &'a str,
    /// The name.
    pub key: &'a str,
    /// The name of the parent.
    pub parent: Option<&'a str>,
    /// The labels of the name.
    pub labels: &'a Labels,
    /// The number of its directory, if the caller made that already ([`reserve_number`]).
    pub number: Option<u64>,
    /// The lease of the request.
    pub lease: Option<&'a str>,
}

/// Makes an active snapshot.
///
/// # Errors
/// AlreadyExists for the name, or for what its label `containerd.io/snapshot.ref` names (the lease gets what exists);
/// NotFound for the parent or the lease; InvalidArgument for the name, the labels, or a parent that is not committed.
pub fn prepare(
    change: &mut Change<'_>,
    namespace: &Namespace,
    new: &Creation<'_>,
) -> Result<Snapshot, Error> {
    let snapshot = create(change, namespace, new, Kind::Active)?;
    change.emit(
        namespace,
        Event::SnapshotPrepare {
            key: new.key.to_owned(),
            parent: new.parent.unwrap_or_default().to_owned(),
            snapshotter: new.driver.to_owned(),
        },
    )?;
    Ok(snapshot)
}

/// Makes a view. containerd has no event for it.
///
/// # Errors
/// As [`prepare`].
pub fn view(change: &mut Change<'_>, namespace: &Namespace, new: &Creation<'_>) -> Result<Snapshot, Error> {
    create(change, namespace, new, Kind::View)
}

fn create(
    change: &mut Change<'_>,
    namespace: &Namespace,
    new: &Creation<'_>,
    kind: Kind,
) -> Result<Snapshot, Error> {
    let labels = Change::checked("snapshot labels", new.labels)?;
    check_key(new.key)?;
    let target = labels.get(SNAPSHOT_REF).map(String::as_str);
    for key in target.into_iter().chain([new.key]) {
        if find(change, namespace, new.driver, key)?.is_some() {
            let driver = new.driver.to_owned();
            change.lease_anyway(namespace, new.lease, Resource::Snapshot { driver, key: key.to_owned() })?;
            return Err(Error::exists("snapshot", key));
        }
    }
    let parent = new.parent.filter(|parent| !parent.is_empty());
    let parent = parent.map(|parent| require(change, namespace, new.driver, parent)).transpose()?;
    if let Some(parent) = &parent
        && parent.snapshot.kind != Kind::Committed
    {
        let reason = format_args!("{:?} is not a committed snapshot", parent.snapshot.name);
        return Err(Error::invalid("parent", reason));
    }
    change.enter(namespace)?;
    let number = match new.number {
        Some(number) => number,
        None => reserve_number(change)?,
    };
    let parent_number = parent.as_ref().map(|parent| parent.snapshot.number);
    change
        .prepare(
            "INSERT INTO snapshot (number, driver, kind, parent, chain, size, inodes, boot, synced)
             VALUES (?1, ?2, ?3, ?4, NULL, 0, 0, ?5, 0)",
        )?
        .execute(params![
            number.cast_signed(),
            new.driver,
            kind as u8,
            parent_number.map(u64::cast_signed),
            change.config.boot
        ])?;
    insert_name(change, namespace, new.driver, new.key, number, parent.map(|parent| parent.id), &labels)?;
    let resource = Resource::Snapshot { driver: new.driver.to_owned(), key: new.key.to_owned() };
    change.lease(namespace, new.lease, resource)?;
    get(change, namespace, new.driver, new.key)
}

pub(super) fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(Error::invalid("snapshot key", format_args!("must have 1 to {MAX_KEY_BYTES} bytes")));
    }
    Ok(())
}

pub(super) fn insert_name(
    change: &mut Change<'_>,
    namespace: &Namespace,
    driver: &str,
    key: &str,
    number: u64,
    parent: Option<i64>,
    labels: &Labels,
) -> Result<(), Error> {
    let meaning = Meaning::of(labels);
    change
        .prepare(
            "INSERT INTO snapshot_name
             (namespace, driver, key, number, parent, labels, created, updated, root, expires, used)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            namespace.as_str(),
            driver,
            key,
            number.cast_signed(),
            parent,
            crate::row::encode(labels),
            change.now_row(),
            meaning.root,
            meaning.expires,
            meaning.used
        ])?;
    let id = change.last_id();
    edges::insert(change, Node::new(NodeKind::Snapshot, id), namespace.as_str(), &meaning)
}
