//! Blobs: their bytes, from whoever has them, resumed where it breaks.

mod open;
mod ranges;
mod single;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use gantry_types::Descriptor;
use http::Method;

#[cfg(feature = "fuzzing")]
pub(crate) use self::open::content_range;
use self::open::{Source, Span};
use self::ranges::InOrder;
use self::single::Single;
use crate::repository::{Call, Failure, Place, Tries, verified};
use crate::{Capability, Error, Repository};

/// How the parts of a large blob are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges {
    /// The size of a part, in bytes.
    pub chunk_bytes: u64,
    /// The most parts that are asked for at the same time.
    pub parallel: usize,
}

/// The bytes of a blob from an offset on, exactly as many as its descriptor says. Whoever reads it hashes it.
///
/// Dropped, it leaves nothing but connections that close.
pub struct BlobStream {
    size: u64,
    offset: u64,
    bytes: Bytestream,
}

enum Bytestream {
    Single(Single),
    InOrder(InOrder),
}

impl BlobStream {
    fn new(size: u64, offset: u64, bytes: Bytestream) -> Self {
        Self { size, offset, bytes }
    }

    /// Where the next chunk belongs.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The size of the blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether several parts of it are asked for at the same time.
    pub fn is_parallel(&self) -> bool {
        matches!(self.bytes, Bytestream::InOrder(_))
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = match &mut self.bytes {
            Bytestream::Single(stream) => stream.poll_chunk(context),
            Bytestream::InOrder(stream) => stream.poll_chunk(context),
        };
        if let Poll::Ready(Some(Ok(chunk))) = &polled {
            self.offset += chunk.len() as u64;
        }
        polled
    }
}

impl Repository {
    /// The bytes of a blob from `offset` on. What breaks is resumed within the stream.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let source = Arc::new(Source::new(self, descriptor));
        let span = Span { start: offset.min(descriptor.size), end: descriptor.size };
        let single = Single::open(source, span).await?;
        Ok(BlobStream::new(descriptor.size, span.start, Bytestream::Single(single)))
    }

    /// The same with several parts under way, delivered in order; at most `ranges.chunk_bytes * (ranges.parallel - 1)`
    /// bytes wait. From a host that gives no parts, the whole in one.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn blob_ranges(
        &self,
        descriptor: &Descriptor,
        offset: u64,
        ranges: Ranges,
    ) -> Result<BlobStream, Error> {
        let start = offset.min(descriptor.size);
        let chunk = ranges.chunk_bytes.max(MIN_CHUNK);
        if descriptor.size - start <= chunk || ranges.parallel < 2 {
            return self.blob(descriptor, offset).await;
        }
        let source = Arc::new(Source::new(self, descriptor));
        let first = Single::open(Arc::clone(&source), Span { start, end: start + chunk }).await?;
        let bytes = if first.is_whole() {
            // The host does not know parts: this is all of it.
            Bytestream::Single(first)
        } else {
            let end = descriptor.size;
            Bytestream::InOrder(InOrder::new(
                source,
                first,
                Span { start: start + chunk, end },
                chunk,
                ranges.parallel,
            ))
        };
        Ok(BlobStream::new(descriptor.size, start, bytes))
    }

    /// The bytes of a small blob, such as a configuration: of at most `limit` bytes, of the digest and size that
    /// `descriptor` has.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn blob_bytes(&self, descriptor: &Descriptor, limit: u64) -> Result<Bytes, Error> {
        let what = format!("blob {}", descriptor.digest);
        if descriptor.size > limit {
            return Err(Error::Limit { host: self.registry().into(), what, limit, unit: "bytes" });
        }
        let mut stream = self.blob(descriptor, 0).await?;
        let first = stream.next().await.transpose()?.unwrap_or_default();
        let bytes = if first.len() as u64 == descriptor.size {
            first
        } else {
            let mut all = BytesMut::from(first.as_ref());
            while let Some(chunk) = stream.next().await {
                all.extend_from_slice(&chunk?);
            }
            all.freeze()
        };
        // The end is polled for, so that a body that goes on is an error.
        if let Some(more) = stream.next().await {
            more?;
        }
        verified(self.registry(), &what, descriptor, &bytes)?;
        Ok(bytes)
    }

    /// Whether the registry has a blob or manifest.
    ///
    /// # Errors
    /// [`Error`], but for [`Error::NotFound`].
    pub async fn exists(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let is_manifest = descriptor.kind().has_children();
        let kind = if is_manifest { "manifests" } else { "blobs" };
        let (path, what) =
            (format!("{kind}/{}", descriptor.digest), format!("whether there is {}", descriptor.digest));
        let scope = self.scope(&["pull"]);
        let hosts = self.hosts(Capability::Pull)?;
        let mut failure = Failure::default();
        for (index, host) in hosts.iter().enumerate() {
            let call = Call::new(Method::HEAD, Place::Path(&path), &scope, &what);
            let call = call.header(http::header::ACCEPT, &format!("{}, */*", descriptor.media_type));
            match self.call(host, call, Tries::of(index, hosts.len())).await {
                Ok(_) => return Ok(true),
                Err(error) => failure.note(host, error),
            }
        }
        match failure.into_error(self, &what) {
            Error::NotFound { .. } => Ok(false),
            error => Err(error),
        }
    }
}

/// The smallest part that is asked for.
const MIN_CHUNK: u64 = 64 << 10;
