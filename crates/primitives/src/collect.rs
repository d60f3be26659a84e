//! When the collector runs, and the unlinking of what has no record any more.
//!
//! One thread does both: it is woken by commits that deleted something or by many that changed something, by who asks and
//! waits, and by the flusher when releases have become durable. Nobody else waits for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use gantry_metadata::collector::Plan;
use gantry_metadata::{Bytes, Collected, Dirt, Timestamp, contents, snapshots};
use gantry_snapshot::SnapshotNumber;
use gantry_types::ErrorKind;
use tokio::sync::oneshot;

use crate::content::ingest_key;
use crate::spans::{blocking_within, span};
use crate::store::Inner;
use crate::{Error, Result, Store};

/// How long after a change what it made is forced to the disk, and recorded as safe from a power cut.
const SETTLE: Duration = Duration::from_secs(2);
/// Releases that are taken at once.
const BATCH: usize = 256;
/// How long the thread waits after an error before it tries again.
const RETRY: Duration = Duration::from_secs(5);
/// Collections in a row that were overtaken; who waits is answered then, and the rest goes with the next one.
const ROUNDS: usize = 8;

/// When the collector runs by itself.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// After the start.
    pub startup_delay: Duration,
    /// After what made it due.
    pub delay: Duration,
    /// Deletions that make it due; 0: each one.
    pub deletions: u64,
    /// Changes that make it due; 0: never.
    pub mutations: u64,
}

impl Default for Schedule {
    /// containerd's (`io.containerd.gc.v1.scheduler`, v2.1), but for the delay: a client that removes one thing is about to remove
    /// another.
    fn default() -> Self {
        Self {
            startup_delay: Duration::from_millis(100),
            delay: Duration::from_millis(100),
            deletions: 0,
            mutations: 100,
        }
    }
}

type Answer = oneshot::Sender<std::result::Result<Collected, Arc<Error>>>;

#[derive(Default)]
struct State {
    /// When a collection is due.
    due: Option<Instant>,
    /// When what was made is to be forced to the disk.
    settle: Option<Instant>,
    /// Changes when that was done last.
    settled: u64,
    /// Who waits for one that begins after he asked.
    waiting: Vec<Answer>,
    /// Whether there may be something to unlink.
    released: bool,
    /// Whether the directories that an earlier run took out of sight were looked at.
    swept: bool,
    /// What had happened when the last collection began.
    seen: Dirt,
    stopped: bool,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Wakes the collector's thread.
#[derive(Default)]
pub(crate) struct Scheduler {
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Scheduler {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let (state, wake) = &*self.state;
        let result = f(&mut lock(state));
        wake.notify_all();
        result
    }

