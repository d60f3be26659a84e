use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use gantry_types::{Descriptor, Digest, Reference};

use crate::{BoxError, Credentials, Error, Hosts, Options};

/// Connections, tokens and what is known of hosts; one for the process. Clones share everything.
#[derive(Clone)]
pub struct Client {
    options: Arc<Options>,
}

impl Client {
    /// A client without connections yet.
    ///
    /// # Errors
    /// [`Error::Configuration`]: a proxy's URL or the certificates cannot be used.
    pub fn new(options: Options) -> Result<Self, Error> {
        Ok(Self { options: Arc::new(options) })
    }

    /// The repository of `reference`, as whoever `credentials` are of sees it through `hosts`.
    pub fn repository(
        &self,
        reference: &Reference,
        hosts: Arc<dyn Hosts>,
        credentials: Arc<dyn Credentials>,
    ) -> Repository {
        Repository {
            client: self.clone(),
            registry: reference.host().to_owned(),
            name: reference.repository().to_owned(),
            hosts,
            credentials,
        }
    }
}

/// One repository of a registry, and the authority to ask for it. Clones share everything.
#[derive(Clone)]
pub struct Repository {
    client: Client,
    registry: String,
    name: String,
    hosts: Arc<dyn Hosts>,
    credentials: Arc<dyn Credentials>,
}

/// A tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A name that may move.
    Tag(String),
    /// Content.
    Digest(Digest),
}

/// Bytes of an upload, or of a part of it.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// What became of a blob that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Exists,
    /// The registry took it from another repository of its own.
    Mounted(String),
    /// Its bytes were sent.
    Uploaded,
}

/// How the parts of a large blob are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges {
    /// The size of a part, in bytes.
    pub chunk_bytes: u64,
    /// The most parts that are asked for at the same time.
    pub parallel: usize,
}

/// The bytes of a blob from an offset on, exactly as many as its descriptor says. Whoever reads it hashes it.
pub struct BlobStream {
    offset: u64,
    size: u64,
}

impl BlobStream {
    /// Where the next chunk belongs.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The size of the blob.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

impl Repository {
    /// `host/name`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.name)
    }

    /// What `target` is: its type, digest and size. One request where the registry behaves (HEAD).
    ///
    /// # Errors
    /// [`Error`]; of several hosts, the error of the one that got furthest.
    pub async fn resolve(&self, target: &Target) -> Result<Descriptor, Error> {
        let _ = target;
        Err(self.absent())
    }

    /// The bytes of a manifest or an index: of the digest and size that `descriptor` has, and not to be taken for
    /// anything else (CVE-2021-41190).
    ///
    /// # Errors
    /// [`Error`]; [`Error::Limit`] for more than [`Limits::manifest_bytes`](crate::Limits).
    pub async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let _ = descriptor;
        Err(self.absent())
    }

    /// The bytes of a small blob, such as a configuration: of at most `limit` bytes, of the digest and size that
    /// `descriptor` has.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn blob_bytes(&self, descriptor: &Descriptor, limit: u64) -> Result<Bytes, Error> {
        let _ = (descriptor, limit);
        Err(self.absent())
    }

    /// The bytes of a blob from `offset` on. What breaks is resumed within the stream.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let _ = (descriptor, offset);
        Err(self.absent())
    }

    /// The same with several parts under way, delivered in order; at most `ranges.chunk_bytes * (ranges.parallel - 1)` bytes wait.
    /// From a host that gives no parts, the whole in one.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn blob_ranges(
        &self,
        descriptor: &Descriptor,
        offset: u64,
        ranges: Ranges,
    ) -> Result<BlobStream, Error> {
        let _ = (descriptor, offset, ranges);
        Err(self.absent())
    }

    /// Whether the registry has a blob or manifest.
    ///
    /// # Errors
    /// [`Error`], but for [`Error::NotFound`].
    pub async fn exists(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let _ = descriptor;
        Err(self.absent())
    }

    /// Uploads a blob unless it is there: mounted from one of the repositories `mount_from` of the same registry, or
    /// sent. `source` gives its bytes from an offset on, and may be asked again after a failure.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn push_blob(
        &self,
        descriptor: &Descriptor,
        source: &(dyn Fn(u64) -> BodyStream + Send + Sync),
        mount_from: &[String],
    ) -> Result<Pushed, Error> {
        let _ = (descriptor, source, mount_from);
        Err(self.absent())
    }

    /// Uploads a manifest under each of `tags`, or under its digest alone if there is none; and lists it among the
    /// referrers of its subject if the registry does not do that itself.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn push_manifest(
        &self,
        bytes: Bytes,
        media_type: &str,
        tags: &[String],
    ) -> Result<Descriptor, Error> {
        let _ = (bytes, media_type, tags);
        Err(self.absent())
    }

    /// Every tag.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        Err(self.absent())
    }

    /// What refers to `digest`, all of it or that of one type; nothing if the registry knows of none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let _ = (digest, artifact_type);
        Err(self.absent())
    }

    /// Removes a manifest.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<(), Error> {
        let _ = digest;
        Err(self.absent())
    }

    /// Removes a tag and leaves its manifest.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_tag(&self, tag: &str) -> Result<(), Error> {
        let _ = tag;
        Err(self.absent())
    }

    /// Removes a blob.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_blob(&self, digest: &Digest) -> Result<(), Error> {
        let _ = digest;
        Err(self.absent())
    }

    fn absent(&self) -> Error {
        Error::NotFound { what: self.name.clone(), registry: self.registry.clone() }
    }
}
