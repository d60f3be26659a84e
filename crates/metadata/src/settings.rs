//! Small values of the daemon itself, by key.

use rusqlite::params;

use crate::{Change, Error, View};

/// What the keys of callers begin with, so that they never meet the database's own.
pub(crate) const PREFIX: &str = "user.";

/// The value of `key`.
///
/// # Errors
/// Those of the database.
pub fn get(view: &View<'_>, key: &str) -> Result<Option<String>, Error> {
    view.row("SELECT value FROM setting WHERE key = ?1 || ?2", params![PREFIX, key], |row| row.get(0))
}

/// Sets the value of `key`, or removes it.
///
/// # Errors
/// Those of the database.
pub fn set(change: &mut Change<'_>, key: &str, value: Option<&str>) -> Result<(), Error> {
    match value {
        Some(value) => change
            .prepare("INSERT OR REPLACE INTO setting (key, value) VALUES (?1 || ?2, ?3)")?
            .execute(params![PREFIX, key, value])?,
        None => change.prepare("DELETE FROM setting WHERE key = ?1 || ?2")?.execute(params![PREFIX, key])?,
    };
    Ok(())
}
