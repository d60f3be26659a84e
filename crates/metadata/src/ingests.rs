//! Ingests: content that is being written, by a ref of the namespace.

use gantry_types::{Digest, Namespace};
use rusqlite::{Row, params};

use crate::node::{Kind, Node};
use crate::released::release;
use crate::time::Timestamp;
use crate::{Bytes, Change, Error, Resource, View, contents, leases, row};

/// How long an ingest that no lease keeps is left alone after the last word of it, in nanoseconds.
const IDLE: i64 = 24 * 3600 * 1_000_000_000;
/// The longest ref, in bytes.
const MAX_REF_BYTES: usize = 4096;

/// An ingest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    /// Its number, which no other ingest has while it is there; its bytes lie under it and the ref.
    pub id: i64,
    /// Its ref.
    pub reference: String,
    /// The blob of another namespace that it stands for: nothing has to be written.
    pub expected: Option<Digest>,
    /// The length that is expected, in bytes; 0 if that is not known.
    pub total: u64,
    /// When it was begun.
    pub created: Timestamp,
    /// When it was heard of last.
    pub updated: Timestamp,
}

/// What an ingest is opened for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Opening<'a> {
    /// The digest that the writer expects.
    pub expected: Option<&'a Digest>,
    /// The length that it expects, in bytes; 0 if it does not know.
    pub total: u64,
    /// The lease of the request.
    pub lease: Option<&'a str>,
}

const COLUMNS: &str = "id, ref, expected, total, created, updated";

/// Opens the ingest `reference`, which may be there from before. If the expected blob is there for another namespace, the
/// ingest stands for it (`expected` is set), and a commit without a byte makes it the namespace's.
///
/// # Errors
/// AlreadyExists if the namespace has the expected content (the lease gets it), InvalidArgument for the ref, NotFound for
/// the lease.
pub fn open(
    change: &mut Change<'_>,
    namespace: &Namespace,
    reference: &str,
    opening: Opening<'_>,
) -> Result<Ingest, Error> {
    if reference.is_empty() || reference.len() > MAX_REF_BYTES {
        return Err(Error::invalid("ref", format_args!("must have 1 to {MAX_REF_BYTES} bytes")));
    }
    let total = row::size("total", opening.total)?;
    let mut expected = None;
    if let Some(digest) = opening.expected {
        if contents::get(change, namespace, digest).is_ok() {
            change.lease_anyway(namespace, opening.lease, Resource::Content(digest.clone()))?;
            return Err(Error::exists("content", digest.as_str()));
        }
        let size = contents::blob_size(change, digest)?;
        let fits = size.is_some_and(|size| opening.total == 0 || opening.total == size);
        expected = fits.then_some(digest.as_str());
    }
    change.enter(namespace)?;
    let expires = opening.lease.is_none().then(|| change.now_row().saturating_add(IDLE));
    change
        .prepare(
            "INSERT INTO ingest (namespace, ref, expected, total, created, updated, expires)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6) ON CONFLICT (namespace, ref)
             DO UPDATE SET updated = ?5, expires = ?6, total = max(total, ?4)",
        )?
        .execute(params![namespace.as_str(), reference, expected, total, change.now_row(), expires])?;
    let ingest = get(change, namespace, reference)?;
    change.lease(namespace, opening.lease, Resource::Ingest(reference.to_owned()))?;
    change.grey(Node::new(Kind::Ingest, ingest.id));
    Ok(ingest)
}

/// Notes that an ingest is written to; once in a while is enough.
///
/// # Errors
/// NotFound.
pub fn touch(change: &mut Change<'_>, namespace: &Namespace, reference: &str) -> Result<(), Error> {
    let ingest = get(change, namespace, reference)?;
    let expires = change.now_row().saturating_add(IDLE);
    change
        .prepare(
            "UPDATE ingest SET updated = ?2, expires = CASE WHEN expires IS NULL THEN NULL ELSE ?3 END WHERE id = ?1",
        )?
        .execute(params![ingest.id, change.now_row(), expires])?;
    change.grey_quietly(Node::new(Kind::Ingest, ingest.id));
    Ok(())
}

