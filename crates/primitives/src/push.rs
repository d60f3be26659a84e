//! Pushing: from a name in the store to a name in a registry. What refers to something goes after it.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use gantry_metadata::contents;
use gantry_registry::{BodyStream, Pushed, Repository};
use gantry_types::image::{Index, Manifest};
use gantry_types::media_type::Kind;
use gantry_types::platform::Matcher;
use gantry_types::{Descriptor, Digest, ErrorKind, Labels, Reference, labels};

use crate::content::Reader;
use crate::progress::{Reporter, Stage};
use crate::pull::Access;
use crate::spans::{span, within};
use crate::store::Inner;
use crate::{Context, Error, Result, Store};

/// How much of a blob is read at once.
const READ_BYTES: usize = 256 << 10;
/// The most documents of one image.
const MAX_DOCUMENTS: usize = 8192;
/// The deepest nesting of indexes.
const MAX_DEPTH: usize = 8;

/// What is pushed.
#[derive(Clone)]
pub struct PushRequest {
    /// What the store has.
    pub target: Descriptor,
    /// Where it goes.
    pub reference: Reference,
    /// Which manifests of an index are sent along; none means all.
    pub platforms: Matcher,
    /// Blobs that are sent at the same time.
    pub parallel: usize,
    /// How the registry is reached.
    pub access: Access,
    /// Who is told how it goes.
    pub reporter: Reporter,
}

/// Everything below a target, in the order in which it has to be there.
#[derive(Default)]
struct Contents {
    blobs: Vec<Descriptor>,
    /// The lowest first.
    documents: Vec<(Descriptor, Bytes)>,
}

impl Store {
    /// Pushes what `request` says.
    ///
    /// # Errors
    /// NotFound for content that the store lacks; Unauthenticated, PermissionDenied, Unavailable from the registry.
    pub async fn push(&self, context: Context, request: PushRequest) -> Result<Descriptor> {
        let span = span!(
            "push",
            image.ref = %request.reference,
            containerd.namespace = %context.namespace,
        );
        within(span, self.push_image(context, request)).await
    }

    async fn push_image(&self, context: Context, request: PushRequest) -> Result<Descriptor> {
        let access = &request.access;
        let repository = self.inner.registry.repository(
            &request.reference,
            Arc::clone(&access.hosts),
            Arc::clone(&access.credentials),
        );
        let name = request.reference.to_string();
        request.reporter.step(Stage::Begun, &name);
        let (target, platforms, owned) = (request.target.clone(), request.platforms.clone(), context.clone());
        let found = self.blocking(move |inner| inner.contents_of(&owned, &target, &platforms)).await?;
        let blobs = found.blobs.iter().map(|blob| self.push_blob(&context, &repository, &request, blob));
        // In a list: a stream that still has the closure cannot be sent between threads (rust-lang/rust#100013).
        let blobs: Vec<_> = blobs.collect();
        let mut uploads = futures_util::stream::iter(blobs).buffer_unordered(request.parallel.max(1));
        while let Some(done) = uploads.next().await {
            done?;
        }
        drop(uploads);
        let mut pushed = request.target.clone();
        for (document, bytes) in &found.documents {
            let is_target = document.digest == request.target.digest;
            let tags: Vec<String> = match request.reference.tag() {
                Some(tag) if is_target => vec![tag.to_owned()],
                _ => Vec::new(),
            };
            request.reporter.content(Stage::Uploading, document, None, 0);
            pushed = repository.push_manifest(bytes.clone(), &document.media_type, &tags).await?;
            request.reporter.content(Stage::Complete, document, None, document.size);
            self.remember_source(&context, &request.reference, &document.digest).await?;
        }
        request.reporter.step(Stage::Done, &name);
        Ok(pushed)
    }

