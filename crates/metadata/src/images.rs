//! Image names, in the space of a namespace or in the shared one, where they have holders.

use std::fmt;

use gantry_types::{Descriptor, Labels, Namespace};
use rusqlite::{Row, params};

use crate::labels::Meaning;
use crate::node::{Kind, Node};
use crate::time::{self, Timestamp};
use crate::{Change, Error, Event, Resource, View, edges, fields, leases, namespaces, row};

/// The name of the shared space.
pub(crate) const SHARED: &str = "";
/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 4096;

/// An image name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name.
    pub name: String,
    /// What it names. Its type, digest, size and annotations are kept.
    pub target: Descriptor,
    /// Its labels.
    pub labels: Labels,
    /// When the name was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
}

impl Image {
    /// An image to be created.
    pub fn new(name: impl Into<String>, target: Descriptor, labels: Labels) -> Self {
        let never = Timestamp::UNIX_EPOCH;
        Self { name: name.into(), target, labels, created: never, updated: never }
    }
}

/// Who holds a shared name. It goes with its last holder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// The Docker door and the command line.
    Docker,
    /// CRI.
    Cri,
    /// The containerd door, in one of its namespaces.
    Containerd(Namespace),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Docker => f.write_str("docker"),
            Self::Cri => f.write_str("cri"),
            Self::Containerd(namespace) => write!(f, "containerd:{namespace}"),
        }
    }
}

impl Holder {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "docker" => Some(Self::Docker),
            "cri" => Some(Self::Cri),
            _ => text.strip_prefix("containerd:")?.parse().ok().map(Self::Containerd),
        }
    }
}

pub(crate) fn is_holder(text: &str) -> bool {
    Holder::parse(text).is_some()
}

pub(crate) fn containerd_holder(namespace: &Namespace) -> String {
    Holder::Containerd(namespace.clone()).to_string()
}

/// A shared image name, with who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedImage {
    /// The image.
    pub image: Image,
    /// Its holders.
    pub holders: Vec<Holder>,
}

/// Who creates, changes or deletes a name.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// The namespace of the request.
    pub namespace: &'a Namespace,
    /// Who becomes, or ceases to be, a holder if the name is shared.
    pub holder: &'a Holder,
    /// The lease of the request; it is for names that expire.
    pub lease: Option<&'a str>,
    /// The time to write instead of now (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<Timestamp>,
}

impl<'a> By<'a> {
    /// A request of `holder` in `namespace`, without anything else.
    pub fn new(namespace: &'a Namespace, holder: &'a Holder) -> Self {
        Self { namespace, holder, lease: None, epoch: None }
    }
}

const COLUMNS: &str = "name, media_type, digest, size, annotations, labels, created, updated";

/// Makes a name.
///
/// # Errors
/// AlreadyExists, whoever holds it; InvalidArgument for the name, the target or the labels; NotFound for the lease.
pub fn create(change: &mut Change<'_>, by: By<'_>, image: &Image) -> Result<Image, Error> {
    let mut image = image.clone();
    validate(&mut image)?;
    change.enter(by.namespace)?;
    let space = namespaces::space(change, by.namespace)?;
    if find(change, space, &image.name)?.is_some() {
        return Err(Error::exists("image", image.name));
    }
    image.created = by.epoch.unwrap_or_else(|| change.now());
    image.updated = image.created;
    let row = insert(change, space, by.namespace, &image)?;
    lease(change, by, &image)?;
    if space == SHARED {
        hold(change, row, &by.holder.to_string())?;
    }
    change
        .emit(by.namespace, Event::ImageCreate { name: image.name.clone(), labels: image.labels.clone() })?;
    Ok(image)
}