/// Ends the stand-in for another namespace's blob: the writer sends bytes of its own.
///
/// # Errors
/// NotFound.
pub fn unshare(change: &mut Change<'_>, namespace: &Namespace, reference: &str) -> Result<(), Error> {
    let ingest = get(change, namespace, reference)?;
    change.prepare("UPDATE ingest SET expected = NULL WHERE id = ?1")?.execute([ingest.id])?;
    ingest.expected.map_or(Ok(()), |digest| contents::release_unnamed(change, &digest))
}

/// Gives an ingest up; what was written of it is released.
///
/// # Errors
/// NotFound.
pub fn abort(
    change: &mut Change<'_>,
    namespace: &Namespace,
    reference: &str,
    lease: Option<&str>,
) -> Result<(), Error> {
    let ingest = get(change, namespace, reference)?;
    leases::forget(change, namespace, lease, &Resource::Ingest(reference.to_owned()))?;
    remove_row(change, namespace, &ingest)
}

pub(crate) fn remove_row(
    change: &mut Change<'_>,
    namespace: &Namespace,
    ingest: &Ingest,
) -> Result<(), Error> {
    change.prepare("DELETE FROM ingest WHERE id = ?1")?.execute([ingest.id])?;
    change.deleted();
    release(
        change,
        &Bytes::Ingest { namespace: namespace.clone(), id: ingest.id, reference: ingest.reference.clone() },
    )?;
    ingest.expected.as_ref().map_or(Ok(()), |digest| contents::release_unnamed(change, digest))
}

/// Removes the ingests of a namespace that goes away.
pub(crate) fn remove_all(change: &mut Change<'_>, namespace: &Namespace) -> Result<(), Error> {
    for ingest in list(change, namespace)? {
        remove_row(change, namespace, &ingest)?;
    }
    Ok(())
}

/// Ends an ingest whose content is being recorded. Its directory is the caller's; what it stood for gets its record.
pub(crate) fn finish(
    change: &mut Change<'_>,
    namespace: &Namespace,
    reference: &str,
    lease: Option<&str>,
) -> Result<(), Error> {
    change
        .prepare("DELETE FROM ingest WHERE namespace = ?1 AND ref = ?2")?
        .execute(params![namespace.as_str(), reference])?;
    leases::forget(change, namespace, lease, &Resource::Ingest(reference.to_owned()))
}

/// One ingest.
///
/// # Errors
/// NotFound.
pub fn get(view: &View<'_>, namespace: &Namespace, reference: &str) -> Result<Ingest, Error> {
    let sql = format!("SELECT {COLUMNS} FROM ingest WHERE namespace = ?1 AND ref = ?2");
    view.row(&sql, params![namespace.as_str(), reference], read)?
        .ok_or_else(|| Error::not_found("ingest", reference))
}

/// All ingests of a namespace, by ref.
///
/// # Errors
/// Those of the database.
pub fn list(view: &View<'_>, namespace: &Namespace) -> Result<Vec<Ingest>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM ingest WHERE namespace = ?1 ORDER BY ref");
    view.rows(&sql, [namespace.as_str()], read)
}

/// All ingests with their namespaces: directories of no other are orphans.
///
/// # Errors
/// Those of the database.
pub fn list_all(view: &View<'_>) -> Result<Vec<(Namespace, Ingest)>, Error> {
    let sql = format!("SELECT {COLUMNS}, namespace FROM ingest");
    view.rows(&sql, [], |row| Ok((crate::namespaces::parse(row, 6)?, read(row)?)))
}

pub(crate) fn by_id(view: &View<'_>, id: i64) -> Result<Option<(Namespace, Ingest)>, Error> {
    let sql = format!("SELECT {COLUMNS}, namespace FROM ingest WHERE id = ?1");
    view.row(&sql, [id], |row| Ok((crate::namespaces::parse(row, 6)?, read(row)?)))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Ingest> {
    let expected = match row.get_ref(2)? {
        rusqlite::types::ValueRef::Null => None,
        _ => Some(row::digest(row, 2)?),
    };
    Ok(Ingest {
        id: row.get(0)?,
        reference: row.get(1)?,
        expected,
        total: row::unsigned(row, 3)?,
        created: row::timestamp(row, 4)?,
        updated: row::timestamp(row, 5)?,
    })
}
