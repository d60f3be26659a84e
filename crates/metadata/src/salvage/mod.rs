//! A new database from what can be read of a damaged one, and from the bytes that are there.
//!
//! ```text
//!   read     meta.db ──copy──► damaged.db ──every row that can be read, and may be ours──► a new database
//!   settle   what the bytes on the disk say; what must hold between rows: made good, or else dropped, and told
//!   install  the damaged files are linked aside ─► the new one gets its name ─► the old log goes
//! ```
//! Nothing below the directory changes before [`install`](Salvage::install) but `meta.db.repairing/`, which goes with the salvage. An
//! installation that was cut off is brought to its end by the next open.
//!
//! The damaged file is hostile: each value is checked as if a stranger had sent it. Rows that labels make (edges) are made again.
//!
//! `primitives` is the one caller: it has the root for itself, and knows the bytes.

mod content;
mod indexed;
mod install;
mod scan;
mod settle;
mod snapshots;
mod source;
mod tables;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use gantry_types::{Descriptor, Digest, Labels};
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

pub(crate) use install::finish;

use self::scan::{How, KeyKind};
use self::source::{Source, failed};
use self::tables::Table;
use crate::database::FILE;
use crate::{Error, connection, schema};

/// The directory that a salvage works in.
const WORK: &str = "meta.db.repairing";
/// By how much the numbers of what was lost may have been larger than any that was read.
const MARGIN: i64 = 1 << 20;
/// The same for events, of which those that are far behind the last number go.
const EVENT_MARGIN: i64 = 1 << 12;
/// How far the numbers of a table may go, for each page of the file: rows come and go, and numbers only grow.
const IDS_PER_PAGE: u64 = 1 << 16;
/// The largest number that a sequence may have reached.
const MAX_SEQUENCE: i64 = 1 << 62;

/// A record, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Its kind: `image`, `content`, `snapshot`, ….
    pub what: &'static str,
    /// Its namespace, or nothing.
    pub namespace: String,
    /// Its name; a snapshot's begins with its driver and a slash.
    pub name: String,
    /// What became of it.
    pub why: String,
}

/// What a salvage found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Whether there was a file at all in which anything could be read.
    pub found: bool,
    /// Whether the schema was lost, and had to be taken from a new database.
    pub schema_lost: bool,
    /// Tables of which not all could be read.
    pub damaged: BTreeSet<String>,
    /// Rows that could be read, and are none that we write.
    pub misfits: u64,
    /// How many records there are of each kind now.
    pub kept: Vec<(&'static str, u64)>,
    /// Records that were made again.
    pub rebuilt: Vec<Finding>,
    /// Records that are gone, as far as their names are known.
    pub lost: Vec<Finding>,
    /// Images of which content is missing.
    pub incomplete: Vec<Finding>,
    /// Blobs on the disk that nothing names: they go at the next start.
    pub unnamed_blobs: u64,
    /// Directories of snapshots that nothing names: they go at the next start.
    pub unnamed_directories: Vec<(String, u64)>,
}

/// A manifest, index or configuration, as its bytes say it.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// What it is.
    pub media_type: String,
    /// The labels with which its record keeps what it refers to.
    pub labels: Labels,
    /// What it refers to.
    pub children: Vec<Descriptor>,
}

/// The bytes that are there.
pub struct Found<'a> {
    /// The length of each blob's file.
    pub blobs: BTreeMap<Digest, u64>,
    /// The directories of each driver whose directories are known.
    pub directories: BTreeMap<String, BTreeSet<u64>>,
    /// Whether a blob's bytes have its digest.
    pub proves: &'a dyn Fn(&Digest) -> bool,
    /// The document of that digest and media type (empty: whatever it is), if it is one and its bytes have the digest.
    pub document: &'a dyn Fn(&Digest, &str) -> Option<Document>,
}

