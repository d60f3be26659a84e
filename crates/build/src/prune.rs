//! What the cache holds, and giving it up.
//!
//! An entry is in use as long as its image, or one that was built of it, has a name or a container. Giving up another one removes its
//! image, too; giving up one in use only makes the next build do its step again.

use std::collections::{HashMap, HashSet};

use gantry_engine::image::{ImageRemoval, ImageSummary};
use gantry_types::{Digest, ErrorKind};
use jiff::Timestamp;

use crate::Result;
use crate::builder::Builder;
use crate::cache::Entry;

/// An entry of the cache, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheItem {
    /// Its name.
    pub id: String,
    /// The names of the entries that it stands on.
    pub parents: Vec<String>,
    /// The instruction.
    pub description: String,
    /// Whether an image that has a name, or a container, needs its layers.
    pub in_use: bool,
    /// Bytes of the files that it added.
    pub size: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it was used last.
    pub used: Timestamp,
    /// How often it was used.
    pub uses: u64,
}

/// What is given up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CachePrune {
    /// Also what is in use.
    pub scope: Scope,
    /// Only what was not used since.
    pub until: Option<Timestamp>,
    /// Only these, by the beginnings of their names.
    pub ids: Vec<String>,
    /// How many bytes may stay.
    pub keep_bytes: u64,
}

/// Which entries are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those that are not in use.
    #[default]
    Unused,
    /// All.
    All,
}

/// What was given up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CachePruned {
    /// The names of the entries.
    pub ids: Vec<String>,
    /// Bytes of the files that went with them.
    pub bytes: u64,
}

impl CachePrune {
    fn wants(&self, item: &CacheItem) -> bool {
        (self.scope == Scope::All || !item.in_use)
            && self.until.is_none_or(|until| item.used < until)
            && (self.ids.is_empty() || self.ids.iter().any(|id| item.id.starts_with(id.as_str())))
    }
}

/// Images that have a name or a container, and all that these were built of.
fn needed(images: &HashMap<Digest, ImageSummary>) -> HashSet<Digest> {
    let mut needed = HashSet::new();
    for image in images.values().filter(|image| !image.is_dangling() || image.containers > 0) {
        let mut next = Some(image);
        while let Some(image) = next {
            if !needed.insert(image.target.digest.clone()) {
                break;
            }
            next = image.parent.as_ref().and_then(|parent| images.get(parent));
        }
    }
    needed
}

impl Builder {
    /// What the cache holds, what was used longest ago first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn cache(&self) -> Result<Vec<CacheItem>> {
        Ok(self.items().await?.into_iter().map(|(item, _)| item).collect())
    }

    async fn items(&self) -> Result<Vec<(CacheItem, Digest)>> {
        let images: HashMap<Digest, ImageSummary> = self
            .shared
            .engine
            .images()
            .await?
            .into_iter()
            .map(|image| (image.target.digest.clone(), image))
            .collect();
        let needed = needed(&images);
        let entries: Vec<(String, Entry)> =
            self.shared.cache().entries().map(|(name, entry)| (name.clone(), entry.clone())).collect();
        let names: HashMap<Digest, String> =
            entries.iter().map(|(name, entry)| (entry.image.clone(), name.clone())).collect();
        let mut items = Vec::with_capacity(entries.len());
        for (name, entry) in entries {
            // What has no image any more is no entry.
            let Some(image) = images.get(&entry.image) else {
                self.shared.cache().forget(&name);
                continue;
            };
            let below = entry.parent.as_ref().and_then(|parent| images.get(parent));
            let below: HashSet<&String> =
                below.iter().flat_map(|image| &image.layers).map(|(id, _)| id).collect();
            let own = image.layers.iter().filter(|(id, _)| !below.contains(id));
            let size = own.map(|(_, bytes)| bytes).sum();
            let parents = entry.parent.as_ref().and_then(|parent| names.get(parent)).cloned();
            let item = CacheItem {
                id: name,
                parents: parents.into_iter().collect(),
                description: entry.text,
                in_use: needed.contains(&entry.image),
                size,
                created: entry.created,
                used: entry.used,
                uses: entry.uses,
            };
            items.push((item, entry.image));
        }
        items.sort_by(|(a, _), (b, _)| a.used.cmp(&b.used).then(a.created.cmp(&b.created)));
        Ok(items)
    }

    /// Gives entries up, and removes their images where nothing needs them.
    ///
    /// # Errors
    /// Those of the store. What was given up until then stays so.
    pub async fn prune(&self, which: CachePrune) -> Result<CachePruned> {
        let items = self.items().await?;
        let mut kept: u64 = items.iter().map(|(item, _)| item.size).sum();
        let mut pruned = CachePruned::default();
        let mut images = Vec::new();
        for (item, image) in items {
            if !which.wants(&item) || which.keep_bytes > 0 && kept <= which.keep_bytes {
                continue;
            }
            self.shared.cache().forget(&item.id);
            kept -= item.size;
            if !item.in_use {
                pruned.bytes += item.size;
                images.push(image);
            }
            pruned.ids.push(item.id);
        }
        self.shared.save_cache().await;
        // What stands on others was made after them.
        for image in images.into_iter().rev() {
            let how = ImageRemoval { force: true, prune_parents: false };
            match self.shared.engine.image_remove(image.as_str(), how).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(%image, %error, "the image of a step stays"),
            }
        }
        Ok(pruned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_suits_is_given_up() {
        let item = |in_use| CacheItem {
            id: "abc".into(),
            parents: Vec::new(),
            description: "RUN x".into(),
            in_use,
            size: 1,
            created: Timestamp::UNIX_EPOCH,
            used: Timestamp::from_second(100).unwrap(),
            uses: 0,
        };
        let prune = CachePrune::default;
        assert!(prune().wants(&item(false)) && !prune().wants(&item(true)));
        assert!(CachePrune { scope: Scope::All, ..prune() }.wants(&item(true)));
        let until = |second| CachePrune { until: Timestamp::from_second(second).ok(), ..prune() };
        assert!(until(101).wants(&item(false)) && !until(100).wants(&item(false)));
        let ids = |id: &str| CachePrune { ids: vec![id.into()], ..prune() };
        assert!(ids("ab").wants(&item(false)) && !ids("b").wants(&item(false)));
    }
}
