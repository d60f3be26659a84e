//! What is here of an image, platform by platform, and how much space it takes.

use std::collections::{HashMap, HashSet};

use gantry_primitives::Image;
use gantry_types::image::Manifest;
use gantry_types::media_type::Kind;
use gantry_types::{ChainId, Descriptor, Digest, Platform};

use super::ImageDocument;
use super::resolve::is_attestation;
use crate::{Engine, Result};

/// The deepest nesting of indexes, and the most manifests of an image, that are looked at.
const MAX_DEPTH: usize = 4;
const MAX_MANIFESTS: usize = 4096;
/// The annotation of an attestation that names what it is about.
const ATTESTED: &str = "vnd.docker.reference.digest";

/// A manifest of an image.
#[derive(Debug, Clone)]
pub struct ManifestSummary {
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// What it is.
    pub kind: ManifestKind,
    /// Whether everything of it is here.
    pub available: bool,
    /// Bytes of its content that is here.
    pub content_bytes: u64,
}

/// What a manifest is.
#[derive(Debug, Clone)]
pub enum ManifestKind {
    /// An image for a platform.
    Image {
        /// The platform.
        platform: Platform,
        /// The digest of its configuration, if that is here.
        config: Option<Digest>,
        /// Bytes of its unpacked files.
        unpacked_bytes: u64,
        /// Ids of the engine's containers that were made of it.
        containers: Vec<String>,
    },
    /// It says something of another manifest.
    Attestation {
        /// Of which.
        of: Digest,
    },
    /// Something else.
    Unknown,
}

/// What the store has, for many questions.
pub(crate) struct Stock {
    content: HashMap<Digest, u64>,
    /// Bytes of snapshots, by name.
    snapshots: HashMap<String, u64>,
    /// Containers by the manifest that they were made of, and by what a name named.
    by_manifest: HashMap<Digest, Vec<String>>,
    by_target: HashMap<Digest, Vec<String>>,
}

/// A manifest, and its documents as far as they are here.
pub(crate) struct Part {
    pub(crate) summary: ManifestSummary,
    pub(crate) manifest: Option<std::sync::Arc<Manifest>>,
    pub(crate) document: Option<std::sync::Arc<ImageDocument>>,
}

impl Stock {
    /// How many containers were made of what a name names.
    pub(crate) fn containers_of(&self, target: &Digest) -> usize {
        self.by_target.get(target).map_or(0, Vec::len)
    }

    pub(crate) fn size_of(&self, digest: &Digest) -> Option<u64> {
        self.content.get(digest).copied()
    }

    /// Bytes of each snapshot of a chain, the lowest first; none where it is not unpacked.
    pub(crate) fn layer_bytes(&self, document: &ImageDocument) -> Vec<Option<u64>> {
        let chain = ChainId::chain(&document.rootfs.diff_ids);
        chain.iter().map(|id| self.snapshots.get(id.as_str()).copied()).collect()
    }

    /// Bytes of content and snapshots that were here then and are not any more.
    pub(crate) fn bytes_gone_since(&self, before: &Self) -> u64 {
        let content = before.content.iter().filter(|(digest, _)| !self.content.contains_key(*digest));
        let snapshots = before.snapshots.iter().filter(|(name, _)| !self.snapshots.contains_key(*name));
        content.map(|(_, bytes)| bytes).sum::<u64>() + snapshots.map(|(_, bytes)| bytes).sum::<u64>()
    }

    /// Bytes of the files of an image; nothing for one that only shares some of another's.
    fn unpacked(&self, document: &ImageDocument) -> u64 {
        self.layer_bytes(document).into_iter().sum::<Option<u64>>().unwrap_or_default()
    }
}