    async fn push_blob(
        &self,
        context: &Context,
        repository: &Repository,
        request: &PushRequest,
        blob: &Descriptor,
    ) -> Result<()> {
        request.reporter.content(Stage::Uploading, blob, None, 0);
        let reader = match self.content_reader(context.clone(), blob.digest.clone()).await {
            Ok(reader) => reader,
            // What other registries have need not be sent.
            Err(error)
                if error.kind() == ErrorKind::NotFound && matches!(blob.kind(), Kind::ForeignLayer(_)) =>
            {
                request.reporter.content(Stage::Exists, blob, None, blob.size);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let (context_owned, digest, host) =
            (context.clone(), blob.digest.clone(), request.reference.host().to_owned());
        let from = self.blocking(move |inner| inner.sources(&context_owned, &digest, &host)).await?;
        let source = move |offset: u64| body(reader.clone(), offset);
        let outcome = repository.push_blob(blob, &source, &from).await?;
        let stage = if outcome == Pushed::Exists { Stage::Exists } else { Stage::Complete };
        request.reporter.content(stage, blob, None, blob.size);
        self.remember_source(context, &request.reference, &blob.digest).await
    }

    /// Writes down that a repository has some content now.
    async fn remember_source(&self, context: &Context, reference: &Reference, digest: &Digest) -> Result<()> {
        let key = format!("{}.{}", labels::DISTRIBUTION_SOURCE, reference.host());
        let (context, digest) = (context.clone(), digest.clone());
        let repository = reference.repository().to_owned();
        self.blocking(move |inner| {
            inner.write(move |change| {
                let mut sources = match contents::get(change, &context.namespace, &digest) {
                    Ok(content) => content.labels.get(&key).cloned().unwrap_or_default(),
                    // It was removed meanwhile, and is where it should be.
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                    Err(error) => return Err(error.into()),
                };
                if sources.split(',').any(|source| source == repository) {
                    return Ok(());
                }
                if !sources.is_empty() {
                    sources.push(',');
                }
                sources.push_str(&repository);
                let with = Labels::from([(key.clone(), sources)]);
                // A label can be full; it is only a hint.
                if labels::validate(&with).is_ok() {
                    contents::update(change, &context.namespace, &digest, &with, &[format!("labels.{key}")])?;
                }
                Ok(())
            })
        })
        .await
    }
}

/// The bytes of a blob from `offset` on.
fn body(reader: Reader, offset: u64) -> BodyStream {
    let chunks = futures_util::stream::unfold((reader, offset), |(reader, offset)| async move {
        match reader.read(offset, READ_BYTES).await {
            Ok(chunk) if chunk.is_empty() => None,
            Ok(chunk) => {
                let next = offset + chunk.len() as u64;
                Some((Ok(chunk), (reader, next)))
            }
            Err(error) => Some((Err(error.into()), (reader, u64::MAX))),
        }
    });
    Box::pin(chunks)
}

impl Inner {
    /// Everything below `target` that the namespace has, or should have.
    fn contents_of(&self, context: &Context, target: &Descriptor, platforms: &Matcher) -> Result<Contents> {
        let mut found = Contents::default();
        let mut seen = HashSet::new();
        self.walk(context, target, platforms, 0, &mut seen, &mut found)?;
        Ok(found)
    }

    fn walk(
        &self,
        context: &Context,
        descriptor: &Descriptor,
        platforms: &Matcher,
        depth: usize,
        seen: &mut HashSet<Digest>,
        found: &mut Contents,
    ) -> Result<()> {
        if !seen.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        if seen.len() > MAX_DOCUMENTS || depth > MAX_DEPTH {
            let (count, limit) = (seen.len() as u64, MAX_DOCUMENTS as u64);
            return Err(Error::Limit { what: "documents of an image", count, limit });
        }
        let refuse = |source| Error::Document { digest: descriptor.digest.clone(), source };
        match descriptor.kind() {
            Kind::Index => {
                let bytes = self.document(context, descriptor)?;
                let index = Index::read(&bytes, &descriptor.media_type).map_err(refuse)?;
                for child in &index.manifests {
                    if platforms.rank(child.platform.as_ref()).is_some() {
                        self.walk(context, child, platforms, depth + 1, seen, found)?;
                    }
                }
                found.documents.push((descriptor.clone(), bytes));
            }
            Kind::Manifest => {
                let bytes = self.document(context, descriptor)?;
                let manifest = Manifest::read(&bytes, &descriptor.media_type).map_err(refuse)?;
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    if seen.insert(blob.digest.clone()) {
                        found.blobs.push(blob.clone());
                    }
                }
                found.documents.push((descriptor.clone(), bytes));
            }
            _ => found.blobs.push(descriptor.clone()),
        }
        Ok(())
    }

    /// Repositories of `host` that have some content.
    fn sources(&self, context: &Context, digest: &Digest, host: &str) -> Result<Vec<String>> {
        let content = self.read(|view| Ok(contents::get(view, &context.namespace, digest)?))?;
        let sources = content.labels.get(&format!("{}.{host}", labels::DISTRIBUTION_SOURCE));
        let sources = sources.map(String::as_str).unwrap_or_default().split(',');
        Ok(sources.filter(|source| !source.is_empty()).map(str::to_owned).collect())
    }
}
