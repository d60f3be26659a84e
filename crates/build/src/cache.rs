//! What is remembered of steps: which image came of which instruction on which image.
//!
//! A key is the hash of everything that makes a step: its parent, the instruction with its arguments and the hash of what it copies,
//! and the whole configuration that it gives. Nothing is ever found by the history of an image alone (CVE-2024-24557); an entry
//! whose image is gone is forgotten. The entries are documents of the engine's, and outlive the daemon.

use std::collections::{BTreeMap, HashMap};

use gantry_engine::Engine;
use gantry_engine::image::ImageSettings;
use gantry_types::{Digest, Platform};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Result;

/// The most entries; the one that was used longest ago goes first.
const MAX_ENTRIES: usize = 10_000;
/// How old the time of the last use may be that is written down: what is used all the time is not written all the time.
const USED_SECONDS: i64 = 600;

/// A remembered step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// What it stands on; None for nothing.
    pub(crate) parent: Option<Digest>,
    /// What came of it.
    pub(crate) image: Digest,
    /// The instruction, as the image's history says it.
    pub(crate) text: String,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// When it was used last.
    pub(crate) used: Timestamp,
    /// How often.
    #[serde(default)]
    pub(crate) uses: u64,
}

/// What makes a step.
#[derive(Debug, Serialize)]
pub(crate) struct Key<'a> {
    /// Changes whenever steps are carried out differently.
    pub(crate) version: u32,
    pub(crate) parent: Option<&'a Digest>,
    pub(crate) platform: &'a Platform,
    pub(crate) text: &'a str,
    pub(crate) author: &'a str,
    pub(crate) config: &'a ImageSettings,
    /// What else decides: the network of a command, modes.
    pub(crate) more: &'a str,
}

impl Key<'_> {
    /// The name of the entry.
    pub(crate) fn name(&self) -> String {
        let bytes = serde_json::to_vec(self).expect("strings are JSON");
        Digest::sha256(&bytes).hex().to_owned()
    }
}

/// The entries by name, and what is not written down yet.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: HashMap<String, Entry>,
    changes: BTreeMap<String, Option<Vec<u8>>>,
}

impl Cache {
    /// Reads what is kept. What cannot be read is forgotten.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn open(engine: &Engine) -> Result<Self> {
        let mut cache = Self::default();
        for (name, value) in engine.build_cache().await? {
            match serde_json::from_slice(&value) {
                Ok(entry) => drop(cache.entries.insert(name, entry)),
                Err(error) => {
                    tracing::warn!(name, %error, "an entry of the build cache is forgotten");
                    cache.changes.insert(name, None);
                }
            }
        }
        Ok(cache)
    }

    /// The image of a step, if it was done before.
    pub(crate) fn get(&mut self, name: &str) -> Option<Digest> {
        let entry = self.entries.get_mut(name)?;
        let now = Timestamp::now();
        entry.uses += 1;
        if now.as_second() - entry.used.as_second() > USED_SECONDS {
            entry.used = now;
            self.changes.insert(name.to_owned(), Some(written(entry)));
        }
        Some(entry.image.clone())
    }

    pub(crate) fn put(&mut self, name: String, entry: Entry) {
        self.changes.insert(name.clone(), Some(written(&entry)));
        self.entries.insert(name, entry);
        if self.entries.len() > MAX_ENTRIES {
            let oldest =
                self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone());
            oldest.iter().for_each(|name| self.forget(name));
        }
    }

    pub(crate) fn forget(&mut self, name: &str) {
        if self.entries.remove(name).is_some() {
            self.changes.insert(name.to_owned(), None);
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.entries.iter()
    }

    /// What is to be written down now.
    pub(crate) fn take_changes(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        std::mem::take(&mut self.changes).into_iter().collect()
    }
}

fn written(entry: &Entry) -> Vec<u8> {
    serde_json::to_vec(entry).expect("strings are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(used: i64) -> Entry {
        Entry {
            parent: None,
            image: Digest::sha256(b"x"),
            text: "RUN x".into(),
            created: Timestamp::UNIX_EPOCH,
            used: Timestamp::from_second(used).unwrap(),
            uses: 0,
        }
    }

    #[test]
    fn everything_of_a_step_is_in_its_key() {
        let platform = Platform::host();
        let (config, other) =
            (ImageSettings::default(), ImageSettings { user: "1".into(), ..Default::default() });
        let parent = Digest::sha256(b"p");
        let key = |parent, text, config, more| {
            Key { version: 1, parent, platform: &platform, text, author: "", config, more }.name()
        };
        let first = key(None, "a", &config, "");
        assert_eq!(first, key(None, "a", &config, ""));
        for other in [
            key(Some(&parent), "a", &config, ""),
            key(None, "b", &config, ""),
            // The configuration counts, whatever the text says.
            key(None, "a", &other, ""),
            key(None, "a", &config, "host"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn uses_are_written_now_and_then() {
        let mut cache = Cache::default();
        cache.put("a".into(), entry(0));
        assert_eq!(cache.take_changes().len(), 1);
        assert!(cache.get("a").is_some());
        assert_eq!(cache.take_changes().len(), 1);
        assert!(cache.get("a").is_some() && cache.get("b").is_none());
        assert!(cache.take_changes().is_empty());
        cache.forget("a");
        assert_eq!(cache.take_changes(), [("a".to_owned(), None)]);
    }

    #[test]
    fn the_oldest_entries_go() {
        let mut cache = Cache::default();
        for number in 0..=MAX_ENTRIES {
            cache.put(number.to_string(), entry(number as i64));
        }
        assert!(cache.get("0").is_none() && cache.get("1").is_some());
    }
}
