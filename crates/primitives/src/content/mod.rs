//! Content: records of blobs, and the blobs.

mod writer;

use std::sync::Arc;

use bytes::Bytes;
use gantry_metadata::{Content, contents, ingests};
use gantry_types::image::MAX_DOCUMENT_BYTES;
use gantry_types::{Descriptor, Digest, ErrorKind, Labels};

use crate::failpoint::hit;
use crate::filter::{Fields, Filters, label};
use crate::store::Inner;
use crate::{Context, Error, Result, Store};

pub(crate) use writer::State as OpenIngest;
pub use writer::{Progress as WriterStatus, Writer};

/// An ingest, and how far it has come.
#[derive(Debug, Clone)]
pub struct IngestStatus {
    /// Its ref.
    pub reference: String,
    /// Bytes that are there.
    pub offset: u64,
    /// Bytes that there will be; 0 if that is not known.
    pub total: u64,
    /// The digest that is expected.
    pub expected: Option<Digest>,
    /// When it was begun.
    pub started: std::time::SystemTime,
    /// When it was written to last.
    pub updated: std::time::SystemTime,
}

/// What a filter sees of content.
struct ContentFields<'a>(&'a Content);

impl Fields for ContentFields<'_> {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["digest"] => Some(self.0.digest.to_string()),
            ["size"] => Some(self.0.size.to_string()),
            ["labels", rest @ ..] => label(&self.0.labels, rest),
            _ => None,
        }
    }
}

/// What a filter sees of an ingest.
struct IngestFields<'a>(&'a str);

impl Fields for IngestFields<'_> {
    fn field(&self, path: &[&str]) -> Option<String> {
        (path == ["ref"]).then(|| self.0.to_owned())
    }
}

/// A blob that can be read, whatever becomes of its record meanwhile. Clones are the same.
#[derive(Clone)]
pub struct Reader {
    blob: Arc<gantry_content::Blob>,
}

impl Reader {
    /// Its length, in bytes.
    pub fn size(&self) -> u64 {
        self.blob.size()
    }

    /// At most `length` bytes from `offset` on; fewer only at the end.
    ///
    /// # Errors
    /// OutOfRange behind the end; those of the file system.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        let blob = Arc::clone(&self.blob);
        let read = move || read_blob(&blob, offset, length);
        tokio::task::spawn_blocking(read).await.map_err(|_| Error::panicked("a read"))?
    }
}

/// Reads at most `length` bytes of a blob. Blocks.
pub(crate) fn read_blob(blob: &gantry_content::Blob, offset: u64, length: usize) -> Result<Bytes> {
    let left = blob
        .size()
        .checked_sub(offset)
        .ok_or_else(|| gantry_content::Error::Position { position: offset, length: blob.size() })?;
    let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
    let mut buffer = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let action = "reading";
        let count = blob
            .read_at(&mut buffer[filled..], offset + filled as u64)
            .map_err(Error::file(action, blob.digest().as_str()))?;
        if count == 0 {
            break;
        }
        filled += count;
    }
    buffer.truncate(filled);
    Ok(buffer.into())
}

impl Inner {
    /// Opens a blob that the namespace has.
    pub(crate) fn open_content(&self, context: &Context, digest: &Digest) -> Result<gantry_content::Blob> {
        self.read(|view| Ok(contents::get(view, &context.namespace, digest)?))?;
        Ok(self.content.open_blob(digest)?)
    }

    /// A document that the namespace has, whole.
    pub(crate) fn document(&self, context: &Context, descriptor: &Descriptor) -> Result<Bytes> {
        let blob = self.open_content(context, &descriptor.digest)?;
        if blob.size() > MAX_DOCUMENT_BYTES {
            let (count, limit) = (blob.size(), MAX_DOCUMENT_BYTES);
            return Err(Error::Limit { what: "bytes of a manifest or configuration", count, limit });
        }
        read_blob(&blob, 0, usize::try_from(blob.size()).unwrap_or(usize::MAX))
    }

