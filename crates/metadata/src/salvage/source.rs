//! The damaged database, copied and opened.
//!
//! What is opened is a copy: SQLite recovers a log by writing. If the first page or another one of the schema is lost, those of a
//! new database take their place: the schema is made by the same statements each time, so that its tables begin at the same pages.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::{Error, connection, schema};

const PAGE_BYTES: usize = 4096;
/// Where the header of the first page's tree is (sqlite.org/fileformat2.html, 1.3).
const FILE_HEADER_BYTES: usize = 100;
/// For which change of the file the number of pages in its header is valid: another one, and SQLite looks at the length.
const VALID_FOR: std::ops::Range<usize> = 92..96;
const FREE_PAGES: std::ops::Range<usize> = 32..40;
/// The type of a page that has pages below it, in the tree of a table.
const INTERIOR: u8 = 0x05;

/// The copy, open for reading.
pub(super) struct Source {
    pub(super) connection: Connection,
    /// Pages of the file.
    pub(super) pages: u64,
    /// Whether its schema had to be put there.
    pub(super) schema_lost: bool,
}

impl Source {
    /// Opens a copy of `path` in `work`. Nothing if there is no file, or nothing in it can be read.
    ///
    /// # Errors
    /// FailedPrecondition if a newer version wrote it; those of the file system.
    pub(super) fn open(path: &Path, fresh: &Path, work: &Path) -> Result<Option<Self>, Error> {
        let copy = work.join("damaged.db");
        if !copy_file(path, &copy)? {
            return Ok(None);
        }
        let log = connection::beside(&copy, "-wal");
        copy_file(&connection::beside(path, "-wal"), &log)?;
        let length = copy.metadata().map_err(failed(&copy))?.len();
        let pages = length.div_ceil(PAGE_BYTES as u64);
        if let Ok(connection) = open(&copy)
            && let Ok(theirs) = statements(&connection)
        {
            for ours in schema::versions() {
                if statements(&ours?)? == theirs {
                    return Ok(Some(Self { connection, pages, schema_lost: false }));
                }
            }
            schema::refuse_newer(&connection, path)?;
        }
        // The failed attempt may have written the log back.
        copy_file(path, &copy)?;
        copy_file(&connection::beside(path, "-wal"), &log)?;
        let _ = fs::remove_file(connection::beside(&copy, "-shm"));
        transplant(fresh, &copy)?;
        let Ok(connection) = open(&copy) else { return Ok(None) };
        let ours = statements(&Connection::open(fresh)?)?;
        let readable = statements(&connection).is_ok_and(|theirs| theirs == ours);
        Ok(readable.then_some(Self { connection, pages, schema_lost: true }))
    }
}

impl Source {
    /// Whether the table is in the schema: one of a later version than the file's is not.
    pub(super) fn has(&self, table: &str) -> bool {
        let sql = "SELECT 1 FROM sqlite_schema WHERE name = ?1";
        self.connection.prepare(sql).and_then(|mut statement| statement.exists([table])).unwrap_or(true)
    }
}

fn open(path: &Path) -> Result<Connection, Error> {
    // The log is recovered by who may write.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    Ok(connection)
}

/// The statements of a schema, in order.
fn statements(connection: &Connection) -> Result<Vec<(String, String)>, Error> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut statements = rows.collect::<Result<Vec<_>, _>>()?;
    statements.sort();
    Ok(statements)
}

/// Puts the pages of the schema of `fresh` into `copy`.
fn transplant(fresh: &Path, copy: &Path) -> Result<(), Error> {
    let bytes = fs::read(fresh).map_err(failed(fresh))?;
    let file = File::options().write(true).open(copy).map_err(failed(copy))?;
    let mut waiting = vec![1_u32];
    while let Some(number) = waiting.pop() {
        let index = usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
        let offset = index.saturating_mul(PAGE_BYTES);
        let page = bytes.get(offset..offset.saturating_add(PAGE_BYTES));
        let mut page = page.ok_or_else(|| Error::Damaged("a new database is not whole".to_owned()))?.to_vec();
        waiting.extend(children(&page, if number == 1 { FILE_HEADER_BYTES } else { 0 }));
        if number == 1 {
            page[VALID_FOR].fill(0xff);
            page[FREE_PAGES].fill(0);
        }
        file.write_all_at(&page, offset as u64).map_err(failed(copy))?;
    }
    Ok(())
}

/// The pages below a page of a table's tree.
fn children(page: &[u8], header: usize) -> Vec<u32> {
    let word =
        |at: usize| page.get(at..at + 2).map(|bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])));
    let pointer = |at: usize| page.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    match page.get(header) {
        Some(&INTERIOR) => {
            let cells = word(header + 3).unwrap_or(0);
            let cell = |index: usize| word(header + 12 + 2 * index).and_then(pointer);
            (0..cells).filter_map(cell).chain(pointer(header + 8)).collect()
        }
        _ => Vec::new(),
    }
}

/// Copies a file; whether it is there.
fn copy_file(from: &Path, to: &Path) -> Result<bool, Error> {
    match fs::copy(from, to) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !from.exists() => Ok(false),
        Err(error) => Err(failed(from)(error)),
    }
}

pub(super) fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path: PathBuf = path.to_owned();
    move |source| Error::Io { path, source }
}
