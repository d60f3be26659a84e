//! Small documents of images, read from the store and kept for a while: lists look at the same ones again and again.
//!
//! An image that another door pulled has its name in the shared space and its content in that door's namespace. When it is
//! looked at for the first time, docker's namespace gets records of the same bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gantry_primitives::Reader;
use gantry_types::image::{Index, MAX_DOCUMENT_BYTES, Manifest};
use gantry_types::media_type::Kind;
use gantry_types::{Descriptor, Digest, ErrorKind, Labels, labels};

use super::ImageDocument;
use super::manifests::Stock;
use crate::{Engine, Error, Result};

/// How many bytes of documents are kept, as they were before they were read.
const MAX_KEPT_BYTES: u64 = 2 << 20;

/// What the engine keeps of images while it runs.
#[derive(Default)]
pub(crate) struct Images {
    /// One change of names at a time.
    pub(crate) gate: tokio::sync::Mutex<()>,
    kept: Mutex<Kept>,
}

#[derive(Clone)]
enum Document {
    Index(Arc<Index>),
    Manifest(Arc<Manifest>),
    Config(Arc<ImageDocument>),
}

/// By digest and by what its descriptor said that it is.
type Key = (Digest, String);

#[derive(Default)]
struct Kept {
    documents: HashMap<Key, (Document, u64)>,
    /// The oldest first.
    order: VecDeque<Key>,
    bytes: u64,
}

impl Images {
    fn get(&self, key: &Key) -> Option<Document> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.documents.get(key).map(|(document, _)| document.clone())
    }

    fn put(&self, key: Key, document: Document, bytes: u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > MAX_KEPT_BYTES || kept.documents.insert(key.clone(), (document, bytes)).is_some() {
            return;
        }
        kept.order.push_back(key);
        kept.bytes += bytes;
        while kept.bytes > MAX_KEPT_BYTES
            && let Some(oldest) = kept.order.pop_front()
        {
            let size = kept.documents.remove(&oldest).map_or(0, |(_, size)| size);
            kept.bytes -= size;
        }
    }
}

/// What a document that has the wrong shape is.
fn malformed(error: &dyn std::error::Error) -> Error {
    Error::Invalid(gantry_primitives::chain(error))
}

impl Engine {
    /// A small document of the store.
    ///
    /// # Errors
    /// NotFound; Invalid for one that is too large.
    pub async fn document(&self, digest: &Digest) -> Result<Bytes> {
        let reader: Reader = self.shared.store.content_reader(self.context(), digest.clone()).await?;
        if reader.size() > MAX_DOCUMENT_BYTES {
            let size = reader.size();
            return Err(Error::Invalid(format!("{digest} has {size} bytes, more than {MAX_DOCUMENT_BYTES}")));
        }
        Ok(reader.read(0, usize::try_from(reader.size()).unwrap_or(usize::MAX)).await?)
    }

    /// What was kept, if docker's namespace has it still: it may have gone with its image, and be another door's since.
    async fn kept(&self, key: &Key, stock: Option<&Stock>) -> Option<Document> {
        let document = self.shared.images.get(key)?;
        let is_here = match stock {
            Some(stock) => stock.size_of(&key.0).is_some(),
            None => self.shared.store.content_info(self.context(), key.0.clone()).await.is_ok(),
        };
        is_here.then_some(document)
    }

    /// A list of manifests. With a stock, that says what is here.
    ///
    /// # Errors
    /// NotFound; Invalid for another document.
    pub(crate) async fn index_document(
        &self,
        descriptor: &Descriptor,
        stock: Option<&Stock>,
    ) -> Result<Arc<Index>> {
        let key = (descriptor.digest.clone(), descriptor.media_type.clone());
        if let Some(Document::Index(index)) = self.kept(&key, stock).await {
            return Ok(index);
        }
        let bytes = self.load_document(descriptor).await?;
        let index = Index::read(&bytes, &descriptor.media_type).map_err(|error| malformed(&error))?;
        let index = Arc::new(index);
        self.shared.images.put(key, Document::Index(Arc::clone(&index)), bytes.len() as u64);
        Ok(index)
    }

    /// A manifest.
    ///
    /// # Errors
    /// NotFound; Invalid for another document.
    pub(crate) async fn manifest_document(
        &self,
        descriptor: &Descriptor,
        stock: Option<&Stock>,
    ) -> Result<Arc<Manifest>> {
        let key = (descriptor.digest.clone(), descriptor.media_type.clone());
        if let Some(Document::Manifest(manifest)) = self.kept(&key, stock).await {
            return Ok(manifest);
        }
        let bytes = self.load_document(descriptor).await?;
        let manifest = Manifest::read(&bytes, &descriptor.media_type).map_err(|error| malformed(&error))?;
        let manifest = Arc::new(manifest);
        self.shared.images.put(key, Document::Manifest(Arc::clone(&manifest)), bytes.len() as u64);
        Ok(manifest)
    }

