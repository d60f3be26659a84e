//! Leases: what they name is kept until they are deleted or expire.

use gantry_types::{Digest, Labels, Namespace};
use rusqlite::{Row, params};

use crate::labels::Meaning;
use crate::node::Kind;
use crate::time::Timestamp;
use crate::{Change, Error, View, row};

/// The longest id of a lease, in bytes. containerd has no limit of its own.
const MAX_ID_BYTES: usize = 1024;

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: String,
    /// Its labels; `containerd.io/gc.expire` and `containerd.io/gc.flat` count.
    pub labels: Labels,
    /// When it was made.
    pub created: Timestamp,
}

/// What a lease names. It need not exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// A blob of the namespace.
    Content(Digest),
    /// An ingest, by its ref.
    Ingest(String),
    /// An image name.
    Image(String),
    /// A snapshot name.
    Snapshot {
        /// The driver.
        driver: String,
        /// The name.
        key: String,
    },
}

impl Resource {
    /// Reads containerd's pair of type and id.
    ///
    /// # Errors
    /// Unimplemented for a type that leases do not know, InvalidArgument for a malformed one.
    pub fn parse(kind: &str, id: &str) -> Result<Self, Error> {
        let (name, driver) = kind.split_once('/').map_or((kind, None), |(name, driver)| (name, Some(driver)));
        match (name, driver) {
            ("content", None) => {
                let digest =
                    Digest::parse(id).map_err(|error| Error::invalid("content resource id", error))?;
                Ok(Self::Content(digest))
            }
            ("ingests", None) => Ok(Self::Ingest(id.to_owned())),
            ("images", None) => Ok(Self::Image(id.to_owned())),
            ("snapshots", Some(driver)) if !driver.contains('/') => {
                Ok(Self::Snapshot { driver: driver.to_owned(), key: id.to_owned() })
            }
            ("content" | "ingests" | "images" | "snapshots", _) => Err(Error::invalid("resource type", kind)),
            _ => Err(Error::ResourceType(kind.to_owned())),
        }
    }

    /// containerd's type of it.
    pub fn kind(&self) -> String {
        match self {
            Self::Content(_) => "content".to_owned(),
            Self::Ingest(_) => "ingests".to_owned(),
            Self::Image(_) => "images".to_owned(),
            Self::Snapshot { driver, .. } => format!("snapshots/{driver}"),
        }
    }

    /// containerd's id of it.
    pub fn id(&self) -> &str {
        match self {
            Self::Content(digest) => digest.as_str(),
            Self::Ingest(id) | Self::Image(id) | Self::Snapshot { key: id, .. } => id,
        }
    }

    fn columns(&self) -> (Kind, &str, &str) {
        match self {
            Self::Content(digest) => (Kind::Content, "", digest.as_str()),
            Self::Ingest(reference) => (Kind::Ingest, "", reference),
            Self::Image(name) => (Kind::Image, "", name),
            Self::Snapshot { driver, key } => (Kind::Snapshot, driver, key),
        }
    }
}

/// Makes a lease.
///
/// # Errors
/// AlreadyExists, InvalidArgument for the id or the labels.
pub fn create(
    change: &mut Change<'_>,
    namespace: &Namespace,
    id: &str,
    labels: &Labels,
) -> Result<Lease, Error> {
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(Error::invalid("lease id", format_args!("must have 1 to {MAX_ID_BYTES} bytes")));
    }
    let labels = Change::checked("lease labels", labels)?;
    change.enter(namespace)?;
    if find(change, namespace, id)?.is_some() {
        return Err(Error::exists("lease", id));
    }
    let meaning = Meaning::of(&labels);
    change
        .prepare(
            "INSERT INTO lease (namespace, name, labels, created, expires, flat) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            namespace.as_str(),
            id,
            row::encode(&labels),
            change.now_row(),
            meaning.expires,
            meaning.flat
        ])?;
    change.ledger.mutations += 1;
    Ok(Lease { id: id.to_owned(), created: change.now(), labels })
}

/// Removes a lease; what it alone kept goes with the next collection.
///
/// # Errors
/// NotFound.
pub fn delete(change: &mut Change<'_>, namespace: &Namespace, id: &str) -> Result<(), Error> {
    let row = require(change, namespace, id)?;
    remove_row(change, row)
}