/// Changes a name: `fields` (`labels`, `labels.<key>`, `target`, `annotations`, `annotations.<key>`) or everything.
///
/// # Errors
/// NotFound, InvalidArgument for a field, the target or the labels.
pub fn update(change: &mut Change<'_>, by: By<'_>, image: &Image, fields: &[String]) -> Result<Image, Error> {
    if image.name.is_empty() {
        return Err(Error::invalid("image name", "is required for update"));
    }
    let space = namespaces::space(change, by.namespace)?;
    let (row, mut updated) = find(change, space, &image.name)?.ok_or_else(|| not_found(&image.name))?;
    if fields.is_empty() {
        updated.target = image.target.clone();
        updated.labels.clone_from(&image.labels);
    }
    for path in fields {
        let known = fields::apply(path, "labels", &mut updated.labels, &image.labels)
            || fields::apply(path, "annotations", &mut updated.target.annotations, &image.target.annotations);
        match path.as_str() {
            _ if known => {}
            "target" => updated.target = image.target.clone(),
            _ => return Err(fields::unknown(path, "image", &image.name)),
        }
    }
    validate(&mut updated)?;
    lease(change, by, &updated)?;
    updated.updated = by.epoch.unwrap_or_else(|| change.now());
    write(change, row, by.namespace, space, &updated)?;
    if space == SHARED {
        hold(change, row, &by.holder.to_string())?;
    }
    change.emit(
        by.namespace,
        Event::ImageUpdate { name: updated.name.clone(), labels: updated.labels.clone() },
    )?;
    Ok(updated)
}

/// What a deletion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// The name is gone.
    Gone,
    /// Others hold it.
    Held,
}

/// Deletes a name, or ends the hold on it. With `target` only if that is what it names.
///
/// # Errors
/// NotFound: there is no such name, it names something else, or somebody else holds it.
pub fn delete(
    change: &mut Change<'_>,
    by: By<'_>,
    name: &str,
    target: Option<&gantry_types::Digest>,
) -> Result<Deleted, Error> {
    let space = namespaces::space(change, by.namespace)?;
    let (row, image) = find(change, space, name)?.ok_or_else(|| not_found(name))?;
    if target.is_some_and(|target| *target != image.target.digest) {
        return Err(not_found(name));
    }
    leases::forget(change, by.namespace, by.lease, &Resource::Image(name.to_owned()))?;
    if space == SHARED {
        let holder = by.holder.to_string();
        let sql = "DELETE FROM holder WHERE image = ?1 AND name = ?2";
        if change.prepare(sql)?.execute(params![row, holder])? == 0 {
            return Err(not_found(name));
        }
        if change.any("SELECT 1 FROM holder WHERE image = ?1", [row])? {
            change.emit(by.namespace, Event::ImageUpdate { name: image.name, labels: image.labels })?;
            return Ok(Deleted::Held);
        }
    }
    remove_row(change, row)?;
    change.emit(by.namespace, Event::ImageDelete { name: image.name })?;
    Ok(Deleted::Gone)
}

/// One name, as the namespace sees it.
///
/// # Errors
/// NotFound.
pub fn get(view: &View<'_>, namespace: &Namespace, name: &str) -> Result<Image, Error> {
    let space = namespaces::space(view, namespace)?;
    find(view, space, name)?.map(|(_, image)| image).ok_or_else(|| not_found(name))
}

/// All names that the namespace sees, in their order.
///
/// # Errors
/// Those of the database.
pub fn list(view: &View<'_>, namespace: &Namespace) -> Result<Vec<Image>, Error> {
    let space = namespaces::space(view, namespace)?;
    view.rows(&format!("SELECT {COLUMNS} FROM image WHERE space = ?1 ORDER BY name"), [space], |row| {
        read(row, 0)
    })
}

/// All names that the namespace sees for a target.
///
/// # Errors
/// Those of the database.
pub fn list_by_target(
    view: &View<'_>,
    namespace: &Namespace,
    digest: &gantry_types::Digest,
) -> Result<Vec<Image>, Error> {
    let space = namespaces::space(view, namespace)?;
    let sql = format!("SELECT {COLUMNS} FROM image WHERE digest = ?1 AND space = ?2 ORDER BY name");
    view.rows(&sql, params![digest.as_str(), space], |row| read(row, 0))
}

