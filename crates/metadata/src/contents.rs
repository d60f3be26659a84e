//! Records of content, one for each namespace, over blobs that all share.

use gantry_types::{Digest, Labels, Namespace};
use rusqlite::{Row, params};

use crate::labels::Meaning;
use crate::node::{Kind, Node};
use crate::released::{release, withdraw};
use crate::time::Timestamp;
use crate::{Bytes, Change, Error, Event, Resource, View, edges, fields, leases, row};

/// A record of content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The digest.
    pub digest: Digest,
    /// Its length, in bytes.
    pub size: u64,
    /// Its labels.
    pub labels: Labels,
    /// When the namespace got it.
    pub created: Timestamp,
    /// When its labels were changed last.
    pub updated: Timestamp,
}

/// A blob that a namespace gets.
#[derive(Debug, Clone)]
pub struct Creation<'a> {
    /// Its digest.
    pub digest: &'a Digest,
    /// Its length, in bytes.
    pub size: u64,
    /// The labels of the record.
    pub labels: &'a Labels,
    /// What the writer says it is; for the event alone.
    pub media_type: &'a str,
    /// The ingest that it comes from, which ends.
    pub ingest: Option<&'a str>,
    /// The lease of the request.
    pub lease: Option<&'a str>,
}

const SELECT: &str = "SELECT c.digest, b.size, c.labels, c.created, c.updated
     FROM content AS c JOIN blob AS b ON b.digest = c.digest WHERE c.namespace = ?1";

/// Records a verified blob whose file is in its place, and ends the ingest. The caller holds a [pin](crate::Database::pin).
///
/// # Errors
/// AlreadyExists if the namespace has it (the ingest ends nevertheless, and the lease gets it), InvalidArgument for the
/// labels, NotFound for the lease.
pub fn create(change: &mut Change<'_>, namespace: &Namespace, new: &Creation<'_>) -> Result<Content, Error> {
    let size = row::size("content size", new.size)?;
    change
        .prepare("INSERT OR IGNORE INTO blob (digest, size, boot, synced) VALUES (?1, ?2, ?3, 0)")?
        .execute(params![new.digest.as_str(), size, change.config.boot])?;
    withdraw(change, new.digest)?;
    record(change, namespace, new)
}

/// Gives a namespace a record of a blob that is there for another one.
///
/// # Errors
/// NotFound if no namespace has the blob, FailedPrecondition if its size is another; else as [`create`].
pub fn attach(change: &mut Change<'_>, namespace: &Namespace, new: &Creation<'_>) -> Result<Content, Error> {
    let size =
        blob_size(change, new.digest)?.ok_or_else(|| Error::not_found("content", new.digest.as_str()))?;
    if new.size != 0 && new.size != size {
        let reason = format!("has {size} bytes, not {}", new.size);
        return Err(Error::refused("content", new.digest.as_str(), reason));
    }
    record(change, namespace, new)
}

fn record(change: &mut Change<'_>, namespace: &Namespace, new: &Creation<'_>) -> Result<Content, Error> {
    let labels = Change::checked("content labels", new.labels)?;
    change.enter(namespace)?;
    if let Some(reference) = new.ingest {
        crate::ingests::finish(change, namespace, reference, new.lease)?;
    }
    let resource = Resource::Content(new.digest.clone());
    if find(change, namespace, new.digest)?.is_some() {
        if let Some(reference) = new.ingest {
            change.finish_anyway(namespace, reference, new.lease);
        }
        change.lease_anyway(namespace, new.lease, resource)?;
        return Err(Error::exists("content", new.digest.as_str()));
    }
    let meaning = Meaning::of(&labels);
    change
        .prepare(
            "INSERT INTO content (namespace, digest, labels, created, updated, root, expires)
             VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)",
        )?
        .execute(params![
            namespace.as_str(),
            new.digest.as_str(),
            row::encode(&labels),
            change.now_row(),
            meaning.root,
            meaning.expires
        ])?;
    let id = change.last_id();
    edges::insert(change, Node::new(Kind::Content, id), namespace.as_str(), &meaning)?;
    change.lease(namespace, new.lease, resource)?;
    let size = blob_size(change, new.digest)?.unwrap_or(new.size);
    let media_type = new.media_type.to_owned();
    change.emit(namespace, Event::ContentCreate { digest: new.digest.clone(), size, media_type })?;
    Ok(Content { digest: new.digest.clone(), size, labels, created: change.now(), updated: change.now() })
}

