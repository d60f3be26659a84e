//! One writer per key.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use gantry_types::{Digest, Hasher};

use crate::Error;

/// How many hashes of ingests that nobody writes to are remembered, so that resuming them reads nothing.
const MAX_PARKED: usize = 256;

/// No lock here is held over anything that could leave a value half changed.
pub(crate) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ingests that somebody has, by the names of their directories.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    held: Mutex<HashMap<String, Arc<Held>>>,
    parked: Mutex<HashMap<String, (u64, Hasher)>>,
}

/// What the writer of an ingest and somebody who aborts it tell each other.
#[derive(Debug)]
pub(crate) struct Held {
    key: String,
    since: SystemTime,
    aborted: AtomicBool,
    /// Held during the commit's rename and while an abort removes the files.
    end: Mutex<End>,
}

/// How an ingest ended, for whoever comes second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    Committed,
    Aborted,
}

/// An ingest that is ours until this goes.
#[derive(Debug)]
pub(crate) struct Lock {
    locks: Arc<Locks>,
    name: String,
    held: Arc<Held>,
}

impl Locks {
    /// The lock of `key`, or who has it. With `limit`, only if fewer are held.
    pub(crate) fn take(self: &Arc<Self>, key: &str, limit: Option<usize>) -> Result<Lock, Taken> {
        let name = directory_of(key);
        let mut table = guard(&self.held);
        let count = table.len();
        match table.entry(name.clone()) {
            Entry::Occupied(entry) => Err(Taken::By(Arc::clone(entry.get()))),
            Entry::Vacant(_) if limit.is_some_and(|limit| count >= limit) => Err(Taken::TooMany(count)),
            Entry::Vacant(entry) => {
                let held = Arc::new(Held {
                    key: key.to_owned(),
                    since: SystemTime::now(),
                    aborted: AtomicBool::new(false),
                    end: Mutex::new(End::Open),
                });
                entry.insert(Arc::clone(&held));
                Ok(Lock { locks: Arc::clone(self), name, held })
            }
        }
    }
}

/// Why there was no lock.
#[derive(Debug)]
pub(crate) enum Taken {
    By(Arc<Held>),
    TooMany(usize),
}

impl From<Taken> for Error {
    fn from(taken: Taken) -> Self {
        match taken {
            Taken::By(held) => Self::Locked { key: held.key.clone(), since: held.since },
            Taken::TooMany(count) => Self::TooManyIngests(count),
        }
    }
}

impl Held {
    /// Whether somebody aborted the ingest.
    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    /// Ends the ingest by `how` unless it ended before; `step` runs while nobody else can end it.
    pub(crate) fn end<E>(&self, how: End, step: impl FnOnce() -> Result<(), E>) -> Result<Option<End>, E> {
        let mut end = guard(&self.end);
        if *end != End::Open {
            return Ok(Some(*end));
        }
        if how == End::Aborted {
            self.aborted.store(true, Ordering::Release);
        }
        step()?;
        *end = how;
        Ok(None)
    }
}

impl Lock {
    /// The name of the ingest's directory.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The ingest's key.
    pub(crate) fn key(&self) -> &str {
        &self.held.key
    }

    /// What others may do to it meanwhile.
    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    /// Remembers the hash of the first `offset` bytes for whoever resumes in this process.
    pub(crate) fn park(&self, offset: u64, hasher: Hasher) {
        let mut parked = guard(&self.locks.parked);
        if parked.len() < MAX_PARKED {
            parked.insert(self.name.clone(), (offset, hasher));
        }
    }

    /// What [`Lock::park`] was given, once.
    pub(crate) fn unpark(&self) -> Option<(u64, Hasher)> {
        guard(&self.locks.parked).remove(&self.name)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        guard(&self.locks.held).remove(&self.name);
    }
}

/// The name of the directory of an ingest: of one length, and without a character of the key.
pub(crate) fn directory_of(key: &str) -> String {
    Digest::sha256(key.as_bytes()).hex().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_holder_until_it_goes() {
        let locks = Arc::new(Locks::default());
        let lock = locks.take("a", Some(2)).unwrap();
        assert!(matches!(locks.take("a", None), Err(Taken::By(_))));
        let _other = locks.take("b", Some(2)).unwrap();
        assert!(matches!(locks.take("c", Some(2)), Err(Taken::TooMany(2))));
        drop(lock);
        locks.take("a", Some(2)).unwrap();
    }

    #[test]
    fn who_ends_first_ends() {
        let locks = Arc::new(Locks::default());
        let lock = locks.take("a", None).unwrap();
        assert_eq!(lock.held().end(End::Committed, || Err("full")), Err("full"));
        assert_eq!(lock.held().end(End::Aborted, || Ok::<_, ()>(())), Ok(None));
        assert!(lock.held().is_aborted());
        assert_eq!(lock.held().end(End::Committed, || Ok::<_, ()>(())), Ok(Some(End::Aborted)));
    }
}
