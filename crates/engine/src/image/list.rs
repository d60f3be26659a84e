//! The images that there are.

use std::collections::{BTreeMap, BTreeSet};

use gantry_primitives::{Image, Timestamp};
use gantry_types::platform::Matcher;
use gantry_types::{Descriptor, Digest, Reference};

use super::manifests::{ManifestKind, ManifestSummary, Part, Stock};
use super::{ImageDocument, names};
use crate::{Engine, Result};

/// An image, with all its names.
#[derive(Debug, Clone)]
pub struct ImageSummary {
    /// What its names name. The digest of this is the image's id.
    pub target: Descriptor,
    /// Names, as short as people write them; empty for one without.
    pub tags: Vec<String>,
    /// `repository@digest`, the same way.
    pub digests: Vec<String>,
    /// The image that it was built of here.
    pub parent: Option<Digest>,
    /// Whether others were built of it here.
    pub has_children: bool,
    /// When it was made, as it says itself.
    pub created: Option<Timestamp>,
    /// When it got a name last.
    pub tagged: Timestamp,
    /// Labels of its configuration.
    pub labels: BTreeMap<String, String>,
    /// Bytes of its content that is here.
    pub content_bytes: u64,
    /// Bytes of its unpacked files.
    pub unpacked_bytes: u64,
    /// How many of the engine's containers were made of it.
    pub containers: usize,
    /// Its manifests.
    pub manifests: Vec<ManifestSummary>,
    /// The digests of its unpacked layers, each with its bytes: for what images share.
    pub layers: Vec<(String, u64)>,
}

impl ImageSummary {
    /// Whether it has no name.
    pub fn is_dangling(&self) -> bool {
        self.tags.is_empty() && self.digests.is_empty()
    }

    /// Bytes of content and files.
    pub fn bytes(&self) -> u64 {
        self.content_bytes + self.unpacked_bytes
    }
}

/// The records that name the same, in the order of their names.
pub(crate) struct Group {
    pub(crate) target: Descriptor,
    pub(crate) images: Vec<Image>,
}

impl Group {
    /// The image that it was built of.
    pub(crate) fn parent(&self) -> Option<Digest> {
        let label = self.images.iter().find_map(|image| image.labels.get(names::PARENT_LABEL));
        label.and_then(|digest| Digest::parse(digest).ok())
    }

    pub(crate) fn references(&self) -> impl Iterator<Item = Reference> + '_ {
        self.images.iter().filter_map(|image| Reference::parse(&image.name).ok())
    }

    /// Names as people write them, and by digest.
    pub(crate) fn shown(&self) -> (Vec<String>, Vec<String>) {
        let (mut tags, mut digests) = (Vec::new(), BTreeSet::new());
        for reference in self.references() {
            if reference.digest().is_none() {
                tags.push(reference.familiar());
            }
            digests.insert(names::repository_digest(&reference, &self.target.digest));
        }
        (tags, digests.into_iter().collect())
    }
}

/// Puts records together by what they name.
pub(crate) fn group(images: Vec<Image>) -> Vec<Group> {
    let mut groups: BTreeMap<Digest, Group> = BTreeMap::new();
    for image in images {
        let target = image.target.clone();
        let group =
            groups.entry(target.digest.clone()).or_insert_with(|| Group { target, images: Vec::new() });
        group.images.push(image);
    }
    groups.into_values().collect()
}

