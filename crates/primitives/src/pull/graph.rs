//! The documents of an image: indexes, manifests and configurations.

use std::collections::HashSet;

use bytes::Bytes;
use gantry_registry::Repository;
use gantry_types::image::{ImageConfig, Index, MAX_DOCUMENT_BYTES, Manifest};
use gantry_types::media_type::Kind;
use gantry_types::platform::Matcher;
use gantry_types::{ChainId, Descriptor, Digest, Labels, Platform, labels};

use super::Breadth;
use crate::progress::{Reporter, Stage};
use crate::spans::{blob_span, within};
use crate::{Context, Error, Result, Store};

/// The deepest nesting of indexes.
const MAX_DEPTH: usize = 8;
/// The most documents of one image.
const MAX_DOCUMENTS: usize = 8192;

/// One image of a graph, for one platform.
#[derive(Debug, Clone)]
pub(crate) struct ImagePlan {
    /// Its manifest's digest.
    pub(crate) manifest: Digest,
    /// Its configuration's descriptor.
    pub(crate) config: Descriptor,
    /// What the configuration says; nothing for an artifact.
    pub(crate) document: Option<ImageConfig>,
    /// The platform that the index or the configuration says.
    pub(crate) platform: Platform,
    /// The layers, the lowest first.
    pub(crate) layers: Vec<Descriptor>,
    /// Whether it has layers that nobody asked for, which are not listed here.
    pub(crate) is_partial: bool,
}

impl ImagePlan {
    /// Whether it has files that can be unpacked: as many layers as diff ids, and at least one.
    pub(crate) fn is_runnable(&self) -> bool {
        let diffs = self.document.as_ref().map_or(0, |config| config.rootfs.diff_ids.len());
        diffs > 0 && self.layers.iter().all(|layer| layer.kind().is_layer())
    }

    /// The chain ids of the layers, the lowest first.
    pub(crate) fn chain(&self) -> Result<Vec<ChainId>> {
        let diffs =
            self.document.as_ref().map(|config| config.rootfs.diff_ids.as_slice()).unwrap_or_default();
        if diffs.len() != self.layers.len() {
            return Err(Error::Mismatch {
                what: format!("the number of layers of {}", self.config.digest),
                found: self.layers.len().to_string(),
                expected: diffs.len().to_string(),
            });
        }
        Ok(ChainId::chain(diffs))
    }
}

/// What a name stands for, as far as its documents say.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// The images and artifacts.
    pub(crate) images: Vec<ImagePlan>,
    /// Content that is neither: an index may refer to anything.
    pub(crate) others: Vec<Descriptor>,
}

impl Graph {
    /// The manifest that a layer is of.
    pub(crate) fn parent_of(&self, layer: &Digest) -> Option<String> {
        let has = |image: &&ImagePlan| image.layers.iter().any(|one| one.digest == *layer);
        self.images.iter().find(has).map(|image| image.manifest.to_string())
    }

    /// Everything that is no document, once each, but for the layers (by manifest and place) that are `elsewhere`.
    pub(crate) fn blobs(&self, elsewhere: impl Fn(&Digest, usize) -> bool) -> Vec<&Descriptor> {
        let mut seen = HashSet::new();
        let layers = self.images.iter().flat_map(|image| {
            let layers = image.layers.iter().enumerate();
            layers.filter(|(place, _)| !elsewhere(&image.manifest, *place)).map(|(_, layer)| layer)
        });
        layers.chain(&self.others).filter(|blob| seen.insert(&blob.digest)).collect()
    }
}

/// How much of something is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Everything.
    Whole,
    /// The manifest and the configuration.
    Documents,
}

/// Brings documents into the store.
pub(crate) struct Fetcher {
    pub(crate) store: Store,
    pub(crate) context: Context,
    /// Nothing for what has to be there already.
    pub(crate) repository: Option<Repository>,
    pub(crate) platforms: Matcher,
    pub(crate) breadth: Breadth,
    /// The registry and the repository.
    pub(crate) source: Option<(String, String)>,
    pub(crate) reporter: Reporter,
}

