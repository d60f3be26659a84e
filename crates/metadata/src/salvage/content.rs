//! Content: records for the bytes of images that lost theirs, and blobs for the records that are there.

use std::collections::{BTreeMap, BTreeSet};

use gantry_types::{Digest, Labels};
use rusqlite::{OptionalExtension as _, params};

use super::{Found, Salvage};
use crate::time::{self, Timestamp};
use crate::{Error, row};

/// For each image (its space and name), its target and what that refers to.
pub(super) type Images = BTreeMap<(String, String), Vec<Digest>>;

/// The most documents and layers that are looked at for one image.
const MAX_CONTENT: usize = 16_384;

/// What may have to get a record.
struct Wanted {
    digest: Digest,
    media_type: String,
}

impl Salvage {
    /// Gives the namespaces of each image the records that they lack, for bytes that are there and are right.
    pub(super) fn restore_content(&mut self, found: &Found<'_>) -> Result<Images, Error> {
        let mut images = Images::new();
        for (id, space, name, target) in self.image_targets()? {
            let namespaces =
                if space.is_empty() { self.holding_namespaces(id)? } else { vec![space.clone()] };
            let mut seen = BTreeSet::from([target.digest.clone()]);
            let mut order = vec![target.digest.clone()];
            let mut waiting = vec![target];
            while let Some(wanted) = waiting.pop() {
                let document = (found.document)(&wanted.digest, &wanted.media_type);
                let document = document.unwrap_or_default();
                for namespace in &namespaces {
                    self.restore_one(found, namespace, &wanted.digest, &document.labels)?;
                }
                for child in document.children {
                    if seen.len() < MAX_CONTENT && seen.insert(child.digest.clone()) {
                        order.push(child.digest.clone());
                        waiting.push(Wanted { digest: child.digest, media_type: child.media_type });
                    }
                }
            }
            images.insert((space, name), order);
        }
        self.restore_leased(found)?;
        self.restore_indexed_content(found)?;
        Ok(images)
    }

    fn image_targets(&self) -> Result<Vec<(i64, String, String, Wanted)>, Error> {
        let mut statement = self.new.prepare("SELECT id, space, name, digest, media_type FROM image")?;
        let rows = statement.query_map([], |row| {
            let wanted = Wanted { digest: row::digest(row, 3)?, media_type: row.get(4)? };
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, wanted))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The namespaces that hold a shared name, and the one that wrote it.
    fn holding_namespaces(&self, image: i64) -> Result<Vec<String>, Error> {
        let sql = "SELECT name FROM namespace WHERE 'containerd:' || name IN (SELECT name FROM holder WHERE image = ?1)
                   OR name IN (SELECT writer FROM image WHERE id = ?1)";
        let mut statement = self.new.prepare_cached(sql)?;
        let names = statement.query_map([image], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// The same for content that a lease names.
    fn restore_leased(&mut self, found: &Found<'_>) -> Result<(), Error> {
        let sql = "SELECT l.namespace, r.key FROM lease_resource AS r JOIN lease AS l ON l.id = r.lease WHERE r.kind = 1";
        for (namespace, key) in self.pairs(sql)? {
            if let Ok(digest) = Digest::parse(&key) {
                self.restore_one(found, &namespace, &digest, &Labels::new())?;
            }
        }
        Ok(())
    }

    pub(super) fn restore_one(
        &mut self,
        found: &Found<'_>,
        namespace: &str,
        digest: &Digest,
        labels: &Labels,
    ) -> Result<(), Error> {
        let sql = "SELECT 1 FROM content WHERE namespace = ?1 AND digest = ?2";
        let known = self.new.prepare_cached(sql)?.exists(params![namespace, digest.as_str()])?;
        if known || !found.blobs.contains_key(digest) || !(found.proves)(digest) {
            return Ok(());
        }
        let now = time::to_row(Timestamp::now());
        self.new.execute(
            "INSERT INTO content (namespace, digest, labels, created, updated, root) VALUES (?1, ?2, ?3, ?4, ?4, 0)",
            params![namespace, digest.as_str(), row::encode(labels), now],
        )?;
        self.rebuilt("content", namespace, digest.as_str(), "its bytes are there, and something names them");
        Ok(())
    }

    /// A blob for each record of content, if its bytes are there and are right; no record without.
    pub(super) fn settle_blobs(&mut self, found: &Found<'_>) -> Result<(), Error> {
        let named = "SELECT digest FROM content UNION SELECT expected FROM ingest WHERE expected IS NOT NULL";
        for text in self.texts(named)? {
            let Ok(digest) = Digest::parse(&text) else { continue };
            let recorded = self.recorded_size(&text)?;
            let why = match found.blobs.get(&digest) {
                None => "its bytes are not there",
                Some(size) if recorded == Some(*size) => continue,
                Some(size) if (found.proves)(&digest) => {
                    self.new.execute(
                        "INSERT OR REPLACE INTO blob (digest, size, boot, synced) VALUES (?1, ?2, ?3, 0)",
                        params![text, row::size("content size", *size)?, self.boot],
                    )?;
                    continue;
                }
                Some(_) => "its bytes are damaged",
            };
            self.forget_content(&text, why)?;
        }
        self.new.execute(&format!("DELETE FROM blob WHERE digest NOT IN ({named})"), [])?;
        self.new.execute("DELETE FROM released WHERE kind = 1 AND key IN (SELECT digest FROM blob)", [])?;
        Ok(())
    }

    fn recorded_size(&self, digest: &str) -> Result<Option<u64>, Error> {
        let mut statement = self.new.prepare_cached("SELECT size FROM blob WHERE digest = ?1")?;
        Ok(statement.query_row([digest], |row| row::unsigned(row, 0)).optional()?)
    }

    fn forget_content(&mut self, digest: &str, why: &str) -> Result<(), Error> {
        let mut statement = self.new.prepare_cached("SELECT namespace FROM content WHERE digest = ?1")?;
        let namespaces: Vec<String> =
            statement.query_map([digest], |row| row.get(0))?.collect::<Result<_, _>>()?;
        drop(statement);
        for namespace in namespaces {
            self.lost("content", &namespace, digest, why);
        }
        self.new.execute("DELETE FROM content WHERE digest = ?1", [digest])?;
        self.new.execute("UPDATE ingest SET expected = NULL WHERE expected = ?1", [digest])?;
        Ok(())
    }
}