/// What indexes say of records, whether these can be read or not.
#[derive(Default)]
struct Indexed {
    names: Vec<IndexedName>,
    /// The targets of images, and the directories of snapshots, by row.
    targets: HashMap<i64, String>,
    numbers: HashMap<i64, i64>,
    /// Rows of the names of snapshots that were made again.
    restored: Vec<i64>,
}

struct IndexedName {
    table: &'static str,
    space: String,
    /// A snapshot's begins with its driver and a slash.
    name: String,
    row: i64,
}

/// What could be read, in a new database that is nobody's yet.
pub struct Salvage {
    new: Connection,
    directory: PathBuf,
    indexed: Indexed,
    boot: i64,
    report: Report,
    // Last: it removes the files of what is above.
    work: Work,
}

impl Salvage {
    /// Reads the database in `directory`, which nobody may have open.
    ///
    /// # Errors
    /// FailedPrecondition if a newer version wrote it; those of the file system. Damage is none.
    pub fn read(directory: &Path, boot_id: &str) -> Result<Self, Error> {
        install::finish(directory)?;
        let work = Work::new(directory)?;
        let (path, fresh) = (directory.join(FILE), work.0.join(FILE));
        // Closed, so that all of it is in one file.
        schema::migrate(&connection::open_writer(&fresh, false)?, &fresh)?;
        let source = Source::open(&path, &fresh, &work.0)?;
        let new = connection::open_writer(&fresh, false)?;
        new.pragma_update(None, "synchronous", "OFF")?;
        let mut salvage = Self {
            new,
            directory: directory.to_owned(),
            indexed: Indexed::default(),
            boot: 0,
            report: Report::default(),
            work,
        };
        if let Some(source) = source {
            salvage.take_names(&source);
            salvage.take_rows(&source)?;
        }
        salvage.boot = salvage.enter_boot(boot_id)?;
        Ok(salvage)
    }

