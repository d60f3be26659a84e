use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::SystemTime;

use gantry_types::{Labels, Mount};

use super::{Local, PAGE_RECORDS, Record, Records, Table, records};
use crate::{Driver, Error, Kind, Request, SnapshotNumber, Usage};

impl<D: Driver, R: Records> Local<D, R> {
    pub(super) fn create(
        &self,
        kind: Kind,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<Vec<Mount>, Error> {
        records::check_key(key)?;
        gantry_types::labels::validate(labels).map_err(Error::Labels)?;
        let _fence = self.fence.read().unwrap_or_else(PoisonError::into_inner);
        let mut parents = Vec::new();
        self.records.read(&mut |table| {
            parents = parents_of_new(table, key, parent)?;
            Ok(())
        })?;
        let number = self.next_number();
        let request = Request { kind, labels, volatile: false };
        self.driver.prepare(number, &parents, &request)?;
        let now = SystemTime::now();
        let record = Record {
            number,
            kind,
            parent: parent.map(str::to_owned),
            labels: records::kept(labels),
            created: now,
            updated: now,
            usage: Usage::default(),
        };
        let written = self.records.write(&mut |table| {
            // The directory took its time: key and parent may have changed.
            if parents_of_new(table, key, parent)? != parents {
                return Err(Error::not_found(parent.unwrap_or_default()));
            }
            table.put(key, &record)
        });
        let mounts = written.and_then(|()| self.mounts_of(&record, &parents));
        if mounts.is_err() {
            // Without a record it is an orphan, which the clean-up finds should this fail, too.
            let _ = self.driver.remove(&[number]);
        }
        mounts
    }

    /// Removes directories that no record knows.
    pub(super) fn remove_orphans(&self) -> Result<(), Error> {
        let _fence = self.fence.write().unwrap_or_else(PoisonError::into_inner);
        let mut known = HashSet::new();
        self.records.read(&mut |table| {
            let mut after = String::new();
            loop {
                let page = table.page(&after, PAGE_RECORDS)?;
                let Some((last, _)) = page.last() else { return Ok(()) };
                after.clone_from(last);
                known.extend(page.iter().map(|(_, record)| record.number));
            }
        })?;
        self.driver.cleanup(&|number| known.contains(&number)).map(drop)
    }
}

/// The numbers of the parents that a new snapshot is to have.
fn parents_of_new(table: &dyn Table, key: &str, parent: Option<&str>) -> Result<Vec<SnapshotNumber>, Error> {
    if table.get(key)?.is_some() {
        return Err(Error::exists(key));
    }
    if let Some(parent) = parent {
        let record = table.get(parent)?.ok_or_else(|| Error::not_found(parent))?;
        if record.kind != Kind::Committed {
            return Err(Error::ParentNotCommitted { parent: parent.to_owned(), at_commit: false });
        }
    }
    records::chain(table, parent)
}