/// Says whether the namespace has the content already; if so the lease of the request gets it.
///
/// # Errors
/// NotFound for the lease.
pub fn lease_existing(
    change: &mut Change<'_>,
    namespace: &Namespace,
    digest: &Digest,
    lease: Option<&str>,
) -> Result<bool, Error> {
    let exists = find(change, namespace, digest)?.is_some();
    if exists {
        change.lease(namespace, lease, Resource::Content(digest.clone()))?;
    }
    Ok(exists)
}

/// Changes the labels: those of `fields`, or all.
///
/// # Errors
/// NotFound, InvalidArgument for a field or the labels.
pub fn update(
    change: &mut Change<'_>,
    namespace: &Namespace,
    digest: &Digest,
    labels: &Labels,
    fields: &[String],
) -> Result<Content, Error> {
    let id = find(change, namespace, digest)?.ok_or_else(|| not_found(digest))?;
    let mut content = get(change, namespace, digest)?;
    fields::labels_only(fields, "content info", digest.as_str(), &mut content.labels, labels)?;
    row::check_labels("content labels", &mut content.labels)?;
    content.updated = change.now();
    let meaning = Meaning::of(&content.labels);
    change
        .prepare("UPDATE content SET labels = ?2, updated = ?3, root = ?4, expires = ?5 WHERE id = ?1")?
        .execute(params![
            id,
            row::encode(&content.labels),
            change.now_row(),
            meaning.root,
            meaning.expires
        ])?;
    edges::replace(change, Node::new(Kind::Content, id), namespace.as_str(), &meaning)?;
    Ok(content)
}

/// Removes a record; the blob is released if no other namespace has it.
///
/// # Errors
/// NotFound.
pub fn delete(
    change: &mut Change<'_>,
    namespace: &Namespace,
    digest: &Digest,
    lease: Option<&str>,
) -> Result<(), Error> {
    let id = find(change, namespace, digest)?.ok_or_else(|| not_found(digest))?;
    leases::forget(change, namespace, lease, &Resource::Content(digest.clone()))?;
    remove_row(change, id, digest)?;
    change.emit(namespace, Event::ContentDelete { digest: digest.clone() })
}

pub(crate) fn remove_row(change: &mut Change<'_>, id: i64, digest: &Digest) -> Result<(), Error> {
    edges::remove(change, Node::new(Kind::Content, id))?;
    change.prepare("DELETE FROM content WHERE id = ?1")?.execute([id])?;
    change.deleted();
    release_unnamed(change, digest)
}

/// Releases a blob if neither content nor an ingest names it.
pub(crate) fn release_unnamed(change: &mut Change<'_>, digest: &Digest) -> Result<(), Error> {
    let named = change.any("SELECT 1 FROM content WHERE digest = ?1", [digest.as_str()])?
        || change.any("SELECT 1 FROM ingest WHERE expected = ?1", [digest.as_str()])?;
    if !named && change.prepare("DELETE FROM blob WHERE digest = ?1")?.execute([digest.as_str()])? > 0 {
        release(change, &Bytes::Blob(digest.clone()))?;
    }
    Ok(())
}

/// One record.
///
/// # Errors
/// NotFound.
pub fn get(view: &View<'_>, namespace: &Namespace, digest: &Digest) -> Result<Content, Error> {
    let sql = format!("{SELECT} AND c.digest = ?2");
    view.row(&sql, params![namespace.as_str(), digest.as_str()], read)?.ok_or_else(|| not_found(digest))
}

