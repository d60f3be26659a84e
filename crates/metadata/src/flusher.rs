//! The thread that makes commits durable: blobs first, then the log, and a checkpoint when the log has grown.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use crate::database::Shared;
use crate::{Durability, Error};

/// How long a commit waits for its flush. With the flush itself it stays below the 100 ms that are promised.
const DELAY: Duration = Duration::from_millis(80);
/// The log's length at which it is written back to the database, in bytes.
const CHECKPOINT_BYTES: u64 = 4 << 20;
/// A log that grew longer than this (somebody read for long) is cut off when it has been written back.
const TRUNCATE_BYTES: u64 = 64 << 20;
/// A log that nobody could cut off so far, in bytes.
const OVERGROWN_BYTES: u64 = 256 << 20;
/// How long writers may wait for it to be cut off.
const PATIENCE: Duration = Duration::from_millis(5);
const LONG_PATIENCE: Duration = Duration::from_millis(50);

type Hook = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// What the writer, the flusher and those that wait tell each other.
#[derive(Default)]
pub(crate) struct Flush {
    state: Mutex<State>,
    changed: Condvar,
    hook: Mutex<Option<Hook>>,
    released: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

#[derive(Default)]
struct State {
    /// Groups that were committed, and those of them that are durable.
    committed: u64,
    flushed: u64,
    /// The group that somebody waits for.
    wanted: u64,
    /// Attempts that failed, and why the last one did.
    failures: u64,
    failure: Option<(io::ErrorKind, String)>,
    /// The last row of `released` that was committed, and the last that is durable.
    released: i64,
    durable: i64,
    stop: bool,
}

impl Flush {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_hook(&self, hook: Hook) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(hook);
    }

    pub(crate) fn set_on_released(&self, hook: Arc<dyn Fn() + Send + Sync>) {
        *self.released.lock().unwrap_or_else(PoisonError::into_inner) = Some(hook);
    }

    pub(crate) fn run_hook(&self) -> Result<(), Error> {
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match hook.map_or(Ok(()), |hook| hook()) {
            Ok(()) => Ok(()),
            Err(source) => Err(Error::Io { path: "blobs before a flush".into(), source }),
        }
    }

    /// A group was committed.
    pub(crate) fn committed(&self, released: i64) {
        let mut state = self.lock();
        state.committed += 1;
        state.released = released;
        drop(state);
        self.changed.notify_all();
    }

    /// The last row of `released` that is durable.
    pub(crate) fn durable_release(&self) -> i64 {
        self.lock().durable
    }

    /// Waits until all that is committed now is durable.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        let mut state = self.lock();
        let (target, failures) = (state.committed, state.failures);
        state.wanted = state.wanted.max(target);
        self.changed.notify_all();
        while state.flushed < target {
            if state.failures != failures
                && let Some((kind, text)) = &state.failure
            {
                let source = io::Error::new(*kind, text.clone());
                return Err(Error::Io { path: "flush of the database".into(), source });
            }
            if state.stop {
                return Err(Error::Closed);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// Waits for something to flush; none at the end.
    fn next(&self) -> Option<(u64, i64)> {
        let mut state = self.lock();
        while state.committed == state.flushed && !state.stop {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let patient = |state: &mut State| state.wanted <= state.flushed && !state.stop;
        let (state, _) =
            self.changed.wait_timeout_while(state, DELAY, patient).unwrap_or_else(PoisonError::into_inner);
        (state.committed != state.flushed).then_some((state.committed, state.released))
    }

    /// Waits out the delay after a failure, unless it is the end.
    fn pause(&self) -> bool {
        let state = self.lock();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, DELAY, |state| !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        !state.stop
    }

    fn finish(&self, target: u64, released: i64, result: Result<(), Error>) -> bool {
        let mut state = self.lock();
        let good = result.is_ok();
        let news = good && released > state.durable;
        match result {
            Ok(()) => {
                state.flushed = target;
                state.durable = released;
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "database: changes are not durable yet"
                );
                let kind =
                    if let Error::Io { source, .. } = &error { source.kind() } else { io::ErrorKind::Other };
                state.failures += 1;
                state.failure = Some((kind, error.to_string()));
            }
        }
        drop(state);
        self.changed.notify_all();
        if news {
            let hook = self.released.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(hook) = hook {
                hook();
            }
        }
        good
    }
}

pub(crate) struct Flusher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) log_path: PathBuf,
    pub(crate) checkpointer: Connection,
}

impl Flusher {
    pub(crate) fn run(self) {
        // The log is one file from the first connection to the last. No lock of SQLite's lies on it, so that a descriptor of
        // ours may be closed.
        let mut log = None;
        while let Some((target, released)) = self.shared.flush.next() {
            let result = self.flush(&mut log);
            if !self.shared.flush.finish(target, released, result) && !self.shared.flush.pause() {
                return;
            }
            if let Err(error) = self.checkpoint() {
                tracing::warn!(%error, "database: the log was not written back");
                self.shared.heed_damage();
            }
        }
    }

    fn flush(&self, log: &mut Option<File>) -> Result<(), Error> {
        if self.shared.durability == Durability::Full {
            return Ok(());
        }
        self.shared.flush.run_hook()?;
        let failed = |source| Error::Io { path: self.log_path.clone(), source };
        let file = match log.take() {
            Some(file) => file,
            None => File::open(&self.log_path).map_err(failed)?,
        };
        file.sync_data().map_err(failed)?;
        *log = Some(file);
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), Error> {
        let length = log_length(&self.log_path);
        if length < CHECKPOINT_BYTES {
            return Ok(());
        }
        // Nobody waits for this one.
        self.write_back("PASSIVE")?;
        if length < TRUNCATE_BYTES {
            return Ok(());
        }
        // This one has the writers wait: for what was written since, which is little, and for readers. A log that grows even so,
        // because somebody always reads, is worth a longer wait.
        let patience = if length < OVERGROWN_BYTES { PATIENCE } else { LONG_PATIENCE };
        self.checkpointer.busy_timeout(patience)?;
        self.write_back("TRUNCATE")
    }

    fn write_back(&self, mode: &str) -> Result<(), Error> {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        self.checkpointer.prepare_cached(&sql)?.query_row([], |_| Ok(()))?;
        Ok(())
    }
}

fn log_length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}
