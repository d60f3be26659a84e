//! What the engine keeps: values by kind and name. What they mean is known to it alone.

use rusqlite::params;

use crate::{Change, Error, View};

/// The longest kind or name, in bytes.
const MAX_NAME_BYTES: usize = 255;
/// The largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 4 << 20;

/// Writes a value, in place of the one that was there.
///
/// # Errors
/// InvalidArgument for a name or value that is empty or too long.
pub fn put(change: &mut Change<'_>, kind: &str, name: &str, value: &[u8]) -> Result<(), Error> {
    for (what, text) in [("document kind", kind), ("document name", name)] {
        if text.is_empty() || text.len() > MAX_NAME_BYTES {
            return Err(Error::invalid(what, format!("has to have 1 to {MAX_NAME_BYTES} bytes")));
        }
    }
    if value.len() > MAX_VALUE_BYTES {
        let reason = format!("{} bytes are more than {MAX_VALUE_BYTES}", value.len());
        return Err(Error::invalid("document", reason));
    }
    change
        .prepare("INSERT OR REPLACE INTO document (kind, name, value) VALUES (?1, ?2, ?3)")?
        .execute(params![kind, name, value])?;
    Ok(())
}

/// Removes a value. One that is not there is removed already.
///
/// # Errors
/// Those of the database.
pub fn remove(change: &mut Change<'_>, kind: &str, name: &str) -> Result<(), Error> {
    change.prepare("DELETE FROM document WHERE kind = ?1 AND name = ?2")?.execute([kind, name])?;
    Ok(())
}

/// Whether there is a value.
///
/// # Errors
/// Those of the database.
pub fn exists(view: &View<'_>, kind: &str, name: &str) -> Result<bool, Error> {
    let found =
        view.row("SELECT 1 FROM document WHERE kind = ?1 AND name = ?2", params![kind, name], |_| Ok(()))?;
    Ok(found.is_some())
}

/// All values of a kind, by name.
///
/// # Errors
/// Those of the database.
pub fn list(view: &View<'_>, kind: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut statement = view.prepare("SELECT name, value FROM document WHERE kind = ?1 ORDER BY name")?;
    let rows = statement.query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
