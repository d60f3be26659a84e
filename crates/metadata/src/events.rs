//! The journal of events.

use std::collections::BTreeMap;
use std::time::Duration;

use gantry_types::{Digest, Namespace};
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use crate::time::{self, Timestamp};
use crate::{Change, Error, View, row};

/// What happened. The names are those of containerd's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// `/namespaces/create`
    NamespaceCreate {
        /// The namespace.
        name: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
    /// `/namespaces/update`
    NamespaceUpdate {
        /// The namespace.
        name: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
    /// `/namespaces/delete`
    NamespaceDelete {
        /// The namespace.
        name: String,
    },
    /// `/images/create`
    ImageCreate {
        /// The image.
        name: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
    /// `/images/update`
    ImageUpdate {
        /// The image.
        name: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
    /// `/images/delete`
    ImageDelete {
        /// The image.
        name: String,
    },
    /// `/content/create`
    ContentCreate {
        /// The content.
        digest: Digest,
        /// Its length, in bytes.
        size: u64,
        /// Its type, where the writer named one.
        media_type: String,
    },
    /// `/content/delete`
    ContentDelete {
        /// The content.
        digest: Digest,
    },
    /// `/snapshot/prepare`
    SnapshotPrepare {
        /// The name.
        key: String,
        /// The name of its parent, or nothing.
        parent: String,
        /// The driver.
        snapshotter: String,
    },
    /// `/snapshot/commit`
    SnapshotCommit {
        /// The name that it had.
        key: String,
        /// The name that it has.
        name: String,
        /// The driver.
        snapshotter: String,
    },
    /// `/snapshot/remove`
    SnapshotRemove {
        /// The name.
        key: String,
        /// The driver.
        snapshotter: String,
    },
    /// `/containers/create`
    ContainerCreate {
        /// The container.
        id: String,
        /// Its image.
        image: String,
        /// Its runtime.
        runtime: String,
    },
    /// `/containers/update`
    ContainerUpdate {
        /// The container.
        id: String,
        /// Its image.
        image: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// The key of its snapshot.
        snapshot_key: String,
    },
    /// `/containers/delete`
    ContainerDelete {
        /// The container.
        id: String,
    },
    /// What somebody published.
    Foreign {
        /// Its topic.
        topic: String,
        /// The type of the value.
        type_url: String,
        /// The value; it has a column of its own.
        #[serde(skip)]
        value: Vec<u8>,
    },
}

impl Event {
    /// The topic under which containerd publishes it.
    pub fn topic(&self) -> &str {
        match self {
            Self::NamespaceCreate { .. } => "/namespaces/create",
            Self::NamespaceUpdate { .. } => "/namespaces/update",
            Self::NamespaceDelete { .. } => "/namespaces/delete",
            Self::ImageCreate { .. } => "/images/create",
            Self::ImageUpdate { .. } => "/images/update",
            Self::ImageDelete { .. } => "/images/delete",
            Self::ContentCreate { .. } => "/content/create",
            Self::ContentDelete { .. } => "/content/delete",
            Self::SnapshotPrepare { .. } => "/snapshot/prepare",
            Self::SnapshotCommit { .. } => "/snapshot/commit",
            Self::SnapshotRemove { .. } => "/snapshot/remove",
            Self::ContainerCreate { .. } => "/containers/create",
            Self::ContainerUpdate { .. } => "/containers/update",
            Self::ContainerDelete { .. } => "/containers/delete",
            Self::Foreign { topic, .. } => topic,
        }
    }
}

/// An event with where, when and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Its place in the journal; later ones have larger ones.
    pub cursor: u64,
    /// When it was written.
    pub time: Timestamp,
    /// The namespace it happened in.
    pub namespace: Namespace,
    /// Its topic.
    pub topic: String,
    /// What happened.
    pub event: Event,
}

impl Envelope {
    /// About how much memory it takes, in bytes.
    pub(crate) fn weight(&self) -> usize {
        const ORDINARY: usize = 512;
        match &self.event {
            Event::Foreign { value, type_url, .. } => ORDINARY + value.len() + type_url.len(),
            _ => ORDINARY,
        }
    }
}

pub(crate) fn insert(change: &Change<'_>, namespace: &Namespace, event: Event) -> Result<Envelope, Error> {
    let body = serde_json::to_string(&event).expect("texts and numbers are JSON");
    let value = match &event {
        Event::Foreign { value, .. } => Some(value.as_slice()),
        _ => None,
    };
    change
        .prepare("INSERT INTO event (time, namespace, topic, body, value) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![change.now_row(), namespace.as_str(), event.topic(), body, value])?;
    Ok(Envelope {
        cursor: change.last_id().unsigned_abs(),
        time: change.now(),
        namespace: namespace.clone(),
        topic: event.topic().to_owned(),
        event,
    })
}

/// A batch ends with the event that passes so many bytes.
const MAX_BATCH_BYTES: i64 = 4 << 20;

pub(crate) fn since(view: &View<'_>, cursor: u64, limit: usize) -> Result<Vec<Envelope>, Error> {
    let last = last(view)?;
    let first: Option<i64> = view.row("SELECT min(cursor) FROM event", [], |row| row.get(0))?.flatten();
    // An empty journal begins with the event that comes next.
    let first = first.map_or(last + 1, i64::unsigned_abs);
    if cursor.saturating_add(1) < first || cursor > last {
        return Err(Error::Cursor { cursor, first, last });
    }
    let (cursor, limit) =
        (i64::try_from(cursor).unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
    // How far the bytes go: lengths are in the rows' heads, and no value is read for them.
    let sql = "SELECT cursor, length(body) + coalesce(length(value), 0) FROM event WHERE cursor > ?1 ORDER BY cursor LIMIT ?2";
    let sizes: Vec<(i64, i64)> =
        view.rows(sql, params![cursor, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut bytes = 0;
    let within = sizes.iter().take_while(|(_, size)| {
        let fits = bytes < MAX_BATCH_BYTES;
        bytes += size;
        fits
    });
    let Some((upper, _)) = within.last() else { return Ok(Vec::new()) };
    let sql = "SELECT cursor, time, namespace, topic, body, value FROM event WHERE cursor > ?1 AND cursor <= ?2 ORDER BY cursor";
    view.rows(sql, params![cursor, upper], read)
}

/// The latest events under a topic's beginning that are not older than `after`, at most `limit` of them, oldest first.
pub(crate) fn latest(
    view: &View<'_>,
    prefix: &str,
    after: Timestamp,
    limit: usize,
) -> Result<Vec<Envelope>, Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = "SELECT cursor, time, namespace, topic, body, value FROM event
               WHERE substr(topic, 1, length(?1)) = ?1 AND time >= ?2 ORDER BY cursor DESC LIMIT ?3";
    let mut found = view.rows(sql, params![prefix, time::to_row(after), limit], read)?;
    found.reverse();
    Ok(found)
}

pub(crate) fn last(view: &View<'_>) -> Result<u64, Error> {
    let last =
        view.row("SELECT seq FROM sqlite_sequence WHERE name = 'event'", [], |row| row::unsigned(row, 0))?;
    Ok(last.unwrap_or(0))
}

/// Events that are looked at for their age at once.
const BATCH: i64 = 2000;

/// Removes what is over the limits.
pub(crate) fn trim(view: &View<'_>, max_rows: u64, max_age: Duration) -> Result<(), Error> {
    let excess = i64::try_from(last(view)?.saturating_sub(max_rows)).unwrap_or(i64::MAX);
    view.prepare("DELETE FROM event WHERE cursor <= ?1")?.execute([excess])?;
    let age = i64::try_from(max_age.as_nanos()).unwrap_or(i64::MAX);
    let oldest = time::to_row(Timestamp::now()).saturating_sub(age);
    loop {
        let sql = "SELECT max(cursor), count(*) FROM (SELECT cursor, time FROM event ORDER BY cursor LIMIT ?1) WHERE time < ?2";
        let found = view.row(sql, params![BATCH, oldest], |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?))
        })?;
        let Some((Some(cursor), count)) = found else { return Ok(()) };
        view.prepare("DELETE FROM event WHERE cursor <= ?1")?.execute([cursor])?;
        if count < BATCH {
            return Ok(());
        }
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Envelope> {
    let body = row.get_ref(4)?.as_str()?;
    let mut event: Event = serde_json::from_str(body).map_err(|error| row::damaged(4, error))?;
    if let Event::Foreign { value, .. } = &mut event {
        *value = row.get::<_, Option<Vec<u8>>>(5)?.unwrap_or_default();
    }
    Ok(Envelope {
        cursor: row::unsigned(row, 0)?,
        time: row::timestamp(row, 1)?,
        namespace: row.get_ref(2)?.as_str()?.parse().map_err(|error| row::damaged(2, error))?,
        topic: row.get(3)?,
        event,
    })
}
