//! containerd's contract over a driver and its records.

mod create;
mod finish;
mod memory;
mod records;

use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub use memory::MemoryRecords;
pub use records::{Read, Record, Records, Table, Write};

use crate::{Driver, Each, Error, Info, Kind, Request, SnapshotNumber, Snapshotter, Usage};
use gantry_types::{Labels, Mount};

/// How many records a walk reads at a time.
const PAGE_RECORDS: usize = 256;

/// Tells whether a snapshot passes a filter.
pub type Matcher = Box<dyn Fn(&Info) -> bool>;
/// Reads filters.
type Compile = Box<dyn Fn(&[String]) -> Result<Matcher, Error> + Send + Sync>;

/// A snapshotter on this machine: a driver, and records that give its numbers names.
pub struct Local<D, R> {
    driver: D,
    records: R,
    filters: Option<Compile>,
    /// The next snapshot's number.
    next: AtomicU64,
    /// Held for reading while a directory may be without record; for writing where such a one is an orphan.
    fence: RwLock<()>,
}

impl<D: Driver, R: Records> Local<D, R> {
    /// Joins a driver and the records of its snapshots.
    ///
    /// # Errors
    /// What reading either gives.
    pub fn new(driver: D, records: R) -> Result<Self, Error> {
        let mut highest = driver.highest()?;
        records.read(&mut |table| {
            highest = highest.max(table.highest()?);
            Ok(())
        })?;
        let next = AtomicU64::new(highest.map_or(1, |number| number.0 + 1));
        Ok(Self { driver, records, filters: None, next, fence: RwLock::new(()) })
    }

    /// Reads the filters of [`walk`](Snapshotter::walk) by `compile`; without, a filter is Unimplemented.
    #[must_use]
    pub fn with_filters(
        mut self,
        compile: impl Fn(&[String]) -> Result<Matcher, Error> + Send + Sync + 'static,
    ) -> Self {
        self.filters = Some(Box::new(compile));
        self
    }

    /// The driver.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    fn next_number(&self) -> SnapshotNumber {
        SnapshotNumber(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The record of `key`, and the numbers of its parents, nearest first.
    fn find(&self, key: &str) -> Result<(Record, Vec<SnapshotNumber>), Error> {
        let mut found = None;
        self.records.read(&mut |table| {
            let record = table.get(key)?.ok_or_else(|| Error::not_found(key))?;
            let parents = records::chain(table, record.parent.as_deref())?;
            found = Some((record, parents));
            Ok(())
        })?;
        found.ok_or_else(|| Error::not_found(key))
    }

    fn record(&self, key: &str) -> Result<Record, Error> {
        let mut found = None;
        self.records.read(&mut |table| {
            found = table.get(key)?;
            Ok(())
        })?;
        found.ok_or_else(|| Error::not_found(key))
    }

    fn info(&self, name: &str, record: Record) -> Info {
        let Record { number, kind, parent, mut labels, created, updated, .. } = record;
        if let Some((label, value)) = self.driver.shown_label(number) {
            labels.insert(label.to_owned(), value);
        }
        Info { name: name.to_owned(), parent, kind, labels, created, updated }
    }

    fn mounts_of(&self, record: &Record, parents: &[SnapshotNumber]) -> Result<Vec<Mount>, Error> {
        let request = Request { kind: record.kind, labels: &record.labels, volatile: false };
        self.driver.mounts(record.number, parents, &request)
    }
}

impl<D: Driver, R: Records> Snapshotter for Local<D, R> {
    fn stat(&self, key: &str) -> Result<Info, Error> {
        Ok(self.info(key, self.record(key)?))
    }

    fn update(&self, info: &Info, fields: &[String]) -> Result<Info, Error> {
        self.change_labels(info, fields)
    }

    fn usage(&self, key: &str) -> Result<Usage, Error> {
        let record = self.record(key)?;
        match record.kind {
            Kind::Active => self.driver.usage(record.number),
            Kind::View | Kind::Committed => Ok(record.usage),
        }
    }

    fn mounts(&self, key: &str) -> Result<Vec<Mount>, Error> {
        let (record, parents) = self.find(key)?;
        if record.kind == Kind::Committed {
            return Err(Error::WrongKind { key: key.to_owned(), kind: record.kind, action: "be mounted" });
        }
        self.mounts_of(&record, &parents)
    }

    fn prepare(&self, key: &str, parent: Option<&str>, labels: &Labels) -> Result<Vec<Mount>, Error> {
        self.create(Kind::Active, key, parent, labels)
    }

    fn view(&self, key: &str, parent: Option<&str>, labels: &Labels) -> Result<Vec<Mount>, Error> {
        self.create(Kind::View, key, parent, labels)
    }

    fn commit(&self, name: &str, key: &str, parent: Option<&str>, labels: &Labels) -> Result<(), Error> {
        self.finish(name, key, parent, labels)
    }

    fn remove(&self, key: &str) -> Result<(), Error> {
        let mut number = None;
        self.records.write(&mut |table| {
            let record = table.get(key)?.ok_or_else(|| Error::not_found(key))?;
            if table.has_children(key)? {
                return Err(Error::HasChildren { key: key.to_owned() });
            }
            number = Some(record.number);
            table.delete(key)
        })?;
        // The record is gone, so the snapshot is: a directory that stays is an orphan, which the clean-up finds.
        let _ = number.map(|number| self.driver.remove(&[number]));
        Ok(())
    }

    fn walk(&self, filters: &[String], each: &mut Each<'_>) -> Result<(), Error> {
        let matches = match (filters, &self.filters) {
            ([], _) => None,
            (filters, Some(compile)) => Some(compile(filters)?),
            (_, None) => {
                return Err(Error::Unsupported { driver: self.driver.name().to_owned(), what: "filter" });
            }
        };
        let mut after = String::new();
        loop {
            let mut page = Vec::new();
            self.records.read(&mut |table| {
                page = table.page(&after, PAGE_RECORDS)?;
                Ok(())
            })?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after.clone_from(last);
            for (name, record) in page {
                let info = self.info(&name, record);
                if matches.as_ref().is_none_or(|matches| matches(&info)) {
                    each(&info)?;
                }
            }
        }
    }

    fn cleanup(&self) -> Result<(), Error> {
        self.remove_orphans()?;
        while self.driver.collect()? > 0 {}
        Ok(())
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
