//! What must hold between rows: it is made good where something says how, else what breaks it is dropped, and told.

use std::collections::{BTreeSet, HashSet};

use gantry_types::Labels;
use rusqlite::{ToSql, params_from_iter};

use super::content::Images;
use super::{Finding, Found, IndexedName, Salvage};
use crate::labels::Meaning;
use crate::node::{Kind, Node};
use crate::view::{Change, Config, Ledger, View};
use crate::{Error, edges, images, invariants, released, row, snapshots};

/// The kinds of records, in the words of a report, and their tables.
const KINDS: [(&str, &str); 10] = [
    ("namespaces", "namespace"),
    ("images", "image"),
    ("content records", "content"),
    ("snapshots", "snapshot_name"),
    ("containers", "container"),
    ("sandboxes", "sandbox"),
    ("leases", "lease"),
    ("tasks", "task"),
    ("containers and volumes of the engine", "document"),
    ("events", "event"),
];

/// In nanoseconds.
const DAY: i64 = 24 * 3600 * 1_000_000_000;

/// Finds a record by its name, where that is called so.
const NAMED: &str = "SELECT 1 FROM {table} WHERE namespace = ?1 AND name = ?2";

impl Salvage {
    /// Joins what was read with the bytes that are there. Afterwards everything holds that has to.
    ///
    /// # Errors
    /// Those of the database; DataLoss if something does not hold in the end, which is a defect.
    pub fn settle(&mut self, found: &Found<'_>) -> Result<(), Error> {
        self.new.execute_batch("BEGIN IMMEDIATE")?;
        self.restore_indexed(found)?;
        self.find_namespaces()?;
        let images = self.restore_content(found)?;
        // Some came by what is left of their content.
        self.find_namespaces()?;
        self.settle_blobs(found)?;
        self.settle_snapshots(found)?;
        self.keep_restored()?;
        self.settle_holders()?;
        self.drop_dependents()?;
        self.drop_unreadable()?;
        self.derive(found)?;
        self.tell_incomplete(&images, found);
        self.tell_names()?;
        self.new.execute_batch("COMMIT")?;
        self.count(found)?;
        self.check()
    }