impl Engine {
    /// Looks at all that docker's namespace has.
    pub(crate) async fn stock(&self) -> Result<Stock> {
        let store = &self.shared.store;
        let content = store.content_list(self.context(), Vec::new()).await?;
        let snapshotter = self.snapshotter().to_owned();
        let snapshots = store.snapshot_list(self.context(), snapshotter, Vec::new()).await?;
        let mut by_manifest: HashMap<Digest, Vec<String>> = HashMap::new();
        let mut by_target: HashMap<Digest, Vec<String>> = HashMap::new();
        for container in self.containers() {
            let record = container.record();
            if let Some(manifest) = &record.image.manifest {
                by_manifest.entry(manifest.clone()).or_default().push(record.id.clone());
            }
            if let Some(target) = &record.image.target {
                by_target.entry(target.clone()).or_default().push(record.id.clone());
            }
        }
        Ok(Stock {
            content: content.into_iter().map(|one| (one.digest, one.size)).collect(),
            snapshots: snapshots.into_iter().map(|one| (one.name, one.usage.size)).collect(),
            by_manifest,
            by_target,
        })
    }

    /// The manifests of an image in the order of its index; nothing for one whose documents are not here.
    pub(crate) async fn parts(&self, image: &Image, stock: &Stock) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut pending = vec![(image.target.clone(), 0)];
        let mut seen = HashSet::new();
        while let Some((descriptor, depth)) = pending.pop() {
            if parts.len() >= MAX_MANIFESTS || !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            if descriptor.kind() != Kind::Index {
                parts.push(self.part(descriptor, stock).await);
                continue;
            }
            match self.index_document(&descriptor, Some(stock)).await {
                Ok(index) if depth < MAX_DEPTH => {
                    // The last one is taken first.
                    pending.extend(index.manifests.iter().rev().map(|child| (child.clone(), depth + 1)));
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(image = image.name, %error, "an index cannot be read"),
            }
        }
        parts
    }

    async fn part(&self, descriptor: Descriptor, stock: &Stock) -> Part {
        let manifest = match descriptor.kind() {
            Kind::Manifest => self.manifest_document(&descriptor, Some(stock)).await.ok(),
            _ => None,
        };
        let document = match &manifest {
            Some(manifest) => self.config_document(&manifest.config, Some(stock)).await.ok(),
            None => None,
        };
        let mut content_bytes = stock.size_of(&descriptor.digest).unwrap_or_default();
        let mut available = manifest.is_some();
        for blob in manifest.iter().flat_map(|manifest| manifest.layers.iter().chain([&manifest.config])) {
            match stock.size_of(&blob.digest) {
                Some(bytes) => content_bytes += bytes,
                // What was adopted a moment ago is not in the stock yet.
                None => {
                    available &= document.is_some() && stock.size_of(&descriptor.digest).is_none()
                        || matches!(blob.kind(), Kind::ForeignLayer(_));
                }
            }
        }
        let kind = if is_attestation(&descriptor) {
            let of = descriptor.annotations.get(ATTESTED).and_then(|digest| Digest::parse(digest).ok());
            of.map_or(ManifestKind::Unknown, |of| ManifestKind::Attestation { of })
        } else {
            self.image_kind(&descriptor, manifest.as_deref(), document.as_deref(), stock)
        };
        Part { summary: ManifestSummary { descriptor, kind, available, content_bytes }, manifest, document }
    }

    fn image_kind(
        &self,
        descriptor: &Descriptor,
        manifest: Option<&Manifest>,
        document: Option<&ImageDocument>,
        stock: &Stock,
    ) -> ManifestKind {
        let stated = descriptor.platform.clone().filter(|platform| !platform.is_unknown());
        let Some(platform) = stated.or_else(|| document.map(ImageDocument::platform)) else {
            return ManifestKind::Unknown;
        };
        ManifestKind::Image {
            platform,
            config: manifest.map(|manifest| manifest.config.digest.clone()),
            unpacked_bytes: document.map_or(0, |document| stock.unpacked(document)),
            containers: stock.by_manifest.get(&descriptor.digest).cloned().unwrap_or_default(),
        }
    }
}