impl Fetcher {
    /// Fetches all documents below `target` that are wanted.
    pub(crate) async fn documents(&self, target: &Descriptor) -> Result<Graph> {
        let mut graph = Graph::default();
        let mut seen: HashSet<Digest> = HashSet::new();
        let mut pending = vec![(target.clone(), 0, None::<String>, Extent::Whole)];
        while let Some((descriptor, depth, parent, extent)) = pending.pop() {
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            if seen.len() > MAX_DOCUMENTS || depth > MAX_DEPTH {
                let (count, limit) = (seen.len().max(depth) as u64, MAX_DOCUMENTS as u64);
                return Err(Error::Limit { what: "documents of an image", count, limit });
            }
            match descriptor.kind() {
                Kind::Index => {
                    let bytes = self.document(&descriptor, parent.as_deref()).await?;
                    let index = read(&descriptor, Index::read(&bytes, &descriptor.media_type))?;
                    let refs = index.manifests.iter().enumerate();
                    let refs = refs.map(|(place, child)| (format!("m.{place}"), child));
                    self.keep(&descriptor, &bytes, refs).await?;
                    let parent = Some(descriptor.digest.to_string());
                    // The last one is taken first.
                    let children = self.wanted(&index, &descriptor)?.into_iter().rev();
                    pending
                        .extend(children.map(|(child, extent)| (child, depth + 1, parent.clone(), extent)));
                }
                Kind::Manifest => match self.image(&descriptor, parent.as_deref(), extent).await {
                    // Archives need not have what nobody asked for.
                    Err(error) if self.may_lack(&error, extent) => {}
                    image => graph.images.push(image?),
                },
                Kind::Schema1 => {
                    let source = gantry_types::image::InvalidDocument::Schema1(descriptor.media_type.clone());
                    return Err(Error::Document { digest: descriptor.digest, source });
                }
                _ => graph.others.push(descriptor),
            }
        }
        Ok(graph)
    }

    fn may_lack(&self, error: &Error, extent: Extent) -> bool {
        extent == Extent::Documents
            && self.repository.is_none()
            && error.kind() == gantry_types::ErrorKind::NotFound
    }

    /// The children of an index that are wanted, and how much of each.
    fn wanted(&self, index: &Index, descriptor: &Descriptor) -> Result<Vec<(Descriptor, Extent)>> {
        let best = match self.best(index, descriptor) {
            Err(error) if self.breadth.all_metadata && error.kind() == gantry_types::ErrorKind::NotFound => {
                Vec::new()
            }
            best => best?,
        };
        let others = index.manifests.iter().filter(|child| {
            self.breadth.all_metadata && !best.iter().any(|wanted| wanted.digest == child.digest)
        });
        let others = others.map(|child| {
            // A nested index may have anything, and what has no platform is nobody else's.
            let foreign = child.kind() == Kind::Manifest && child.platform.is_some();
            (child.clone(), if foreign { Extent::Documents } else { Extent::Whole })
        });
        let mut wanted: Vec<(Descriptor, Extent)> =
            best.iter().map(|child| (child.clone(), Extent::Whole)).chain(others).collect();
        if self.breadth.manifest_limit > 0 {
            // Who has no platform comes last.
            wanted.sort_by_key(|(child, _)| child.platform.is_none());
            wanted.truncate(self.breadth.manifest_limit);
        }
        Ok(wanted)
    }

    /// The best manifest for each platform, in the order of the platforms, or all.
    fn best(&self, index: &Index, descriptor: &Descriptor) -> Result<Vec<Descriptor>> {
        if self.platforms.0.is_empty() {
            return Ok(index.manifests.clone());
        }
        let mut wanted: Vec<Descriptor> = Vec::new();
        for platform in &self.platforms.0 {
            let one = Matcher(vec![platform.clone()]);
            let ranked =
                index.manifests.iter().filter_map(|child| Some((one.rank(child.platform.as_ref())?, child)));
            // Whatever has no platform stands for itself: a nested index, an artifact.
            let best = ranked.min_by_key(|(rank, _)| *rank).map(|(_, child)| child);
            let Some(best) = best else {
                let offered: Vec<String> = index
                    .manifests
                    .iter()
                    .filter_map(|child| child.platform.as_ref())
                    .map(ToString::to_string)
                    .collect();
                let name = format!("{platform} in {} (it has {})", descriptor.digest, offered.join(", "));
                return Err(Error::NotFound { what: "image for platform", name });
            };
            if !wanted.iter().any(|child| child.digest == best.digest) {
                wanted.push(best.clone());
            }
        }
        Ok(wanted)
    }