impl Engine {
    /// All images, the newest first. One whose documents cannot be read is listed with what is known of it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn images(&self) -> Result<Vec<ImageSummary>> {
        let (images, stock) = tokio::try_join!(self.image_groups(), self.stock())?;
        let parents: BTreeSet<Digest> = images.iter().filter_map(Group::parent).collect();
        let mut summaries = Vec::with_capacity(images.len());
        for group in images {
            let mut summary = self.image_summary(&group, &stock).await;
            summary.has_children = parents.contains(&group.target.digest);
            summaries.push(summary);
        }
        summaries.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.tags.cmp(&b.tags)));
        Ok(summaries)
    }

    pub(crate) async fn image_groups(&self) -> Result<Vec<Group>> {
        Ok(group(self.shared.store.image_list(self.context(), Vec::new()).await?))
    }

    pub(crate) async fn image_summary(&self, group: &Group, stock: &Stock) -> ImageSummary {
        let parts = match group.images.first() {
            Some(image) => self.parts(image, stock).await,
            None => Vec::new(),
        };
        let best = best(&parts, &Matcher(vec![self.shared.platform.clone()]));
        let document = best.and_then(|part| part.document.as_deref());
        let (tags, digests) = group.shown();
        let unpacked = |part: &Part| match &part.summary.kind {
            ManifestKind::Image { unpacked_bytes, .. } => *unpacked_bytes,
            _ => 0,
        };
        let index_bytes = match parts.iter().any(|part| part.summary.descriptor.digest == group.target.digest)
        {
            true => 0,
            false => stock.size_of(&group.target.digest).unwrap_or_default(),
        };
        ImageSummary {
            target: group.target.clone(),
            tags,
            digests,
            parent: group.parent(),
            has_children: false,
            created: document.and_then(ImageDocument::created_at),
            tagged: group.images.iter().map(|image| image.updated).max().unwrap_or_default(),
            labels: document.map(|document| document.config.labels.clone()).unwrap_or_default(),
            content_bytes: index_bytes + parts.iter().map(|part| part.summary.content_bytes).sum::<u64>(),
            unpacked_bytes: parts.iter().map(unpacked).sum(),
            containers: stock.containers_of(&group.target.digest),
            layers: parts.iter().flat_map(|part| layers(part, stock)).collect(),
            manifests: parts.into_iter().map(|part| part.summary).collect(),
        }
    }
}

/// The layers that are unpacked, by chain, and the blobs, by digest: with bytes.
fn layers(part: &Part, stock: &Stock) -> Vec<(String, u64)> {
    let blobs = part.manifest.iter().flat_map(|manifest| &manifest.layers);
    let blobs = blobs.filter_map(|blob| Some((blob.digest.to_string(), stock.size_of(&blob.digest)?)));
    let chains = part.document.iter().flat_map(|document| {
        let chain = gantry_types::ChainId::chain(&document.rootfs.diff_ids);
        chain.into_iter().zip(stock.layer_bytes(document))
    });
    let chains = chains.filter_map(|(chain, bytes)| Some((format!("chain:{chain}"), bytes?)));
    blobs.chain(chains).collect()
}

/// The image of the platform that suits best among those that are here, else any of these.
fn best<'a>(parts: &'a [Part], wanted: &Matcher) -> Option<&'a Part> {
    let images = parts.iter().filter(|part| part.document.is_some());
    images.min_by_key(|part| match &part.summary.kind {
        ManifestKind::Image { platform, .. } => wanted.rank(Some(platform)).unwrap_or(u32::MAX),
        _ => u32::MAX,
    })
}

#[cfg(test)]
mod tests {
    use gantry_types::{Labels, media_type};

    use super::*;

    #[test]
    fn names_of_the_same_are_one_image() {
        let target = |text: &str| Descriptor::of(media_type::OCI_MANIFEST, text.as_bytes());
        let image = |name: &str, text: &str| Image::new(name, target(text), Labels::new());
        let digest = target("a").digest;
        let all = vec![
            image("docker.io/library/a:1", "a"),
            image(&format!("docker.io/library/a@{digest}"), "a"),
            image("docker.io/library/b:1", "a"),
            image(&names::dangling(&target("c").digest), "c"),
            image("sha256:0000", "a"),
        ];
        let groups = group(all);
        assert_eq!(groups.len(), 2);
        let one = groups.iter().find(|group| group.target.digest == digest).unwrap();
        let (tags, digests) = one.shown();
        assert_eq!(tags, ["a:1", "b:1"]);
        assert_eq!(digests, [format!("a@{digest}"), format!("b@{digest}")]);
        let other = groups.iter().find(|group| group.target.digest != digest).unwrap();
        assert_eq!(other.shown(), (Vec::new(), Vec::new()));
    }
}