/// All shared names with their holders.
///
/// # Errors
/// Those of the database.
pub fn list_shared(view: &View<'_>) -> Result<Vec<SharedImage>, Error> {
    let sql = format!("SELECT {COLUMNS}, id FROM image WHERE space = '' ORDER BY name");
    let images = view.rows(&sql, [], |row| Ok((read(row, 0)?, row.get::<_, i64>(8)?)))?;
    let shared = |(image, row)| Ok(SharedImage { image, holders: holders_of(view, row)? });
    images.into_iter().map(shared).collect()
}

/// Who holds a shared name; nobody if it is not shared or not there.
///
/// # Errors
/// Those of the database.
pub fn holders(view: &View<'_>, name: &str) -> Result<Vec<Holder>, Error> {
    find(view, SHARED, name)?.map_or(Ok(Vec::new()), |(row, _)| holders_of(view, row))
}

fn holders_of(view: &View<'_>, row: i64) -> Result<Vec<Holder>, Error> {
    let names = view.rows("SELECT name FROM holder WHERE image = ?1 ORDER BY name", [row], |row| {
        row.get::<_, String>(0)
    })?;
    Ok(names.iter().filter_map(|name| Holder::parse(name)).collect())
}

/// Removes a name that nothing holds, with its edges.
pub(crate) fn remove_row(change: &mut Change<'_>, row: i64) -> Result<(), Error> {
    edges::remove(change, Node::new(Kind::Image, row))?;
    change.prepare("DELETE FROM holder WHERE image = ?1")?.execute([row])?;
    change.prepare("DELETE FROM image WHERE id = ?1")?.execute([row])?;
    change.deleted();
    Ok(())
}

/// Moves the names of a namespace to the shared space. Returns those that stay behind, as they name something else there.
pub(crate) fn join(change: &mut Change<'_>, namespace: &Namespace) -> Result<Vec<String>, Error> {
    let holder = containerd_holder(namespace);
    let mut behind = Vec::new();
    for (row, image) in all(change, namespace.as_str())? {
        match find(change, SHARED, &image.name)? {
            Some((shared, other)) if other.target.digest == image.target.digest => {
                hold(change, shared, &holder)?;
                remove_row(change, row)?;
            }
            Some(_) => behind.push(image.name),
            None => {
                remove_row(change, row)?;
                let shared = insert(change, SHARED, namespace, &image)?;
                hold(change, shared, &holder)?;
            }
        }
    }
    Ok(behind)
}

/// Gives a namespace that leaves the shared space the names that it held there.
pub(crate) fn leave(change: &mut Change<'_>, namespace: &Namespace) -> Result<(), Error> {
    let holder = containerd_holder(namespace);
    for row in
        change.rows("SELECT image FROM holder WHERE name = ?1", [&holder], |row| row.get::<_, i64>(0))?
    {
        let sql = format!("SELECT {COLUMNS} FROM image WHERE id = ?1");
        let Some(image) = change.row(&sql, [row], |row| read(row, 0))? else { continue };
        change.prepare("DELETE FROM holder WHERE image = ?1 AND name = ?2")?.execute(params![row, holder])?;
        if !change.any("SELECT 1 FROM holder WHERE image = ?1", [row])? {
            remove_row(change, row)?;
        }
        if find(change, namespace.as_str(), &image.name)?.is_none() {
            insert(change, namespace.as_str(), namespace, &image)?;
        }
    }
    Ok(())
}

fn insert(change: &mut Change<'_>, space: &str, writer: &Namespace, image: &Image) -> Result<i64, Error> {
    let meaning = Meaning::of(&image.labels);
    change
        .prepare(
            "INSERT INTO image (space, name, media_type, digest, size, annotations, labels, created, updated, expires, writer)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            space,
            image.name,
            image.target.media_type,
            image.target.digest.as_str(),
            row::size("target.size", image.target.size)?,
            row::encode(&image.target.annotations),
            row::encode(&image.labels),
            time::to_row(image.created),
            time::to_row(image.updated),
            meaning.expires,
            writer.as_str(),
        ])?;
    let id = change.last_id();
    edges::insert(change, Node::new(Kind::Image, id), space, &meaning)?;
    Ok(id)
}

