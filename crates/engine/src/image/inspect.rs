//! One image: all that is known of it, and how it was made.

use std::collections::HashSet;

use gantry_primitives::Timestamp;
use gantry_types::{Digest, Platform};

use super::list::Group;
use super::{FoundImage, HistoryEntry, ImageSummary, ManifestSummary};
use crate::{Engine, Result};

/// Of which image a step of an image's history is, if nobody knows.
const UNKNOWN: &str = "<missing>";
/// The most images that a chain of parents is followed through.
const MAX_PARENTS: usize = 1024;

/// An image with its documents.
#[derive(Debug, Clone)]
pub struct ImageDetails {
    /// Its documents, for one platform.
    pub found: FoundImage,
    /// What lists show of it.
    pub summary: ImageSummary,
}

impl ImageDetails {
    /// Bytes of the content of its platform, and of the index that this is in.
    pub fn content_bytes(&self) -> u64 {
        let target = &self.summary.target;
        let is_meant =
            |manifest: &&ManifestSummary| manifest.descriptor.digest == self.found.descriptor.digest;
        match self.summary.manifests.iter().find(is_meant) {
            Some(manifest) if target.digest != manifest.descriptor.digest => {
                target.size + manifest.content_bytes
            }
            Some(manifest) => manifest.content_bytes,
            None => self.summary.content_bytes,
        }
    }
}

/// A step of how an image was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLayer {
    /// The id of the image after it, if that is here; `<missing>` if not.
    pub id: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// By which instruction.
    pub created_by: String,
    /// What its maker said.
    pub comment: String,
    /// Bytes of its files; of its content where it is not unpacked.
    pub bytes: u64,
    /// Names of the image after it.
    pub tags: Vec<String>,
}

impl Engine {
    /// All that is known of an image; for a platform, or for what suits this machine best.
    ///
    /// # Errors
    /// NotFound; Invalid for what is no name.
    pub async fn image_details(&self, name: &str, platform: Option<&Platform>) -> Result<ImageDetails> {
        let image = self.image_record(name).await?;
        let found = match platform {
            Some(_) => self.image_documents(name, image, platform).await?,
            None => self.image_here(name, image).await?,
        };
        let target = found.image.target.clone();
        let (images, stock) = tokio::try_join!(self.names_of(&target.digest), self.stock())?;
        let summary = self.image_summary(&Group { target, images }, &stock).await;
        Ok(ImageDetails { found, summary })
    }

    /// How an image was made, the last step first.
    ///
    /// # Errors
    /// NotFound; Invalid for what is no name.
    pub async fn image_history(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<HistoryLayer>> {
        let image = self.image_record(name).await?;
        let found = match platform {
            Some(_) => self.image_documents(name, image, platform).await?,
            None => self.image_here(name, image).await?,
        };
        let (groups, stock) = tokio::try_join!(self.image_groups(), self.stock())?;
        let document = &found.document;
        let unpacked = stock.layer_bytes(document);
        let layers = found.manifest.layers.iter().enumerate();
        let sizes = layers.map(|(place, layer)| unpacked.get(place).copied().flatten().unwrap_or(layer.size));
        let mut steps = steps(&document.history, sizes.collect());
        let mut known = self.chain_of(&found.image.target.digest, &groups);
        for (step, (id, tags)) in steps.iter_mut().zip(known.drain(..)) {
            step.id = id.to_string();
            step.tags = tags;
        }
        Ok(steps)
    }

    /// An image and those that it was built of here, with their names.
    fn chain_of(&self, first: &Digest, groups: &[Group]) -> Vec<(Digest, Vec<String>)> {
        let mut chain = Vec::new();
        let mut seen = HashSet::new();
        let mut next = Some(first.clone());
        while let Some(digest) = next.take().filter(|digest| seen.insert(digest.clone())) {
            let Some(group) = groups.iter().find(|group| group.target.digest == digest) else { break };
            if chain.len() >= MAX_PARENTS {
                break;
            }
            next = group.parent();
            chain.push((digest, group.shown().0));
        }
        chain
    }
}

/// The steps, the last first, with the sizes of their layers.
fn steps(history: &[HistoryEntry], sizes: Vec<u64>) -> Vec<HistoryLayer> {
    let mut sizes = sizes.into_iter();
    let step = |entry: &HistoryEntry| HistoryLayer {
        id: UNKNOWN.to_owned(),
        created: entry.created.as_deref().and_then(|text| text.parse().ok()),
        created_by: entry.created_by.clone(),
        comment: entry.comment.clone(),
        bytes: if entry.empty_layer { 0 } else { sizes.next().unwrap_or_default() },
        tags: Vec::new(),
    };
    let mut steps: Vec<HistoryLayer> = history.iter().map(step).collect();
    // An image need not say how each of its layers was made.
    steps.extend(sizes.map(|bytes| HistoryLayer {
        id: UNKNOWN.to_owned(),
        created: None,
        created_by: String::new(),
        comment: String::new(),
        bytes,
        tags: Vec::new(),
    }));
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_without_a_layer_have_no_size() {
        let entry = |text: &str, empty_layer| HistoryEntry {
            created_by: text.to_owned(),
            empty_layer,
            ..HistoryEntry::default()
        };
        let history = [entry("ADD", false), entry("ENV", true), entry("RUN", false)];
        let made = steps(&history, vec![10, 20]);
        let shown: Vec<(&str, u64)> =
            made.iter().map(|step| (step.created_by.as_str(), step.bytes)).collect();
        assert_eq!(shown, [("RUN", 20), ("ENV", 0), ("ADD", 10)]);
        assert_eq!(steps(&[], vec![1, 2]).iter().map(|step| step.bytes).collect::<Vec<_>>(), [2, 1]);
    }
}
