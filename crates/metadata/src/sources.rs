//! How far each source of events was heard: what comes again is told by its number.

use std::time::Duration;

use rusqlite::params;

use crate::time::{self, Timestamp};
use crate::{Change, Error, View};

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// How long a source is remembered after the last word of it.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Whether the event `sequence` of a source is newer than all that came of it before; if it is, that is remembered.
///
/// # Errors
/// InvalidArgument for the name or the number.
pub fn accept(change: &mut Change<'_>, name: &str, sequence: u64) -> Result<bool, Error> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(Error::invalid("event source", format_args!("must have 1 to {MAX_NAME_BYTES} bytes")));
    }
    let sequence = i64::try_from(sequence)
        .map_err(|_| Error::invalid("event number", format_args!("{sequence} is too large")))?;
    let written = change
        .prepare(
            "INSERT INTO source (name, sequence, time) VALUES (?1, ?2, ?3) ON CONFLICT (name)
             DO UPDATE SET sequence = ?2, time = ?3 WHERE sequence < ?2",
        )?
        .execute(params![name, sequence, change.now_row()])?;
    Ok(written > 0)
}

/// Forgets a source: whoever has its name next may begin to count again.
///
/// # Errors
/// Those of the database.
pub fn forget(change: &mut Change<'_>, name: &str) -> Result<(), Error> {
    change.prepare("DELETE FROM source WHERE name = ?1")?.execute([name])?;
    Ok(())
}

/// Removes the sources that have long been silent.
pub(crate) fn trim(view: &View<'_>) -> Result<(), Error> {
    trim_before(view, Timestamp::now() - KEPT)
}

fn trim_before(view: &View<'_>, oldest: Timestamp) -> Result<(), Error> {
    view.prepare("DELETE FROM source WHERE time < ?1")?.execute([time::to_row(oldest)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Database, Options};

    #[test]
    fn silent_sources_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(directory.path(), Options::new("boot")).unwrap();
        let accepted = |sequence| database.write(move |change| accept(change, "pod", sequence));
        assert!(accepted(7).unwrap());
        database.write::<_, Error>(|change| trim(change)).unwrap();
        assert!(!accepted(7).unwrap());
        database.write::<_, Error>(|change| trim_before(change, change.now() + KEPT)).unwrap();
        assert!(accepted(7).unwrap());
    }
}