    async fn image(
        &self,
        descriptor: &Descriptor,
        parent: Option<&str>,
        extent: Extent,
    ) -> Result<ImagePlan> {
        let bytes = self.document(descriptor, parent).await?;
        let manifest = read(descriptor, Manifest::read(&bytes, &descriptor.media_type))?;
        let layers = manifest.layers.iter().enumerate().map(|(place, layer)| (format!("l.{place}"), layer));
        let refs = std::iter::once(("config".to_owned(), &manifest.config)).chain(layers);
        self.keep(descriptor, &bytes, refs).await?;
        let own = descriptor.digest.to_string();
        let mut image = ImagePlan {
            manifest: descriptor.digest.clone(),
            platform: descriptor.platform.clone().unwrap_or_default(),
            document: None,
            layers: manifest.layers,
            config: manifest.config,
            is_partial: extent == Extent::Documents,
        };
        let bytes = self.document(&image.config, Some(&own)).await?;
        self.keep(&image.config, &bytes, std::iter::empty()).await?;
        if image.is_partial {
            image.layers.clear();
            return Ok(image);
        }
        if image.config.kind() == Kind::Config {
            let config = read(&image.config, ImageConfig::read(&bytes))?;
            if image.platform.os.is_empty() {
                image.platform = Platform {
                    os: config.os.clone(),
                    architecture: config.architecture.clone(),
                    variant: config.variant.clone(),
                    os_version: config.os_version.clone(),
                    os_features: Vec::new(),
                };
            }
            image.document = Some(config);
        }
        Ok(image)
    }

    /// The bytes of a document: the store's, or the registry's.
    async fn document(&self, descriptor: &Descriptor, parent: Option<&str>) -> Result<Bytes> {
        if descriptor.size > MAX_DOCUMENT_BYTES {
            let (count, limit) = (descriptor.size, MAX_DOCUMENT_BYTES);
            return Err(Error::Limit { what: "bytes of a manifest or configuration", count, limit });
        }
        let (wanted, context) = (descriptor.clone(), self.context.clone());
        let stored = self.store.blocking(move |inner| match inner.document(&context, &wanted) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == gantry_types::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        if let Some(bytes) = stored.await? {
            self.reporter.content(Stage::Exists, descriptor, parent, descriptor.size);
            return Ok(bytes);
        }
        let Some(repository) = &self.repository else {
            return Err(Error::NotFound { what: "content", name: descriptor.digest.to_string() });
        };
        self.reporter.content(Stage::Downloading, descriptor, parent, 0);
        let fetch = async {
            if descriptor.kind().has_children() {
                Ok(repository.manifest(descriptor).await?)
            } else {
                Ok(repository.blob_bytes(descriptor, MAX_DOCUMENT_BYTES).await?)
            }
        };
        let bytes = within(blob_span!("fetch", descriptor), fetch).await?;
        self.reporter.content(Stage::Complete, descriptor, parent, descriptor.size);
        Ok(bytes)
    }

    /// Stores a document with labels that keep what it refers to.
    async fn keep<'a>(
        &self,
        descriptor: &Descriptor,
        bytes: &Bytes,
        refs: impl Iterator<Item = (String, &'a Descriptor)>,
    ) -> Result<()> {
        let mut document_labels = self.source_label();
        for (suffix, child) in refs {
            document_labels.insert(format!("{}.{suffix}", labels::GC_REF_CONTENT), child.digest.to_string());
        }
        let (context, descriptor, bytes) = (self.context.clone(), descriptor.clone(), bytes.clone());
        self.store
            .blocking(move |inner| inner.store_document(&context, &descriptor, &bytes, &document_labels))
            .await
    }

    /// Says where content came from, so that a push to the same registry need not send it.
    pub(crate) fn source_label(&self) -> Labels {
        let label = |(host, repository): &(String, String)| {
            (format!("{}.{host}", labels::DISTRIBUTION_SOURCE), repository.clone())
        };
        self.source.iter().map(label).collect()
    }
}

fn read<T>(
    descriptor: &Descriptor,
    result: std::result::Result<T, gantry_types::image::InvalidDocument>,
) -> Result<T> {
    result.map_err(|source| Error::Document { digest: descriptor.digest.clone(), source })
}
