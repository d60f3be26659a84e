use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use super::records::{Read, Record, Records, Table, Write};
use crate::{Error, SnapshotNumber};

/// Records that last as long as the process.
#[derive(Debug, Default)]
pub struct MemoryRecords {
    table: RwLock<MemoryTable>,
}

impl MemoryRecords {
    /// No records yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Records for MemoryRecords {
    fn read(&self, act: &mut Read<'_>) -> Result<(), Error> {
        act(&*self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, act: &mut Write<'_>) -> Result<(), Error> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.undo.clear();
        let result = act(&mut *table);
        if result.is_err() {
            table.undo();
        }
        result
    }
}

#[derive(Debug, Default)]
struct MemoryTable {
    records: BTreeMap<String, Record>,
    children: BTreeMap<String, usize>,
    /// What the changes of a transaction replaced, in order.
    undo: Vec<(String, Option<Record>)>,
}

impl MemoryTable {
    fn set(&mut self, key: &str, record: Option<Record>) -> Option<Record> {
        let parent = record.as_ref().and_then(|record| record.parent.clone());
        let old = match record {
            Some(record) => self.records.insert(key.to_owned(), record),
            None => self.records.remove(key),
        };
        if let Some(parent) = parent {
            *self.children.entry(parent).or_default() += 1;
        }
        if let Some(parent) = old.as_ref().and_then(|old| old.parent.as_deref())
            && let Some(count) = self.children.get_mut(parent)
        {
            *count -= 1;
            if *count == 0 {
                self.children.remove(parent);
            }
        }
        old
    }

    fn undo(&mut self) {
        while let Some((key, record)) = self.undo.pop() {
            self.set(&key, record);
        }
    }
}

impl Table for MemoryTable {
    fn get(&self, key: &str) -> Result<Option<Record>, Error> {
        Ok(self.records.get(key).cloned())
    }

    fn has_children(&self, key: &str) -> Result<bool, Error> {
        Ok(self.children.contains_key(key))
    }

    fn page(&self, after: &str, limit: usize) -> Result<Vec<(String, Record)>, Error> {
        let range = self.records.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        Ok(range.take(limit).map(|(key, record)| (key.clone(), record.clone())).collect())
    }

    fn highest(&self) -> Result<Option<SnapshotNumber>, Error> {
        Ok(self.records.values().map(|record| record.number).max())
    }

    fn put(&mut self, key: &str, record: &Record) -> Result<(), Error> {
        let old = self.set(key, Some(record.clone()));
        self.undo.push((key.to_owned(), old));
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<(), Error> {
        let old = self.set(key, None);
        self.undo.push((key.to_owned(), old));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use gantry_types::Labels;

    use super::*;
    use crate::{Kind, Usage};

    fn record(number: u64, parent: Option<&str>) -> Record {
        Record {
            number: SnapshotNumber(number),
            kind: Kind::Committed,
            parent: parent.map(str::to_owned),
            labels: Labels::new(),
            created: SystemTime::UNIX_EPOCH,
            updated: SystemTime::UNIX_EPOCH,
            usage: Usage::default(),
        }
    }

    #[test]
    fn a_change_that_fails_half_way_did_not_happen() {
        let records = MemoryRecords::new();
        records
            .write(&mut |table| {
                table.put("below", &record(1, None))?;
                table.put("above", &record(2, Some("below")))
            })
            .unwrap();
        let result = records.write(&mut |table| {
            table.delete("above")?;
            table.put("other", &record(3, Some("above")))?;
            table.put("below", &record(4, None))?;
            Err(Error::not_found("something"))
        });
        assert!(result.is_err());
        records
            .read(&mut |table| {
                assert_eq!(table.get("above")?, Some(record(2, Some("below"))));
                assert_eq!(table.get("below")?, Some(record(1, None)));
                assert_eq!(table.get("other")?, None);
                assert!(table.has_children("below")? && !table.has_children("above")?);
                assert_eq!(table.highest()?, Some(SnapshotNumber(2)));
                Ok(())
            })
            .unwrap();
    }
}
