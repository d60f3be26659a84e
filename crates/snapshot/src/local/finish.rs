use std::time::SystemTime;

use gantry_types::Labels;

use super::{Local, Record, Records, Table, records};
use crate::{Driver, Error, Info, Kind, SnapshotNumber};

/// What a field of an update that names one label begins with.
const ONE_LABEL: &str = "labels.";

impl<D: Driver, R: Records> Local<D, R> {
    pub(super) fn finish(
        &self,
        name: &str,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<(), Error> {
        records::check_key(name)?;
        gantry_types::labels::validate(labels).map_err(Error::Labels)?;
        let mut found = None;
        self.records.read(&mut |table| {
            found = Some(self.committable(table, name, key, parent)?);
            Ok(())
        })?;
        let Some((before, parents)) = found else { return Err(Error::not_found(key)) };
        let usage = self.driver.commit(before.number, &parents)?;
        let now = SystemTime::now();
        self.records.write(&mut |table| {
            // Counting took its time: what was found may have changed.
            let (record, now_parents) = self.committable(table, name, key, parent)?;
            if record.number != before.number || now_parents != parents {
                return Err(Error::not_found(key));
            }
            let committed = Record {
                kind: Kind::Committed,
                labels: records::kept(labels),
                created: now,
                updated: now,
                usage,
                ..record
            };
            table.delete(key)?;
            table.put(name, &committed)
        })
    }

    /// The record that is to be committed, with the parent that it is to have, and the numbers of its parents.
    fn committable(
        &self,
        table: &dyn Table,
        name: &str,
        key: &str,
        parent: Option<&str>,
    ) -> Result<(Record, Vec<SnapshotNumber>), Error> {
        if table.get(name)?.is_some() {
            return Err(Error::exists(name));
        }
        let mut record = table.get(key)?.ok_or_else(|| Error::not_found(key))?;
        if record.kind != Kind::Active {
            return Err(Error::WrongKind { key: key.to_owned(), kind: record.kind, action: "be committed" });
        }
        match (record.parent.as_deref(), parent) {
            (Some(old), Some(new)) if old != new => return Err(Error::ParentFixed { key: key.to_owned() }),
            (None, Some(new)) => {
                if !self.driver.capabilities().rebase {
                    let driver = self.driver.name().to_owned();
                    return Err(Error::Unsupported {
                        driver,
                        what: "give a snapshot a parent at its commit",
                    });
                }
                record.parent = Some(new.to_owned());
            }
            _ => {}
        }
        if let Some(parent) = &record.parent {
            let below = table.get(parent)?.ok_or_else(|| Error::not_found(parent))?;
            if below.kind != Kind::Committed {
                return Err(Error::ParentNotCommitted { parent: parent.clone(), at_commit: true });
            }
        }
        let parents = records::chain(table, record.parent.as_deref())?;
        Ok((record, parents))
    }

    pub(super) fn change_labels(&self, info: &Info, fields: &[String]) -> Result<Info, Error> {
        let mut changed = None;
        self.records.write(&mut |table| {
            let mut record = table.get(&info.name)?.ok_or_else(|| Error::not_found(&info.name))?;
            record.labels = updated_labels(&record.labels, info, fields)?;
            gantry_types::labels::validate(&record.labels).map_err(Error::Labels)?;
            record.updated = SystemTime::now();
            table.put(&info.name, &record)?;
            changed = Some(record);
            Ok(())
        })?;
        changed.map(|record| self.info(&info.name, record)).ok_or_else(|| Error::not_found(&info.name))
    }
}

/// The labels that a snapshot has after an update.
fn updated_labels(old: &Labels, info: &Info, fields: &[String]) -> Result<Labels, Error> {
    if fields.is_empty() {
        return Ok(records::kept(&info.labels));
    }
    let mut labels = old.clone();
    for field in fields {
        if field == "labels" {
            labels.clone_from(&info.labels);
        } else if let Some(key) = field.strip_prefix(ONE_LABEL) {
            labels.insert(key.to_owned(), info.labels.get(key).cloned().unwrap_or_default());
        } else {
            return Err(Error::ImmutableField { key: info.name.clone(), field: field.clone() });
        }
    }
    Ok(records::kept(&labels))
}