    /// A configuration.
    ///
    /// # Errors
    /// NotFound; Invalid for another document, and for an artifact's.
    pub(crate) async fn config_document(
        &self,
        descriptor: &Descriptor,
        stock: Option<&Stock>,
    ) -> Result<Arc<ImageDocument>> {
        let key = (descriptor.digest.clone(), String::new());
        if let Some(Document::Config(config)) = self.kept(&key, stock).await {
            return Ok(config);
        }
        if descriptor.kind() != Kind::Config {
            let text =
                format!("{} is no image's configuration: {:?}", descriptor.digest, descriptor.media_type);
            return Err(Error::Invalid(text));
        }
        let bytes = self.load_document(descriptor).await?;
        let config = Arc::new(ImageDocument::read(&bytes)?);
        self.shared.images.put(key, Document::Config(Arc::clone(&config)), bytes.len() as u64);
        Ok(config)
    }

    /// A document, which is adopted if only another namespace has it.
    async fn load_document(&self, descriptor: &Descriptor) -> Result<Bytes> {
        match self.document(&descriptor.digest).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => return result,
        }
        self.adopt(descriptor).await?;
        let bytes = self.document(&descriptor.digest).await?;
        let (references, layers) = references(descriptor, &bytes);
        if !references.is_empty() {
            let fields = references.keys().map(|key| format!("labels.{key}")).collect();
            let digest = descriptor.digest.clone();
            self.shared.store.content_update(self.context(), digest, references, fields).await?;
        }
        for layer in layers {
            match self.adopt(&layer).await {
                // It was not pulled, and need not be there.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result?,
            }
        }
        Ok(bytes)
    }

    /// Gives docker's namespace a record of content that another namespace has.
    ///
    /// # Errors
    /// NotFound where none has it.
    pub(crate) async fn adopt(&self, descriptor: &Descriptor) -> Result<()> {
        let adopted =
            self.shared.store.content_adopt(self.context(), descriptor.clone(), Labels::new()).await?;
        if adopted {
            return Ok(());
        }
        Err(Error::NotFound { what: "content", name: descriptor.digest.to_string() })
    }
}

/// The labels that keep what a document refers to, and its layers.
fn references(descriptor: &Descriptor, bytes: &[u8]) -> (Labels, Vec<Descriptor>) {
    let key = |suffix: String, child: &Descriptor| {
        (format!("{}.{suffix}", labels::GC_REF_CONTENT), child.digest.to_string())
    };
    match descriptor.kind() {
        Kind::Index => match Index::read(bytes, &descriptor.media_type) {
            Ok(index) => {
                let children = index.manifests.iter().enumerate();
                (children.map(|(place, child)| key(format!("m.{place}"), child)).collect(), Vec::new())
            }
            Err(_) => (Labels::new(), Vec::new()),
        },
        Kind::Manifest => match Manifest::read(bytes, &descriptor.media_type) {
            Ok(manifest) => (manifest_references(&manifest), manifest.layers),
            Err(_) => (Labels::new(), Vec::new()),
        },
        _ => (Labels::new(), Vec::new()),
    }
}

/// The labels by which a manifest keeps its configuration and its layers.
pub(crate) fn manifest_references(manifest: &Manifest) -> Labels {
    let key = |suffix: String| format!("{}.{suffix}", labels::GC_REF_CONTENT);
    let config = (key("config".to_owned()), manifest.config.digest.to_string());
    let layers = manifest.layers.iter().enumerate();
    let layers = layers.map(|(place, layer)| (key(format!("l.{place}")), layer.digest.to_string()));
    std::iter::once(config).chain(layers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let images = Images::default();
        let key = |number: u32| (Digest::sha256(&number.to_be_bytes()), String::new());
        let document = || Document::Config(Arc::default());
        for number in 0..100 {
            images.put(key(number), document(), MAX_KEPT_BYTES / 10);
        }
        let found = (0..100).filter(|number| images.get(&key(*number)).is_some()).count();
        assert_eq!(found, 10);
        assert!(images.get(&key(99)).is_some());
        images.put(key(1000), document(), MAX_KEPT_BYTES + 1);
        assert!(images.get(&key(1000)).is_none());
    }
}