/// Hands each record of a namespace to `take`, by digest, until that returns an error.
///
/// # Errors
/// Those of `take` and of the database.
pub fn each<E: From<Error>>(
    view: &View<'_>,
    namespace: &Namespace,
    take: impl FnMut(Content) -> Result<(), E>,
) -> Result<(), E> {
    view.each(&format!("{SELECT} ORDER BY c.digest"), [namespace.as_str()], read, take)
}

/// All records of a namespace, by digest.
///
/// # Errors
/// Those of the database.
pub fn list(view: &View<'_>, namespace: &Namespace) -> Result<Vec<Content>, Error> {
    view.rows(&format!("{SELECT} ORDER BY c.digest"), [namespace.as_str()], read)
}

/// The length of a blob that some namespace has, in bytes.
///
/// # Errors
/// Those of the database.
pub fn blob_size(view: &View<'_>, digest: &Digest) -> Result<Option<u64>, Error> {
    view.row("SELECT size FROM blob WHERE digest = ?1", [digest.as_str()], |row| row::unsigned(row, 0))
}

/// Blobs that were made in an earlier boot and never forced to the disk: each has to be verified.
///
/// # Errors
/// Those of the database.
pub fn unsynced(view: &View<'_>) -> Result<Vec<(Digest, u64)>, Error> {
    let sql = "SELECT digest, size FROM blob WHERE synced = 0 AND boot <> ?1";
    view.rows(sql, [view.config.boot], |row| Ok((row::digest(row, 0)?, row::unsigned(row, 1)?)))
}

/// Blobs that were made in this boot and not yet recorded as forced to the disk.
///
/// # Errors
/// Those of the database.
pub fn pending(view: &View<'_>) -> Result<Vec<Digest>, Error> {
    let sql = "SELECT digest FROM blob WHERE synced = 0 AND boot = ?1";
    view.rows(sql, [view.config.boot], |row| row::digest(row, 0))
}

/// Records that blobs were forced to the disk.
///
/// # Errors
/// Those of the database.
pub fn mark_synced(change: &mut Change<'_>, digests: &[Digest]) -> Result<(), Error> {
    for digest in digests {
        change.prepare("UPDATE blob SET synced = 1 WHERE digest = ?1")?.execute([digest.as_str()])?;
    }
    Ok(())
}

/// Removes all records of a blob whose bytes are damaged or gone, and releases it.
///
/// # Errors
/// Those of the database.
pub fn forget(change: &mut Change<'_>, digest: &Digest) -> Result<(), Error> {
    change.prepare("UPDATE ingest SET expected = NULL WHERE expected = ?1")?.execute([digest.as_str()])?;
    let sql = "SELECT id, namespace FROM content WHERE digest = ?1";
    let records = change
        .rows(sql, [digest.as_str()], |row| Ok((row.get::<_, i64>(0)?, crate::namespaces::parse(row, 1)?)))?;
    for (id, namespace) in records {
        remove_row(change, id, digest)?;
        change.emit(&namespace, Event::ContentDelete { digest: digest.clone() })?;
    }
    release_unnamed(change, digest)
}

/// Whether a file with this digest belongs to a blob: others are orphans.
///
/// # Errors
/// Those of the database.
pub fn is_known(view: &View<'_>, digest: &Digest) -> Result<bool, Error> {
    view.any("SELECT 1 FROM blob WHERE digest = ?1", [digest.as_str()])
}

fn find(view: &View<'_>, namespace: &Namespace, digest: &Digest) -> Result<Option<i64>, Error> {
    let sql = "SELECT id FROM content WHERE namespace = ?1 AND digest = ?2";
    view.row(sql, params![namespace.as_str(), digest.as_str()], |row| row.get(0))
}

fn not_found(digest: &Digest) -> Error {
    Error::not_found("content", digest.as_str())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Content> {
    Ok(Content {
        digest: row::digest(row, 0)?,
        size: row::unsigned(row, 1)?,
        labels: row::map(row, 2)?,
        created: row::timestamp(row, 3)?,
        updated: row::timestamp(row, 4)?,
    })
}
