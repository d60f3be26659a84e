//! Records whose rows are lost and whose names, with what they stand for, are left in indexes.

use gantry_types::{Digest, Labels, Namespace, labels};
use rusqlite::{OptionalExtension as _, params};

use super::{Found, Salvage};
use crate::time::{self, Timestamp};
use crate::{Error, images, row};

impl Salvage {
    /// Makes image names again whose target is there, and names of snapshots. Both come without labels.
    pub(super) fn restore_indexed(&mut self, found: &Found<'_>) -> Result<(), Error> {
        let now = time::to_row(Timestamp::now());
        for entry in std::mem::take(&mut self.indexed.names) {
            let made = match entry.table {
                "image" => self.restore_image(found, &entry.space, &entry.name, entry.row, now)?,
                "snapshot_name" => self.restore_snapshot(&entry.space, &entry.name, entry.row, now)?,
                _ => false,
            };
            if made {
                if entry.table == "snapshot_name" {
                    self.indexed.restored.push(entry.row);
                }
                let what = if entry.table == "image" { "image" } else { "snapshot" };
                self.rebuilt(what, &entry.space, &entry.name, "its labels are lost");
            }
            self.indexed.names.push(entry);
        }
        Ok(())
    }

    fn restore_image(
        &self,
        found: &Found<'_>,
        space: &str,
        name: &str,
        row: i64,
        now: i64,
    ) -> Result<bool, Error> {
        let Some(writer) = self.writer_of(space, row)? else { return Ok(false) };
        let sql = "SELECT 1 FROM image WHERE id = ?1 OR (space = ?2 AND name = ?3)";
        if self.new.prepare_cached(sql)?.exists(params![row, space, name])? {
            return Ok(false);
        }
        let digest = self.indexed.targets.get(&row).and_then(|digest| Digest::parse(digest).ok());
        let Some(digest) = digest else { return Ok(false) };
        let (Some(size), Some(document)) = (found.blobs.get(&digest), (found.document)(&digest, "")) else {
            return Ok(false);
        };
        self.new.execute(
            "INSERT INTO image (id, space, name, media_type, digest, size, annotations, labels, created, updated, writer)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, '{}', '{}', ?7, ?7, ?8)",
            params![row, space, name, document.media_type, digest.as_str(), size.cast_signed(), now, writer],
        )?;
        Ok(true)
    }

    /// The namespace that may have written an image name.
    fn writer_of(&self, space: &str, row: i64) -> Result<Option<String>, Error> {
        if space != images::SHARED {
            return Ok(space.parse::<Namespace>().is_ok().then(|| space.to_owned()));
        }
        let sql = "SELECT substr(name, 12) FROM holder WHERE image = ?1 AND name LIKE 'containerd:%'";
        let mut statement = self.new.prepare_cached(sql)?;
        Ok(statement.query_row([row], |row| row.get(0)).optional()?)
    }

    fn restore_snapshot(&self, space: &str, name: &str, row: i64, now: i64) -> Result<bool, Error> {
        let (Some((driver, key)), Some(number)) = (name.split_once('/'), self.indexed.numbers.get(&row))
        else {
            return Ok(false);
        };
        if space.parse::<Namespace>().is_err() || driver.is_empty() || *number < 0 {
            return Ok(false);
        }
        // Its parent is found by what lies below its files.
        let written = self.new.execute(
            "INSERT OR IGNORE INTO snapshot_name (id, namespace, driver, key, number, labels, created, updated, root)
             VALUES (?1, ?2, ?3, ?4, ?5, '{}', ?6, ?6, 0)",
            params![row, space, driver, key, number, now],
        )?;
        Ok(written > 0)
    }

    /// Keeps files that may be somebody's data from the collector: the label that did that may be lost.
    pub(super) fn keep_restored(&self) -> Result<(), Error> {
        let sql = "UPDATE snapshot_name SET labels = ?2 WHERE id = ?1
                   AND number IN (SELECT number FROM snapshot WHERE kind = 2 OR (kind = 3 AND chain IS NULL))
                   AND NOT EXISTS (SELECT 1 FROM container AS c WHERE c.namespace = snapshot_name.namespace
                   AND c.snapshotter = snapshot_name.driver AND c.snapshot_key = snapshot_name.key)";
        let label = (labels::GC_ROOT.to_owned(), Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let labels = row::encode(&Labels::from([label]));
        for id in &self.indexed.restored {
            self.new.prepare_cached(sql)?.execute(params![id, labels])?;
        }
        Ok(())
    }

    /// Makes records of content again, without labels.
    pub(super) fn restore_indexed_content(&mut self, found: &Found<'_>) -> Result<(), Error> {
        let names = self.indexed.names.iter().filter(|entry| entry.table == "content");
        let names: Vec<_> = names.map(|entry| (entry.space.clone(), entry.name.clone())).collect();
        for (namespace, digest) in names {
            if let (Ok(_), Ok(digest)) = (namespace.parse::<Namespace>(), Digest::parse(&digest)) {
                self.restore_one(found, &namespace, &digest, &Labels::new())?;
            }
        }
        Ok(())
    }
}
