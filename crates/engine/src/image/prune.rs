//! Removing what nothing uses.

use gantry_primitives::Timestamp;

use super::{ImageSummary, RemovedImage};
use crate::{Engine, Result};

/// Which of the images that no container was made of go.
#[derive(Clone, Default)]
pub struct ImagePrune {
    /// Also those that have names.
    pub all: bool,
    /// Only those that were made before.
    pub until: Option<Timestamp>,
    /// Only those with these labels: a key, and a value if it counts.
    pub labels: Vec<(String, Option<String>)>,
    /// Only those without any of these.
    pub without_labels: Vec<(String, Option<String>)>,
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImagesPruned {
    /// Names and images.
    pub removed: Vec<RemovedImage>,
    /// Bytes of content and files that are gone.
    pub bytes: u64,
}

impl ImagePrune {
    fn wants(&self, image: &ImageSummary) -> bool {
        let has = |(key, value): &(String, Option<String>)| match image.labels.get(key) {
            Some(found) => value.as_ref().is_none_or(|value| value == found),
            None => false,
        };
        let is_old = self.until.is_none_or(|until| image.created.is_none_or(|created| created < until));
        image.containers == 0
            && (self.all || image.is_dangling())
            && is_old
            && self.labels.iter().all(has)
            && !self.without_labels.iter().any(has)
    }
}

impl Engine {
    /// Removes images that no container was made of. What other doors hold stays.
    ///
    /// # Errors
    /// Those of the store; what had gone until then is gone.
    pub async fn image_prune(&self, which: ImagePrune) -> Result<ImagesPruned> {
        let engine = self.clone();
        self.owned("pruning images", async move {
            let before = engine.stock().await?;
            let mut removed = Vec::new();
            // What was built of another one goes first: then that one has no children any more.
            let mut images: Vec<_> =
                engine.images().await?.into_iter().filter(|image| which.wants(image)).collect();
            images.sort_by_key(|image| image.has_children);
            for image in images {
                // Names that were given meanwhile keep it.
                if image.is_dangling() && engine.has_name(&image).await? {
                    continue;
                }
                let digest = image.target.digest.clone();
                let gone = engine.remove_unused(&digest).await?;
                if image.is_dangling() && !gone.is_empty() {
                    removed.push(RemovedImage::Untagged(digest.to_string()));
                }
                removed.extend(gone);
            }
            if removed.is_empty() {
                return Ok(ImagesPruned::default());
            }
            engine.shared.store.collect().await?;
            let bytes = engine.stock().await?.bytes_gone_since(&before);
            Ok(ImagesPruned { removed, bytes })
        })
        .await
    }

    async fn has_name(&self, image: &ImageSummary) -> Result<bool> {
        let names = self.names_of(&image.target.digest).await?;
        Ok(names.iter().any(|image| super::familiar_name(&image.name).is_some()))
    }
}

#[cfg(test)]
mod tests {
    use gantry_types::{Descriptor, media_type};

    use super::*;

    fn image() -> ImageSummary {
        ImageSummary {
            target: Descriptor::of(media_type::OCI_MANIFEST, b"x"),
            tags: Vec::new(),
            digests: Vec::new(),
            parent: None,
            has_children: false,
            created: Some(Timestamp::from_second(1000).unwrap()),
            tagged: Timestamp::UNIX_EPOCH,
            labels: [("a".to_owned(), "b".to_owned())].into(),
            content_bytes: 0,
            unpacked_bytes: 0,
            containers: 0,
            manifests: Vec::new(),
            layers: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_unused_and_suits_goes() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let label = |value: Option<&str>| vec![("a".to_owned(), value.map(str::to_owned))];
        let prune = ImagePrune::default;
        assert!(prune().wants(&image()));
        assert!(!prune().wants(&ImageSummary { containers: 1, ..image() }));
        let named = ImageSummary { tags: vec!["a:1".into()], ..image() };
        assert!(!prune().wants(&named) && ImagePrune { all: true, ..prune() }.wants(&named));
        assert!(ImagePrune { until: at(1001), ..prune() }.wants(&image()));
        assert!(!ImagePrune { until: at(1000), ..prune() }.wants(&image()));
        assert!(ImagePrune { labels: label(Some("b")), ..prune() }.wants(&image()));
        assert!(!ImagePrune { labels: label(Some("c")), ..prune() }.wants(&image()));
        assert!(!ImagePrune { without_labels: label(None), ..prune() }.wants(&image()));
        assert!(ImagePrune { without_labels: label(Some("c")), ..prune() }.wants(&image()));
    }
}
