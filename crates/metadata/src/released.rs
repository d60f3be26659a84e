use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use gantry_types::{Digest, Namespace};
use rusqlite::{Connection, Row, params};

use crate::{Change, Error, View, row};

/// Bytes that no record names any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bytes {
    /// The file of a blob.
    Blob(Digest),
    /// The directory of a snapshot.
    Snapshot {
        /// Whose it is.
        driver: String,
        /// Its number.
        number: u64,
    },
    /// What was written to an ingest.
    Ingest {
        /// The namespace of the ingest.
        namespace: Namespace,
        /// Its id, see [`crate::Ingest::id`].
        id: i64,
        /// Its ref.
        reference: String,
    },
    /// An activated mount.
    Mount {
        /// The namespace of the activation.
        namespace: Namespace,
        /// Its state, as it was written.
        state: String,
    },
}

const BLOB: i64 = 1;
const SNAPSHOT: i64 = 2;
const INGEST: i64 = 3;
const MOUNT: i64 = 4;

/// Bytes to unlink. It goes back to the queue if it is dropped without an acknowledgement.
#[derive(Debug)]
pub struct Release {
    /// What to unlink.
    pub bytes: Bytes,
    id: i64,
    unlinking: Arc<Unlinking>,
}

impl Drop for Release {
    fn drop(&mut self) {
        self.unlinking.end(self.id, &self.bytes);
    }
}

/// Which bytes are being unlinked, and which must not be.
#[derive(Debug, Default)]
pub(crate) struct Unlinking {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: HashSet<i64>,
    blobs: HashSet<Digest>,
    pins: HashMap<Digest, u32>,
}

impl Unlinking {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pin(&self, digest: &Digest) {
        let mut state = self.lock();
        while state.blobs.contains(digest) {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        *state.pins.entry(digest.clone()).or_default() += 1;
    }

    pub(crate) fn unpin(&self, digest: &Digest) {
        let mut state = self.lock();
        if let Some(count) = state.pins.get_mut(digest) {
            *count -= 1;
            if *count == 0 {
                state.pins.remove(digest);
            }
        }
    }

    fn begin(self: &Arc<Self>, id: i64, bytes: Bytes) -> Option<Release> {
        let mut state = self.lock();
        let busy = |digest| state.pins.contains_key(digest) || state.blobs.contains(digest);
        if matches!(&bytes, Bytes::Blob(digest) if busy(digest)) {
            return None;
        }
        if !state.taken.insert(id) {
            return None;
        }
        if let Bytes::Blob(digest) = &bytes {
            state.blobs.insert(digest.clone());
        }
        drop(state);
        Some(Release { bytes, id, unlinking: Arc::clone(self) })
    }

    fn end(&self, id: i64, bytes: &Bytes) {
        let mut state = self.lock();
        state.taken.remove(&id);
        if let Bytes::Blob(digest) = bytes {
            state.blobs.remove(digest);
        }
        drop(state);
        self.ended.notify_all();
    }
}

/// Puts bytes into the queue, in the transaction that removed their last record.
pub(crate) fn release(change: &mut Change<'_>, bytes: &Bytes) -> Result<(), Error> {
    let (kind, owner, key) = match bytes {
        Bytes::Blob(digest) => (BLOB, "", digest.to_string()),
        Bytes::Snapshot { driver, number } => (SNAPSHOT, driver.as_str(), number.to_string()),
        Bytes::Ingest { namespace, id, reference } => {
            (INGEST, namespace.as_str(), format!("{id} {reference}"))
        }
        Bytes::Mount { namespace, state } => (MOUNT, namespace.as_str(), state.clone()),
    };
    change
        .prepare("INSERT INTO released (kind, owner, key) VALUES (?1, ?2, ?3)")?
        .execute(params![kind, owner, key])?;
    change.ledger.releasing = change.last_id();
    Ok(())
}

/// Takes a blob out of the queue: it has a record again.
pub(crate) fn withdraw(change: &Change<'_>, digest: &Digest) -> Result<(), Error> {
    change
        .prepare("DELETE FROM released WHERE key = ?1 AND kind = ?2")?
        .execute(params![digest.as_str(), BLOB])?;
    Ok(())
}

/// The last row there is.
pub(crate) fn last(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.query_row("SELECT coalesce(max(id), 0) FROM released", [], |row| row.get(0))?)
}

/// The rows that cannot be read as an entry of the queue.
pub(crate) fn unreadable(connection: &Connection) -> Result<Vec<i64>, Error> {
    let mut statement = connection.prepare("SELECT id, kind, owner, key FROM released")?;
    let mut rows = statement.query([])?;
    let mut unreadable = Vec::new();
    while let Some(row) = rows.next()? {
        if read(row).is_err() {
            unreadable.push(row.get(0)?);
        }
    }
    Ok(unreadable)
}

pub(crate) fn take(
    view: &View<'_>,
    durable: i64,
    limit: usize,
    unlinking: &Arc<Unlinking>,
) -> Result<Vec<Release>, Error> {
    let mut taken = Vec::new();
    let mut after = 0;
    while taken.len() < limit {
        let sql =
            "SELECT id, kind, owner, key FROM released WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT 256";
        let rows = view.rows(sql, params![after, durable], read)?;
        let Some((last, _)) = rows.last() else { break };
        after = *last;
        for (id, bytes) in rows {
            if taken.len() == limit {
                break;
            }
            taken.extend(unlinking.begin(id, bytes));
        }
    }
    Ok(taken)
}

/// Which of `releases` still stand, now that they are taken and no pin of them can begin.
pub(crate) fn confirm(view: &View<'_>, releases: Vec<Release>) -> Result<Vec<Release>, Error> {
    let mut confirmed = Vec::with_capacity(releases.len());
    for release in releases {
        if view.any("SELECT 1 FROM released WHERE id = ?1", [release.id])? {
            confirmed.push(release);
        }
    }
    Ok(confirmed)
}

pub(crate) fn acknowledge(change: &mut Change<'_>, releases: &[Release]) -> Result<(), Error> {
    for release in releases {
        change.prepare("DELETE FROM released WHERE id = ?1")?.execute([release.id])?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<(i64, Bytes)> {
    let owner = row.get_ref(2)?.as_str()?;
    let key = row.get_ref(3)?.as_str()?;
    let namespace = || owner.parse::<Namespace>().map_err(|error| row::damaged(2, error));
    let bytes = match row.get::<_, i64>(1)? {
        BLOB => Bytes::Blob(row::digest(row, 3)?),
        SNAPSHOT => Bytes::Snapshot {
            driver: owner.to_owned(),
            number: key.parse().map_err(|error: std::num::ParseIntError| row::damaged(3, error))?,
        },
        INGEST => {
            let (id, reference) = key.split_once(' ').unwrap_or((key, ""));
            let id = id.parse().map_err(|error: std::num::ParseIntError| row::damaged(3, error))?;
            Bytes::Ingest { namespace: namespace()?, id, reference: reference.to_owned() }
        }
        _ => Bytes::Mount { namespace: namespace()?, state: key.to_owned() },
    };
    Ok((row.get(0)?, bytes))
}
