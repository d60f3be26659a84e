use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use gantry_layer::Implied;
use gantry_snapshot::SnapshotNumber;

/// Which snapshots' directories somebody works at: a driver wants one at a time.
#[derive(Default)]
pub(crate) struct Locks {
    held: Mutex<HashSet<SnapshotNumber>>,
    freed: Condvar,
}

/// The right to work at a snapshot's directory.
pub(crate) struct Guard<'a> {
    locks: &'a Locks,
    number: SnapshotNumber,
}

impl Locks {
    fn held(&self) -> MutexGuard<'_, HashSet<SnapshotNumber>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for whoever works at it. Blocks.
    pub(crate) fn lock(&self, number: SnapshotNumber) -> Guard<'_> {
        let mut held = self.held();
        while !held.insert(number) {
            held = self.freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        Guard { locks: self, number }
    }

    /// Keeps a number that nobody else knows yet from being taken for an orphan's, until [`release`](Self::release).
    pub(crate) fn reserve(&self, number: SnapshotNumber) {
        self.held().insert(number);
    }

    /// Ends [`reserve`](Self::reserve).
    pub(crate) fn release(&self, number: SnapshotNumber) {
        self.held().remove(&number);
        self.freed.notify_all();
    }

    pub(crate) fn is_locked(&self, number: SnapshotNumber) -> bool {
        self.held().contains(&number)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.locks.release(self.number);
    }
}

/// What layers that clients applied without knowing what is below leave to the commit that says so.
///
/// In memory only: a client that survives the daemon has to apply again, as its connection has ended in between.
#[derive(Default)]
pub(crate) struct PendingImplied(Mutex<HashMap<SnapshotNumber, Implied>>);

impl PendingImplied {
    pub(crate) fn put(&self, number: SnapshotNumber, implied: Implied) {
        if !implied.is_empty() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, implied);
        }
    }

    pub(crate) fn take(&self, number: SnapshotNumber) -> Option<Implied> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }
}
