//! How connections are opened, and the pool of those that read.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::Error;

/// Compiled statements that a connection keeps.
const STATEMENTS: usize = 128;
/// The pages that the writer keeps, in KiB.
const WRITER_CACHE_KIB: i64 = 1024;
/// The pages that a reader keeps, in KiB. The kernel's page cache has the rest.
const READER_CACHE_KIB: i64 = 256;
/// Readers that are kept when nobody reads.
const IDLE_READERS: usize = 2;
/// Readers at the same time; more wait.
const MAX_READERS: usize = 16;
/// How long one waits for another process (somebody with `sqlite3`) that holds the file.
const BUSY: Duration = Duration::from_secs(5);

pub(crate) fn open_writer(path: &Path, full: bool) -> Result<Connection, Error> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    set_up(&connection, WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", if full { "FULL" } else { "NORMAL" })?;
    // The flusher checkpoints: its flush of the disk would stand in somebody's way here.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

/// A connection for checkpoints alone.
pub(crate) fn open_checkpointer(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    set_up(&connection, READER_CACHE_KIB)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

/// A connection that only looks, for another process than the one that has the database. It makes no file beside it, and
/// writes back no log; only the log's index (`-shm`) of a process that was killed is made anew.
pub(crate) fn open_beside(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if beside(path, "-wal").exists() {
        Connection::open_with_flags(path, flags)?
    } else {
        // Nobody has it open. SQLite would make a log even so, unless it is told that nothing changes.
        Connection::open_with_flags(immutable(path), flags | OpenFlags::SQLITE_OPEN_URI)?
    };
    set_up(&connection, READER_CACHE_KIB)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// The file that SQLite keeps beside `path` under its name and `suffix`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// SQLite's URI of a file that does not change (sqlite.org/uri.html).
fn immutable(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri + "?mode=ro&immutable=1"
}

fn set_up(connection: &Connection, cache_kib: i64) -> Result<(), Error> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

/// The connections that read, made when they are needed.
pub(crate) struct Readers {
    path: PathBuf,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    lent: usize,
}

impl Readers {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, pool: Mutex::default(), returned: Condvar::new() }
    }

    pub(crate) fn lend(&self) -> Result<Reader<'_>, Error> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        while pool.lent >= MAX_READERS {
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        pool.lent += 1;
        let idle = pool.idle.pop();
        drop(pool);
        let mut reader = Reader { readers: self, connection: idle };
        if reader.connection.is_none() {
            reader.connection = Some(self.open()?);
        }
        Ok(reader)
    }

    fn open(&self) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        set_up(&connection, READER_CACHE_KIB)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }
}

/// A connection on loan; it goes back to the pool.
pub(crate) struct Reader<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
}

impl Reader<'_> {
    pub(crate) fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("a reader has a connection until it is dropped")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut pool = self.readers.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.lent -= 1;
        // One whose transaction could not be ended would show its old snapshot to the next.
        let fit = self.connection.take().filter(|connection| connection.is_autocommit());
        if pool.idle.len() < IDLE_READERS {
            pool.idle.extend(fit);
        }
        drop(pool);
        self.readers.returned.notify_one();
    }
}