fn write(
    change: &mut Change<'_>,
    id: i64,
    writer: &Namespace,
    space: &str,
    image: &Image,
) -> Result<(), Error> {
    let meaning = Meaning::of(&image.labels);
    change
        .prepare(
            "UPDATE image SET media_type = ?2, digest = ?3, size = ?4, annotations = ?5, labels = ?6, updated = ?7,
             expires = ?8, writer = ?9 WHERE id = ?1",
        )?
        .execute(params![
            id,
            image.target.media_type,
            image.target.digest.as_str(),
            row::size("target.size", image.target.size)?,
            row::encode(&image.target.annotations),
            row::encode(&image.labels),
            time::to_row(image.updated),
            meaning.expires,
            writer.as_str(),
        ])?;
    // What it named before may be garbage now.
    change.deleted();
    edges::replace(change, Node::new(Kind::Image, id), space, &meaning)
}

fn hold(change: &Change<'_>, row: i64, holder: &str) -> Result<(), Error> {
    change
        .prepare("INSERT OR IGNORE INTO holder (image, name) VALUES (?1, ?2)")?
        .execute(params![row, holder])?;
    Ok(())
}

/// A lease is of use to a name that expires; others are roots themselves.
fn lease(change: &mut Change<'_>, by: By<'_>, image: &Image) -> Result<(), Error> {
    if by.lease.is_some() && image.labels.contains_key(gantry_types::labels::GC_EXPIRE) {
        change.lease(by.namespace, by.lease, Resource::Image(image.name.clone()))?;
    }
    Ok(())
}

fn validate(image: &mut Image) -> Result<(), Error> {
    if image.name.is_empty() || image.name.len() > MAX_NAME_BYTES {
        return Err(Error::invalid("image name", format_args!("must have 1 to {MAX_NAME_BYTES} bytes")));
    }
    row::check_labels("image labels", &mut image.labels)?;
    row::without_empty(&mut image.target.annotations);
    if image.target.size == 0 {
        return Err(Error::invalid("target.size", "must be greater than zero"));
    }
    if image.target.media_type.is_empty() {
        return Err(Error::invalid("target.mediaType", "must be set"));
    }
    // Nothing else of a descriptor is kept.
    let kept = Descriptor::new(
        std::mem::take(&mut image.target.media_type),
        image.target.digest.clone(),
        image.target.size,
    );
    image.target = Descriptor { annotations: std::mem::take(&mut image.target.annotations), ..kept };
    Ok(())
}

fn find(view: &View<'_>, space: &str, name: &str) -> Result<Option<(i64, Image)>, Error> {
    let sql = format!("SELECT id, {COLUMNS} FROM image WHERE space = ?1 AND name = ?2");
    view.row(&sql, params![space, name], |row| Ok((row.get(0)?, read(row, 1)?)))
}

fn all(view: &View<'_>, space: &str) -> Result<Vec<(i64, Image)>, Error> {
    let sql = format!("SELECT id, {COLUMNS} FROM image WHERE space = ?1");
    view.rows(&sql, [space], |row| Ok((row.get(0)?, read(row, 1)?)))
}

fn not_found(name: &str) -> Error {
    Error::not_found("image", name)
}

fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Image> {
    let mut target = Descriptor::new(
        row.get::<_, String>(first + 1)?,
        row::digest(row, first + 2)?,
        row::unsigned(row, first + 3)?,
    );
    target.annotations = row::map(row, first + 4)?;
    Ok(Image {
        name: row.get(first)?,
        target,
        labels: row::map(row, first + 5)?,
        created: row::timestamp(row, first + 6)?,
        updated: row::timestamp(row, first + 7)?,
    })
}
