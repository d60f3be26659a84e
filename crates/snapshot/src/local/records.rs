use std::time::SystemTime;

use gantry_types::Labels;

use crate::{Error, Kind, SnapshotNumber, Usage};

/// The longest key or name, in bytes.
const MAX_KEY_BYTES: usize = 4096;
/// The longest chain of parents: overlayfs stacks no more than 500.
const MAX_CHAIN: usize = 500;

/// What is written down of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its directory.
    pub number: SnapshotNumber,
    /// What it is good for.
    pub kind: Kind,
    /// The parent's name, which lives as long as it has children.
    pub parent: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// When it was prepared, or committed.
    pub created: SystemTime,
    /// When its labels changed last.
    pub updated: SystemTime,
    /// What was counted at the commit.
    pub usage: Usage,
}

/// Records by key, inside a transaction.
pub trait Table {
    /// The record of a key.
    ///
    /// # Errors
    /// What reading gives.
    fn get(&self, key: &str) -> Result<Option<Record>, Error>;

    /// Whether the record of `key` is another's parent.
    ///
    /// # Errors
    /// What reading gives.
    fn has_children(&self, key: &str) -> Result<bool, Error>;

    /// Up to `limit` records whose keys are greater than `after`, in order of keys.
    ///
    /// # Errors
    /// What reading gives.
    fn page(&self, after: &str, limit: usize) -> Result<Vec<(String, Record)>, Error>;

    /// The largest number of any record.
    ///
    /// # Errors
    /// What reading gives.
    fn highest(&self) -> Result<Option<SnapshotNumber>, Error>;

    /// Writes the record of a key, new or not.
    ///
    /// # Errors
    /// What writing gives.
    fn put(&mut self, key: &str, record: &Record) -> Result<(), Error>;

    /// Removes the record of a key.
    ///
    /// # Errors
    /// What writing gives.
    fn delete(&mut self, key: &str) -> Result<(), Error>;
}

/// What `act` is given: a table to read, or to write.
pub type Read<'a> = dyn FnMut(&dyn Table) -> Result<(), Error> + 'a;
/// See [`Read`].
pub type Write<'a> = dyn FnMut(&mut dyn Table) -> Result<(), Error> + 'a;

/// The records of one snapshotter.
pub trait Records: Send + Sync {
    /// Runs `act` on records that do not change meanwhile.
    ///
    /// # Errors
    /// What `act` gives, or reading.
    fn read(&self, act: &mut Read<'_>) -> Result<(), Error>;

    /// Runs `act` as one change, which happens entirely or, after an error or a crash, not at all.
    ///
    /// # Errors
    /// What `act` gives, or writing.
    fn write(&self, act: &mut Write<'_>) -> Result<(), Error>;
}

/// The numbers of `parent` and its parents, nearest first.
pub(super) fn chain(table: &dyn Table, parent: Option<&str>) -> Result<Vec<SnapshotNumber>, Error> {
    let mut numbers = Vec::new();
    let mut next = parent.map(str::to_owned);
    while let Some(name) = next {
        if numbers.len() == MAX_CHAIN {
            return Err(Error::Invalid {
                what: "parent",
                text: name,
                reason: "more than 500 snapshots lie on each other",
            });
        }
        let record = table.get(&name)?.ok_or_else(|| Error::not_found(&name))?;
        numbers.push(record.number);
        next = record.parent;
    }
    Ok(numbers)
}

/// Labels with a value: one without is no label.
pub(super) fn kept(labels: &Labels) -> Labels {
    labels.iter().filter(|(_, value)| !value.is_empty()).map(|(k, v)| (k.clone(), v.clone())).collect()
}

pub(super) fn check_key(key: &str) -> Result<(), Error> {
    let invalid = |reason| Err(Error::Invalid { what: "snapshot key", text: shortened(key), reason });
    match key.len() {
        0 => invalid("it is empty"),
        length if length > MAX_KEY_BYTES => invalid("it is longer than 4096 bytes"),
        _ => Ok(()),
    }
}

/// The beginning of a text that is too long to be repeated.
fn shortened(text: &str) -> String {
    text.chars().take(32).collect()
}