    /// Stores a small document for the namespace, with labels. It may be there already: then the labels are added.
    pub(crate) fn store_document(
        &self,
        context: &Context,
        descriptor: &Descriptor,
        bytes: &[u8],
        labels: &Labels,
    ) -> Result<()> {
        let digest = &descriptor.digest;
        let pin = self.database.pin(digest);
        if !self.content_is_there(digest)? {
            // Of its own: two requests may bring the same document at once, and the first that commits wins.
            let key = format!("document/{digest}/{}", self.next_number());
            match self.content.ingest(&key, Some(bytes.len() as u64), Some(digest)) {
                Ok(mut ingest) => {
                    if ingest.offset() > 0 {
                        ingest.truncate(0)?;
                    }
                    ingest.write(bytes)?;
                    match ingest.commit(None, None) {
                        Err(refused) if refused.error.kind() != ErrorKind::AlreadyExists => {
                            return Err(refused.error.into());
                        }
                        _ => {}
                    }
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        hit("document.stored");
        self.record_content(context, descriptor, labels)?;
        hit("document.recorded");
        drop(pin);
        Ok(())
    }

    /// Whether the blob's file is in its place.
    pub(crate) fn content_is_there(&self, digest: &Digest) -> Result<bool> {
        match self.content.info(digest) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Records a blob whose file is in its place, which the caller has pinned; or adds labels to its record.
    pub(crate) fn record_content(
        &self,
        context: &Context,
        descriptor: &Descriptor,
        labels: &Labels,
    ) -> Result<()> {
        let (context, descriptor, labels) = (context.clone(), descriptor.clone(), labels.clone());
        self.write(move |change| {
            let new = contents::Creation {
                digest: &descriptor.digest,
                size: descriptor.size,
                labels: &labels,
                media_type: &descriptor.media_type,
                ingest: None,
                lease: context.lease.as_deref(),
            };
            let namespace = &context.namespace;
            match contents::create(change, namespace, &new) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    contents::lease_existing(
                        change,
                        namespace,
                        &descriptor.digest,
                        context.lease.as_deref(),
                    )?;
                    let fields: Vec<String> = labels.keys().map(|key| format!("labels.{key}")).collect();
                    if !fields.is_empty() {
                        contents::update(change, namespace, &descriptor.digest, &labels, &fields)?;
                    }
                    Ok(())
                }
                result => Ok(result.map(drop)?),
            }
        })
    }
}

/// Where the bytes of an ingest lie in the content store.
pub(crate) fn ingest_key(id: i64, reference: &str) -> String {
    format!("{id}/{reference}")
}

impl Store {
    /// A record of content.
    ///
    /// # Errors
    /// NotFound.
    pub async fn content_info(&self, context: Context, digest: Digest) -> Result<Content> {
        self.blocking(move |inner| inner.read(|view| Ok(contents::get(view, &context.namespace, &digest)?)))
            .await
    }

    /// Changes labels: those that `fields` name, or all.
    ///
    /// # Errors
    /// NotFound; InvalidArgument for a field or labels.
    pub async fn content_update(
        &self,
        context: Context,
        digest: Digest,
        labels: Labels,
        fields: Vec<String>,
    ) -> Result<Content> {
        self.blocking(move |inner| {
            inner.write(move |change| {
                Ok(contents::update(change, &context.namespace, &digest, &labels, &fields)?)
            })
        })
        .await
    }

    /// The records that pass one of `filters` (over `digest`, `size`, `labels.<key>`), by digest.
    ///
    /// # Errors
    /// InvalidArgument for a filter.
    pub async fn content_list(&self, context: Context, filters: Vec<String>) -> Result<Vec<Content>> {
        let filters = Filters::parse(&filters)?;
        self.blocking(move |inner| {
            let mut found = Vec::new();
            inner.read(|view| {
                contents::each(view, &context.namespace, |content| {
                    if filters.passes(&ContentFields(&content)) {
                        found.push(content);
                    }
                    Ok(())
                })
            })?;
            Ok(found)
        })
        .await
    }

    /// Removes a record; the bytes go when no namespace has one.
    ///
    /// # Errors
    /// NotFound.
    pub async fn content_delete(&self, context: Context, digest: Digest) -> Result<()> {
        self.blocking(move |inner| {
            inner.write(move |change| {
                Ok(contents::delete(change, &context.namespace, &digest, context.lease.as_deref())?)
            })
        })
        .await
    }

    /// Opens content for reading.
    ///
    /// # Errors
    /// NotFound.
    pub async fn content_reader(&self, context: Context, digest: Digest) -> Result<Reader> {
        self.blocking(move |inner| Ok(Reader { blob: Arc::new(inner.open_content(&context, &digest)?) }))
            .await
    }

    /// How far an ingest has come.
    ///
    /// # Errors
    /// NotFound.
    pub async fn ingest_status(&self, context: Context, reference: String) -> Result<IngestStatus> {
        self.blocking(move |inner| {
            let ingest = inner.read(|view| Ok(ingests::get(view, &context.namespace, &reference)?))?;
            status(inner, &ingest)
        })
        .await
    }

    /// The ingests that pass one of `filters` (over `ref`).
    ///
    /// # Errors
    /// InvalidArgument for a filter.
    pub async fn ingest_list(&self, context: Context, filters: Vec<String>) -> Result<Vec<IngestStatus>> {
        let filters = Filters::parse(&filters)?;
        self.blocking(move |inner| {
            let all = inner.read(|view| Ok(ingests::list(view, &context.namespace)?))?;
            let passing = all.iter().filter(|ingest| filters.passes(&IngestFields(&ingest.reference)));
            passing.map(|ingest| status(inner, ingest)).collect()
        })
        .await
    }

    /// Gives an ingest up, with its bytes. Who writes to it learns of it with the next write.
    ///
    /// # Errors
    /// NotFound.
    pub async fn ingest_abort(&self, context: Context, reference: String) -> Result<()> {
        self.blocking(move |inner| {
            let namespace = context.namespace.clone();
            let ingest = inner.read(|view| Ok(ingests::get(view, &namespace, &reference)?))?;
            inner.write(move |change| {
                Ok(ingests::abort(change, &context.namespace, &reference, context.lease.as_deref())?)
            })?;
            match inner.content.abort(&ingest_key(ingest.id, &ingest.reference)) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            }
        })
        .await
    }
}

fn status(inner: &Inner, ingest: &gantry_metadata::Ingest) -> Result<IngestStatus> {
    let system = |time: gantry_metadata::Timestamp| std::time::SystemTime::from(time);
    let record = IngestStatus {
        reference: ingest.reference.clone(),
        offset: if ingest.expected.is_some() { ingest.total } else { 0 },
        total: ingest.total,
        expected: ingest.expected.clone(),
        started: system(ingest.created),
        updated: system(ingest.updated),
    };
    match inner.content.status(&ingest_key(ingest.id, &ingest.reference)) {
        Ok(status) => Ok(IngestStatus {
            offset: status.offset,
            total: status.total.unwrap_or(ingest.total),
            expected: status.expected,
            updated: status.updated_at,
            ..record
        }),
        // Begun, and nothing written yet.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(record),
        Err(error) => Err(error.into()),
    }
}