    /// What was found so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    fn take_rows(&mut self, source: &Source) -> Result<(), Error> {
        self.report.found = true;
        self.report.schema_lost = source.schema_lost;
        let transaction = self.new.unchecked_transaction()?;
        for table in Table::all(&self.new)?.iter().filter(|table| source.has(&table.name)) {
            let outcome = self.take_table(source, table)?;
            self.report.misfits += outcome.misfits;
            if outcome.damaged {
                self.report.damaged.insert(table.name.clone());
            }
        }
        transaction.execute("DELETE FROM setting WHERE key = 'clean'", [])?;
        self.take_sequences(source)?;
        transaction.commit()?;
        Ok(())
    }

    fn take_table(&self, source: &Source, table: &Table) -> Result<scan::Outcome, Error> {
        let columns = table.column_names();
        let values = format!("({}) VALUES ({})", columns.join(", "), vec!["?"; columns.len()].join(", "));
        // One that is there already was read twice; where the two differ, readers find the one that was looked up.
        let mut pass = self.new.prepare(&format!("INSERT OR IGNORE INTO {} {values}", table.name))?;
        let mut look_up = self.new.prepare(&format!("INSERT OR REPLACE INTO {} {values}", table.name))?;
        let mut result = Ok(());
        let plan = table.plan(self.largest(source, &table.name));
        let outcome = scan::read(&source.connection, source.pages, &plan, &mut |row, how| {
            if result.is_err() || !table.fits(&row) {
                return false;
            }
            let insert = if how == How::Passed { &mut pass } else { &mut look_up };
            let written = insert.execute(params_from_iter(row));
            let is_written = written.is_ok();
            result = written.map(drop);
            is_written
        });
        result?;
        Ok(outcome)
    }

    /// The largest number of a table's rows that stands elsewhere.
    fn largest(&self, source: &Source, table: &str) -> i64 {
        let sql = "SELECT max(seq) FROM sqlite_sequence WHERE name = ?1";
        let last =
            source.connection.query_row(sql, [table], |row| row.get::<_, Option<i64>>(0)).ok().flatten();
        // One that is wrong must not spread the search over numbers that nothing has.
        let credible = i64::try_from(source.pages.saturating_mul(IDS_PER_PAGE)).unwrap_or(i64::MAX);
        let rows = self.indexed.names.iter().filter(|entry| entry.table == table).map(|entry| entry.row);
        rows.chain(last).filter(|number| *number < credible).max().unwrap_or(0)
    }

    /// Numbers that are never used twice go on where they were, or well behind that.
    fn take_sequences(&self, source: &Source) -> Result<(), Error> {
        for table in ["event", "ingest", "released"] {
            let sql = "SELECT max(seq) FROM sqlite_sequence WHERE name = ?1";
            let last = source.connection.query_row(sql, [table], |row| row.get::<_, Option<i64>>(0));
            let (key, margin) = if table == "event" { ("cursor", EVENT_MARGIN) } else { ("id", MARGIN) };
            let sql = format!("SELECT coalesce(max({key}), 0) FROM {table}");
            let largest: i64 = self.new.query_row(&sql, [], |row| row.get(0))?;
            let last = match last {
                Ok(last) => last.unwrap_or(0).max(largest),
                Err(_) => largest + margin,
            };
            // The journal loses its oldest rows only, and what is far behind the last one.
            let is_certain = table == "event" && largest > 0 && !self.report.damaged.contains(table);
            let last = if is_certain { largest } else { last };
            let last = if last < MAX_SEQUENCE { last } else { largest + margin };
            self.new.execute("DELETE FROM sqlite_sequence WHERE name = ?1", [table])?;
            self.new
                .execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)", params![table, last])?;
        }
        Ok(())
    }

    /// Reads names and what they stand for a second time, from indexes: rows that are lost may stand there. What an index has
    /// lost, the table may have: nothing follows from it.
    fn take_names(&mut self, source: &Source) {
        let (connection, pages) = (&source.connection, source.pages);
        let Indexed { names, targets, numbers, .. } = &mut self.indexed;
        for (table, space, name) in tables::NAMES {
            let plan = tables::names_plan((table, space, name));
            scan::read(connection, pages, &plan, &mut |values, _| match values.as_slice() {
                [Value::Text(space), Value::Text(name), Value::Integer(row)] => {
                    names.push(IndexedName { table, space: space.clone(), name: name.clone(), row: *row });
                    true
                }
                _ => false,
            });
        }
        let plan = tables::column_plan("image", "image_target", "digest", KeyKind::Text);
        scan::read(connection, pages, &plan, &mut |values, _| match values.as_slice() {
            [Value::Text(digest), Value::Integer(row)] => {
                targets.insert(*row, digest.clone());
                true
            }
            _ => false,
        });
        let plan = tables::column_plan("snapshot_name", "snapshot_name_number", "number", KeyKind::Int);
        scan::read(connection, pages, &plan, &mut |values, _| match values.as_slice() {
            [Value::Integer(number), Value::Integer(row)] => {
                numbers.insert(*row, *number);
                true
            }
            _ => false,
        });
    }

    /// Puts a boot on record for each row that names one.
    fn enter_boot(&self, boot_id: &str) -> Result<i64, Error> {
        self.new.execute(
            "INSERT OR IGNORE INTO boot (id, name) SELECT boot, 'lost-' || boot FROM
             (SELECT boot FROM blob UNION SELECT boot FROM snapshot UNION SELECT boot FROM task)",
            [],
        )?;
        self.new.execute("INSERT OR IGNORE INTO boot (name) VALUES (?1)", [boot_id])?;
        Ok(self.new.query_row("SELECT id FROM boot WHERE name = ?1", [boot_id], |row| row.get(0))?)
    }
}

/// A directory that goes when it is dropped.
struct Work(PathBuf);

impl Work {
    fn new(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(WORK);
        // Of one that was killed.
        if path.exists() {
            fs::remove_dir_all(&path).map_err(failed(&path))?;
        }
        DirBuilder::new().mode(0o700).create(&path).map_err(failed(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "the directory of a repair is left");
        }
    }
}
