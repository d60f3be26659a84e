//! Versions of the schema, and the way from each to the next.

use std::cmp::Ordering;
use std::path::Path;

use rusqlite::Connection;

use crate::Error;

/// One step of the schema: what makes its version of the one before.
struct Migration {
    version: i64,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: include_str!("schema.sql") },
    Migration { version: 2, sql: include_str!("schema-2.sql") },
    Migration { version: 3, sql: include_str!("schema-3.sql") },
];

/// The version that this code reads and writes.
pub(crate) const VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// Refuses a database of another version than [`VERSION`]: for who only looks.
pub(crate) fn require(connection: &Connection, path: &Path) -> Result<(), Error> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found.cmp(&VERSION) {
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(Error::Newer { path: path.to_owned(), found, known: VERSION }),
        Ordering::Less => Err(Error::Older { path: path.to_owned(), found, known: VERSION }),
    }
}

/// Refuses a database of a later version.
pub(crate) fn refuse_newer(connection: &Connection, path: &Path) -> Result<i64, Error> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > VERSION {
        return Err(Error::Newer { path: path.to_owned(), found, known: VERSION });
    }
    Ok(found)
}

/// A database in memory as each version has it, the latest first.
pub(crate) fn versions() -> impl Iterator<Item = Result<Connection, Error>> {
    (1..=MIGRATIONS.len()).rev().map(|count| {
        let connection = Connection::open_in_memory()?;
        MIGRATIONS[..count].iter().try_for_each(|migration| connection.execute_batch(migration.sql))?;
        Ok(connection)
    })
}

/// Brings the database to [`VERSION`], one transaction for each step.
pub(crate) fn migrate(connection: &Connection, path: &Path) -> Result<(), Error> {
    let found = refuse_newer(connection, path)?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > found) {
        tracing::info!(version = migration.version, path = %path.display(), "database: new schema version");
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(migration.sql)?;
        transaction.pragma_update(None, "user_version", migration.version)?;
        transaction.commit()?;
    }
    Ok(())
}