    /// Ends the thread, after what it is doing.
    pub(crate) fn stop(&self) {
        let thread = self.with(|state| {
            state.stopped = true;
            state.thread.take()
        });
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the collector's thread panicked");
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the collector's thread, which ends with the store.
pub(crate) fn start(inner: &Arc<Inner>) -> Result<()> {
    let schedule = inner.options.collection.clone();
    let shared = Arc::clone(&inner.scheduler.state);
    let (hook, hook_schedule) = (Arc::downgrade(&shared), schedule.clone());
    inner.database.on_commit(move |dirt| {
        if let Some(shared) = hook.upgrade() {
            consider(&shared, dirt, &hook_schedule);
        }
    });
    let hook = Arc::downgrade(&shared);
    inner.database.on_released(move || {
        if let Some(shared) = hook.upgrade() {
            lock(&shared.0).released = true;
            shared.1.notify_all();
        }
    });
    let weak = Arc::downgrade(inner);
    let thread_shared = Arc::clone(&shared);
    lock(&shared.0).due = Some(Instant::now() + schedule.startup_delay);
    let thread = std::thread::Builder::new()
        .name("collector".into())
        .spawn(move || run(&weak, &thread_shared))
        .map_err(Error::file("starting", "collector"))?;
    lock(&shared.0).thread = Some(thread);
    Ok(())
}

/// Has a collection be due if enough has happened.
fn consider(shared: &(Mutex<State>, Condvar), dirt: Dirt, schedule: &Schedule) {
    let mut state = lock(&shared.0);
    if dirt.mutations != state.settled && state.settle.is_none() {
        state.settle = Some(Instant::now() + SETTLE);
        shared.1.notify_all();
    }
    let deletions = dirt.deletions.saturating_sub(state.seen.deletions);
    let mutations = dirt.mutations.saturating_sub(state.seen.mutations);
    let enough =
        deletions > schedule.deletions || (schedule.mutations > 0 && mutations >= schedule.mutations);
    if enough && state.due.is_none() {
        state.due = Some(Instant::now() + schedule.delay);
        shared.1.notify_all();
    }
}

/// What the thread is to do next.
struct Task {
    collect: bool,
    unlink: bool,
    settle: bool,
    waiting: Vec<Answer>,
}

/// Waits for something to do; nothing when the store ends.
fn next(shared: &(Mutex<State>, Condvar)) -> Option<Task> {
    let mut state = lock(&shared.0);
    loop {
        if state.stopped {
            return None;
        }
        let now = Instant::now();
        let collect = !state.waiting.is_empty() || state.due.is_some_and(|due| due <= now);
        let settle = state.settle.is_some_and(|due| due <= now);
        if collect || settle || state.released {
            if collect {
                state.due = None;
            }
            if settle {
                state.settle = None;
            }
            let waiting = if collect { std::mem::take(&mut state.waiting) } else { Vec::new() };
            return Some(Task { collect, settle, unlink: std::mem::take(&mut state.released), waiting });
        }
        state = match [state.due, state.settle].into_iter().flatten().min() {
            Some(due) => shared.1.wait_timeout(state, due - now).unwrap_or_else(PoisonError::into_inner).0,
            None => shared.1.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
    }
}

fn run(weak: &Weak<Inner>, shared: &(Mutex<State>, Condvar)) {
    while let Some(task) = next(shared) {
        let Some(inner) = weak.upgrade() else { return };
        let mut failed = false;
        if task.collect {
            lock(&shared.0).seen = inner.database.dirt();
            let collect = || collect_now(&inner, !task.waiting.is_empty());
            let result = blocking_within(&span!("collect"), collect).map_err(Arc::new);
            failed |= report("collection", &result);
            if result.as_ref().is_ok_and(|collected| collected.outdated) {
                lock(&shared.0).due = Some(Instant::now());
            }
            for answer in task.waiting {
                // Whoever asked may have gone.
                let _ = answer.send(result.clone());
            }
        }
        if task.unlink || task.collect {
            failed |= report("unlinking", &unlink(&inner).map_err(Arc::new));
            if !std::mem::replace(&mut lock(&shared.0).swept, true) {
                failed |= report("sweeping", &sweep(&inner).map_err(Arc::new));
            }
        }
        if task.settle {
            lock(&shared.0).settled = inner.database.dirt().mutations;
            failed |= report("syncing", &settle(&inner).map_err(Arc::new));
        }
        if failed {
            drop(inner);
            pause(shared);
        }
    }
}

/// Waits before the next try, unless the store ends or somebody asks.
fn pause(shared: &(Mutex<State>, Condvar)) {
    let mut state = lock(&shared.0);
    state.released = true;
    let idle = |state: &mut State| !state.stopped && state.waiting.is_empty();
    drop(shared.1.wait_timeout_while(state, RETRY, idle));
}

/// Whether it failed; then the log says so.
fn report<T>(what: &str, result: &std::result::Result<T, Arc<Error>>) -> bool {
    if let Err(error) = result {
        tracing::error!(error = crate::error::chain(error.as_ref()), "{what} failed");
    }
    result.is_err()
}

/// Collects; `whole`: until the bytes are gone.
fn collect_now(inner: &Inner, whole: bool) -> Result<Collected> {
    let begin = Instant::now();
    let one = || Ok(gantry_metadata::collect(&inner.database, gantry_metadata::Collection::now())?);
    let collected = until_current(one)?;
    if whole {
        inner.database.flush()?;
        unlink(inner)?;
    }
    tracing::debug!(duration = ?begin.elapsed(), ?collected, "collected");
    Ok(collected)
}

/// Collects again when names joined or left the shared ones meanwhile: what was not looked at by then would stay.
fn until_current(mut one: impl FnMut() -> Result<Collected>) -> Result<Collected> {
    let mut sum = one()?;
    for _ in 1..ROUNDS {
        if !sum.outdated {
            break;
        }
        let next = one()?;
        sum = Collected {
            contents: sum.contents + next.contents,
            snapshots: sum.snapshots + next.snapshots,
            images: sum.images + next.images,
            ingests: sum.ingests + next.ingests,
            leases: sum.leases + next.leases,
            mounts: sum.mounts + next.mounts,
            kept: next.kept,
            outdated: next.outdated,
            mark: sum.mark + next.mark,
            sweep: sum.sweep + next.sweep,
            longest_change: sum.longest_change.max(next.longest_change),
        };
    }
    Ok(sum)
}

/// Forces what was made to the disk, and records that: it need not be looked at after a power cut.
pub(crate) fn settle(inner: &Inner) -> Result<()> {
    let blobs = inner.read(|view| Ok(contents::pending(view)?))?;
    if !blobs.is_empty() {
        // One that was removed meanwhile needs nothing.
        inner.content.sync_pending()?;
        inner.write(move |change| Ok(contents::mark_synced(change, &blobs)?))?;
    }
    for (name, driver) in &inner.drivers {
        let numbers = inner.read(|view| Ok(snapshots::unsynced(view, name)?))?;
        let Some(last) = numbers.last() else { continue };
        match driver.sync(SnapshotNumber(*last)) {
            // Removed meanwhile; the others wait for the next time.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            result => result?,
        }
        inner.write(move |change| Ok(snapshots::mark_synced(change, &numbers)?))?;
    }
    Ok(())
}

/// Unlinks what was released and may go.
pub(crate) fn unlink(inner: &Inner) -> Result<()> {
    let mut directories = false;
    loop {
        let releases = inner.database.released(BATCH)?;
        if releases.is_empty() {
            break;
        }
        let mut numbers: BTreeMap<&str, Vec<SnapshotNumber>> = BTreeMap::new();
        for release in &releases {
            match &release.bytes {
                Bytes::Blob(digest) => absent_is_fine(inner.content.remove(digest))?,
                Bytes::Ingest { id, reference, .. } => {
                    absent_is_fine(inner.content.abort(&ingest_key(*id, reference)))?;
                }
                Bytes::Snapshot { driver, number } => {
                    numbers.entry(driver).or_default().push(SnapshotNumber(*number));
                }
                Bytes::Mount { state, .. } => Inner::release_mounts(state)?,
            }
        }
        for (name, numbers) in numbers {
            // A snapshotter that is configured no longer keeps its directories until it is again.
            let Some(driver) = inner.drivers.get(name) else { continue };
            driver.remove(&numbers)?;
            directories = true;
        }
        inner.database.acknowledge(releases)?;
    }
    if directories { sweep(inner) } else { Ok(()) }
}

/// Deletes the files of directories that were taken out of sight.
fn sweep(inner: &Inner) -> Result<()> {
    for driver in inner.drivers.values() {
        while driver.collect()? > 0 {}
    }
    Ok(())
}

fn absent_is_fine(result: std::result::Result<(), gantry_content::Error>) -> Result<()> {
    match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// What a collection of the store at `root` would do now, whether a daemon has it or not: nothing is changed, and nobody waits.
///
/// # Errors
/// FailedPrecondition for a store of another version, DataLoss for a damaged database, NotFound where there is none.
pub fn plan(root: &Path) -> Result<Plan> {
    let database = root.join(gantry_metadata::FILE);
    database.metadata().map_err(Error::file("reading", &database))?;
    Ok(gantry_metadata::dry_run_beside(root, Timestamp::now())?)
}

impl Store {
    /// Collects what nothing keeps, and returns when its bytes are gone.
    ///
    /// # Errors
    /// Those of the database and the file systems.
    pub async fn collect(&self) -> Result<Collected> {
        let (send, receive) = oneshot::channel();
        self.inner.scheduler.with(|state| state.waiting.push(send));
        let result = receive.await.map_err(|_| Error::Cancelled("the collection"))?;
        result.map_err(Error::Shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_that_was_overtaken_is_followed_by_another() {
        let check = |overtaken: usize, calls: usize, outdated: bool| {
            let mut count = 0;
            let one = || {
                count += 1;
                Ok(Collected { contents: 1, kept: 7, outdated: count <= overtaken, ..Collected::default() })
            };
            let collected = until_current(one).unwrap();
            assert_eq!((count, collected.contents, collected.kept), (calls, calls as u64, 7));
            assert_eq!(collected.outdated, outdated);
        };
        check(0, 1, false);
        check(2, 3, false);
        check(usize::MAX, ROUNDS, true);
    }
}