pub(crate) fn remove_row(change: &mut Change<'_>, row: i64) -> Result<(), Error> {
    change.prepare("DELETE FROM lease_resource WHERE lease = ?1")?.execute([row])?;
    change.prepare("DELETE FROM lease WHERE id = ?1")?.execute([row])?;
    change.deleted();
    Ok(())
}

/// One lease.
///
/// # Errors
/// NotFound.
pub fn get(view: &View<'_>, namespace: &Namespace, id: &str) -> Result<Lease, Error> {
    let sql = "SELECT name, labels, created FROM lease WHERE namespace = ?1 AND name = ?2";
    view.row(sql, params![namespace.as_str(), id], read)?.ok_or_else(|| Error::not_found("lease", id))
}

/// All leases of a namespace, by id.
///
/// # Errors
/// Those of the database.
pub fn list(view: &View<'_>, namespace: &Namespace) -> Result<Vec<Lease>, Error> {
    let sql = "SELECT name, labels, created FROM lease WHERE namespace = ?1 ORDER BY name";
    view.rows(sql, [namespace.as_str()], read)
}

/// Adds to what a lease names.
///
/// # Errors
/// NotFound for the lease.
pub fn add(
    change: &mut Change<'_>,
    namespace: &Namespace,
    id: &str,
    resource: &Resource,
) -> Result<(), Error> {
    let lease = require(change, namespace, id)?;
    let (kind, driver, key) = resource.columns();
    change
        .prepare("INSERT OR IGNORE INTO lease_resource (lease, kind, driver, key) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![lease, kind.code(), driver, key])?;
    change.grey_name(kind, namespace, driver, key);
    Ok(())
}

/// Takes from what a lease names. What it does not name is no error.
///
/// # Errors
/// NotFound for the lease.
pub fn remove(
    change: &mut Change<'_>,
    namespace: &Namespace,
    id: &str,
    resource: &Resource,
) -> Result<(), Error> {
    let lease = require(change, namespace, id)?;
    let (kind, driver, key) = resource.columns();
    let sql = "DELETE FROM lease_resource WHERE lease = ?1 AND kind = ?2 AND driver = ?3 AND key = ?4";
    if change.prepare(sql)?.execute(params![lease, kind.code(), driver, key])? > 0 {
        change.deleted();
    }
    Ok(())
}

/// As [`remove`], for the lease of a request that deletes the resource itself.
pub(crate) fn forget(
    change: &mut Change<'_>,
    namespace: &Namespace,
    id: Option<&str>,
    resource: &Resource,
) -> Result<(), Error> {
    match id {
        Some(id) if find(change, namespace, id)?.is_some() => remove(change, namespace, id, resource),
        _ => Ok(()),
    }
}

/// What a lease names.
///
/// # Errors
/// NotFound for the lease.
pub fn resources(view: &View<'_>, namespace: &Namespace, id: &str) -> Result<Vec<Resource>, Error> {
    let lease = require(view, namespace, id)?;
    let sql = "SELECT kind, driver, key FROM lease_resource WHERE lease = ?1 ORDER BY kind, driver, key";
    view.rows(sql, [lease], |row| {
        let text = || row.get::<_, String>(2);
        Ok(match Kind::from_code(row.get(0)?) {
            Some(Kind::Content) => Resource::Content(row::digest(row, 2)?),
            Some(Kind::Image) => Resource::Image(text()?),
            Some(Kind::Ingest) => Resource::Ingest(text()?),
            _ => Resource::Snapshot { driver: row.get(1)?, key: text()? },
        })
    })
}

/// The row of a lease that has to exist.
pub(crate) fn require(view: &View<'_>, namespace: &Namespace, id: &str) -> Result<i64, Error> {
    find(view, namespace, id)?.ok_or_else(|| Error::not_found("lease", id))
}

fn find(view: &View<'_>, namespace: &Namespace, id: &str) -> Result<Option<i64>, Error> {
    let sql = "SELECT id FROM lease WHERE namespace = ?1 AND name = ?2";
    view.row(sql, params![namespace.as_str(), id], |row| row.get(0))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease { id: row.get(0)?, labels: row::map(row, 1)?, created: row::timestamp(row, 2)? })
}