    /// A namespace for each name of one. Its labels are lost with its row.
    fn find_namespaces(&mut self) -> Result<(), Error> {
        let sql = "SELECT name FROM (SELECT namespace AS name FROM content UNION SELECT namespace FROM ingest
             UNION SELECT namespace FROM snapshot_name UNION SELECT namespace FROM lease
             UNION SELECT namespace FROM container UNION SELECT namespace FROM sandbox
             UNION SELECT namespace FROM mount UNION SELECT namespace FROM task
             UNION SELECT space FROM image WHERE space <> '' UNION SELECT writer FROM image)
             WHERE name NOT IN (SELECT name FROM namespace)";
        for name in self.texts(sql)? {
            // Who leaves the shared names takes those that it held with it: so that it sees them, it is one who joined.
            self.new.execute(
                "INSERT INTO namespace (name, labels, shared)
                 VALUES (?1, '{}', EXISTS (SELECT 1 FROM holder WHERE name = 'containerd:' || ?1))",
                [&name],
            )?;
            self.rebuilt("namespace", "", &name, "its labels are lost");
        }
        Ok(())
    }

    /// A shared name whose holders are lost is held by who wrote it last.
    fn settle_holders(&mut self) -> Result<(), Error> {
        self.new
            .execute("DELETE FROM holder WHERE image NOT IN (SELECT id FROM image WHERE space = '')", [])?;
        let sql = "SELECT name FROM image WHERE space = '' AND id NOT IN (SELECT image FROM holder)";
        for name in self.texts(sql)? {
            self.new.execute(
                "INSERT INTO holder (image, name) SELECT id, 'containerd:' || writer FROM image
                 WHERE space = '' AND name = ?1",
                [&name],
            )?;
            self.rebuilt(
                "image",
                images::SHARED,
                &name,
                "who held it is lost: it is held by who wrote it last",
            );
        }
        Ok(())
    }

    /// Removes what belongs to nothing that is left.
    fn drop_dependents(&mut self) -> Result<(), Error> {
        for sql in [
            "DELETE FROM lease_resource WHERE lease NOT IN (SELECT id FROM lease)",
            "DELETE FROM opaque WHERE CASE kind WHEN 4 THEN owner NOT IN (SELECT id FROM container)
             ELSE owner NOT IN (SELECT id FROM sandbox) END",
            "DELETE FROM task WHERE boot NOT IN (SELECT id FROM boot)",
            "DELETE FROM task WHERE exec <> '' AND NOT EXISTS (SELECT 1 FROM task AS f WHERE
             f.namespace = task.namespace AND f.container = task.container AND f.exec = '')",
        ] {
            self.new.execute(sql, [])?;
        }
        let sql = "SELECT namespace, name FROM container AS c WHERE NOT EXISTS
             (SELECT 1 FROM opaque WHERE kind = 4 AND owner = c.id AND role = 1)";
        for (namespace, name) in self.pairs(sql)? {
            let why = "its specification is lost: it is listed, and cannot be started".to_owned();
            self.report.incomplete.push(Finding { what: "container", namespace, name, why });
        }
        Ok(())
    }

    /// Removes from the queue what cannot be read as one of its entries, and from the journal what is much older than both its
    /// neighbours: all before it would go with it.
    fn drop_unreadable(&mut self) -> Result<(), Error> {
        let sql = "DELETE FROM event WHERE cursor IN (SELECT cursor FROM
             (SELECT cursor, time, lag(time) OVER journal AS before, lead(time) OVER journal AS after
             FROM event WINDOW journal AS (ORDER BY cursor))
             WHERE time < before - ?1 AND (after IS NULL OR time < after - ?1))";
        self.report.misfits += self.new.execute(sql, [DAY])? as u64;
        for id in released::unreadable(&self.new)? {
            self.new.execute("DELETE FROM released WHERE id = ?1", [id])?;
            self.report.misfits += 1;
        }
        Ok(())
    }

    /// What labels say of their records, as rows and columns; and the number from which snapshots go on.
    fn derive(&mut self, found: &Found<'_>) -> Result<(), Error> {
        let labelled = [
            (
                Kind::Content,
                "namespace",
                Some("UPDATE content SET root = :root, expires = :expires WHERE id = :id"),
            ),
            (
                Kind::Snapshot,
                "namespace",
                Some(
                    "UPDATE snapshot_name SET root = :root, expires = :expires, used = :used WHERE id = :id",
                ),
            ),
            (Kind::Image, "space", Some("UPDATE image SET expires = :expires WHERE id = :id")),
            (Kind::Container, "namespace", None),
            (Kind::Sandbox, "namespace", None),
        ];
        let config = Config { boot: self.boot, shared: Vec::new() };
        let mut ledger = Ledger::default();
        let mut change = Change::new(View::new(&self.new, &config), &mut ledger);
        for (kind, space, update) in labelled {
            let sql = format!("SELECT id, {space}, labels FROM {}", kind.table());
            let rows = change.rows(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row::map(row, 2)?)))?;
            for (id, space, labels) in rows {
                let (id, space, labels): (i64, String, Labels) = (id, space, labels);
                let meaning = Meaning::of(&labels);
                edges::insert(&mut change, Node::new(kind, id), &space, &meaning)?;
                let Some(update) = update else { continue };
                let mut update = change.prepare(update)?;
                let values: [(&str, &dyn ToSql); 4] = [
                    (":id", &id),
                    (":root", &meaning.root),
                    (":expires", &meaning.expires),
                    (":used", &meaning.used),
                ];
                for (name, value) in values {
                    if let Some(place) = update.parameter_index(name)? {
                        update.raw_bind_parameter(place, value)?;
                    }
                }
                update.raw_execute()?;
            }
        }
        let highest = found.directories.values().filter_map(|numbers| numbers.last()).max();
        snapshots::raise_number(&mut change, highest.copied().unwrap_or(0))
    }

    /// Tells which images lack content that was lost.
    fn tell_incomplete(&mut self, images: &Images, found: &Found<'_>) {
        let contents = self.report.lost.iter().filter(|finding| finding.what == "content");
        let lost: HashSet<String> = contents.map(|finding| finding.name.clone()).collect();
        for ((space, name), digests) in images {
            let target_is_there = digests.first().is_some_and(|target| found.blobs.contains_key(target));
            if !target_is_there || digests.iter().any(|digest| lost.contains(digest.as_str())) {
                let (namespace, name) = (space.clone(), name.clone());
                let why = "content of it is gone: pull it again".to_owned();
                self.report.incomplete.push(Finding { what: "image", namespace, name, why });
            }
        }
    }

    /// Tells which names stood in an index, and nowhere else.
    fn tell_names(&mut self) -> Result<(), Error> {
        let names = std::mem::take(&mut self.indexed.names);
        let told: BTreeSet<_> = self
            .report
            .lost
            .iter()
            .map(|finding| (finding.what, finding.namespace.clone(), finding.name.clone()))
            .collect();
        for IndexedName { table, space, name, .. } in names {
            let (what, sql, values) = match table {
                "image" => {
                    ("image", "SELECT 1 FROM image WHERE space = ?1 AND name = ?2", vec![&*space, &*name])
                }
                "content" => (
                    "content",
                    "SELECT 1 FROM content WHERE namespace = ?1 AND digest = ?2",
                    vec![&*space, &*name],
                ),
                "ingest" => (
                    "ingest",
                    "SELECT 1 FROM ingest WHERE namespace = ?1 AND ref = ?2",
                    vec![&*space, &*name],
                ),
                "snapshot_name" => {
                    let (driver, key) = name.split_once('/').unwrap_or_default();
                    let sql = "SELECT 1 FROM snapshot_name WHERE namespace = ?1 AND driver = ?2 AND key = ?3";
                    ("snapshot", sql, vec![&*space, driver, key])
                }
                _ => (table, NAMED, vec![&*space, &*name]),
            };
            let is_there =
                self.new.prepare_cached(&sql.replace("{table}", table))?.exists(params_from_iter(values))?;
            if !is_there && !told.contains(&(what, space.clone(), name.clone())) {
                self.lost(what, &space, &name, "its record cannot be read");
            }
        }
        Ok(())
    }

    fn count(&mut self, found: &Found<'_>) -> Result<(), Error> {
        for (kind, table) in KINDS {
            let sql = format!("SELECT count(*) FROM {table}");
            let count: i64 = self.new.query_row(&sql, [], |row| row.get(0))?;
            self.report.kept.push((kind, count.unsigned_abs()));
        }
        let named = self.texts("SELECT digest FROM blob")?.len() as u64;
        self.report.unnamed_blobs = (found.blobs.len() as u64).saturating_sub(named);
        let numbers: BTreeSet<u64> = self.numbers("SELECT number FROM snapshot")?.into_iter().collect();
        for (driver, directories) in &found.directories {
            let unnamed = directories.iter().filter(|number| !numbers.contains(*number));
            self.report.unnamed_directories.extend(unnamed.map(|number| (driver.clone(), *number)));
        }
        for list in [&mut self.report.rebuilt, &mut self.report.lost, &mut self.report.incomplete] {
            list.sort();
            list.dedup();
        }
        Ok(())
    }

    /// Checks the new file, and that its rows fit together.
    fn check(&self) -> Result<(), Error> {
        crate::database::check(&self.new, "integrity_check")?;
        let config = Config { boot: self.boot, shared: Vec::new() };
        invariants::check(&View::new(&self.new, &config))
    }

    pub(super) fn rebuilt(&mut self, what: &'static str, namespace: &str, name: &str, why: &str) {
        self.report.rebuilt.push(finding(what, namespace, name, why));
    }

    pub(super) fn lost(&mut self, what: &'static str, namespace: &str, name: &str, why: &str) {
        self.report.lost.push(finding(what, namespace, name, why));
    }

    pub(super) fn texts(&self, sql: &str) -> Result<Vec<String>, Error> {
        let mut statement = self.new.prepare(sql)?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    pub(super) fn pairs(&self, sql: &str) -> Result<Vec<(String, String)>, Error> {
        let mut statement = self.new.prepare(sql)?;
        Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
    }

    pub(super) fn numbers(&self, sql: &str) -> Result<Vec<u64>, Error> {
        let mut statement = self.new.prepare(sql)?;
        Ok(statement.query_map([], |row| row::unsigned(row, 0))?.collect::<Result<_, _>>()?)
    }
}

fn finding(what: &'static str, namespace: &str, name: &str, why: &str) -> Finding {
    Finding { what, namespace: namespace.to_owned(), name: name.to_owned(), why: why.to_owned() }
}
