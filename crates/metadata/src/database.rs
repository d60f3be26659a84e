use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gantry_types::{Digest, Namespace};
use rusqlite::{Connection, OptionalExtension};

use crate::connection::{self, Readers};
use crate::events::Envelope;
use crate::flusher::{Flush, Flusher};
use crate::released::Unlinking;
use crate::subscription::{Hub, Subscription};
use crate::time::Timestamp;
use crate::view::{Config, Ledger};
use crate::writer::{Answer, Message, Writer};
use crate::{
    Change, Error, Release, View, error, events, invariants, log, namespaces, released, salvage, schema,
};

/// The file in the directory that [`Database::open`] gets.
pub const FILE: &str = "meta.db";

/// What is put after its name for a file that says: look at all of it before you serve.
pub(crate) const SUSPECT: &str = ".suspect";

/// When a commit is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// At most 100 ms later; a killed process loses nothing, a power cut these.
    #[default]
    Relaxed,
    /// Before it is answered.
    Full,
}

/// How a database is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// When commits are durable.
    pub durability: Durability,
    /// Events that the journal keeps.
    pub journal_max_rows: u64,
    /// For how long it keeps them.
    pub journal_max_age: Duration,
    /// The kernel's boot id, by which a power cut is noticed.
    pub boot_id: String,
    /// Namespaces that share the image names without the label for it.
    pub shared_namespaces: Vec<Namespace>,
}

impl Options {
    /// The defaults, for this boot.
    pub fn new(boot_id: impl Into<String>) -> Self {
        Self {
            durability: Durability::Relaxed,
            journal_max_rows: 100_000,
            journal_max_age: Duration::from_secs(7 * 24 * 3600),
            boot_id: boot_id.into(),
            shared_namespaces: ["k8s.io", "moby"].iter().filter_map(|name| name.parse().ok()).collect(),
        }
    }
}

/// What happened since the open; a scheduler of collections compares two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dirt {
    /// Records that went away.
    pub deletions: u64,
    /// Records that were created or changed.
    pub mutations: u64,
}

type CommitHook = Arc<dyn Fn(Dirt) + Send + Sync>;

/// The limits of the journal.
pub(crate) struct Journal {
    pub(crate) max_rows: u64,
    pub(crate) max_age: Duration,
}

/// What the threads of a database share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) durability: Durability,
    pub(crate) journal: Journal,
    pub(crate) readers: Readers,
    pub(crate) flush: Flush,
    pub(crate) hub: Hub,
    pub(crate) unlinking: Arc<Unlinking>,
    pub(crate) held: Mutex<HashMap<i64, u32>>,
    pub(crate) collecting: Mutex<()>,
    deletions: AtomicU64,
    mutations: AtomicU64,
    path: PathBuf,
    /// Whether anything that was read is damaged.
    damaged: AtomicBool,
    on_commit: Mutex<Option<CommitHook>>,
}

impl Shared {
    /// Says once that the file is damaged, if this thread has met damage, and has the next open look at all of it.
    pub(crate) fn heed_damage(&self) {
        if !error::take_noticed() || self.damaged.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::error!(file = %self.path.display(), "the database is damaged, and what needs the damaged part fails: stop the daemon and run `gantryd repair`");
        let mark = connection::beside(&self.path, SUSPECT);
        if let Err(error) = std::fs::write(&mark, "") {
            tracing::warn!(%error, file = %mark.display(), "the next start does not know that the database is damaged");
        }
    }

    /// Whether anything that was read is damaged.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// The writer committed; `ledger` is how things stand.
    pub(crate) fn committed(&self, ledger: &Ledger) {
        self.flush.committed(ledger.released);
        self.deletions.store(ledger.deletions, Ordering::Release);
        self.mutations.store(ledger.mutations, Ordering::Release);
        let hook = self.on_commit.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
            hook(Dirt { deletions: ledger.deletions, mutations: ledger.mutations });
        }
    }
}

/// The database of one daemon. Clones are the same database; the last one closes it. Hooks must not own one, or it is never
/// closed.
#[derive(Clone)]
pub struct Database {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    jobs: Sender<Message>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Database {
    /// Opens `meta.db` in `directory`, or makes it. After a boot that was not clean, and after damage was met, the file is checked
    /// first.
    ///
    /// # Errors
    /// FailedPrecondition if a newer version wrote it, DataLoss if it is damaged, and those of the file system.
    pub fn open(directory: &Path, options: Options) -> Result<Self, Error> {
        let path = directory.join(FILE);
        Self::open_file(directory, &path, options).map_err(|error| error.of_file(&path))
    }

    fn open_file(directory: &Path, path: &Path, options: Options) -> Result<Self, Error> {
        salvage::finish(directory)?;
        let path = path.to_owned();
        let log_path = connection::beside(&path, "-wal");
        log::check(&log_path)?;
        let connection = connection::open_writer(&path, options.durability == Durability::Full)?;
        schema::migrate(&connection, &path)?;
        look_at_suspect(&connection, &path)?;
        let boot = enter_boot(&connection, &options.boot_id)?;
        let shared = Arc::new(Shared {
            config: Config { boot, shared: options.shared_namespaces },
            durability: options.durability,
            journal: Journal { max_rows: options.journal_max_rows.max(1), max_age: options.journal_max_age },
            readers: Readers::new(path.clone()),
            flush: Flush::default(),
            hub: Hub::default(),
            unlinking: Arc::default(),
            held: Mutex::default(),
            collecting: Mutex::default(),
            deletions: AtomicU64::new(0),
            mutations: AtomicU64::new(0),
            path: path.clone(),
            damaged: AtomicBool::new(false),
            on_commit: Mutex::default(),
        });
        let ledger = Ledger { released: released::last(&connection)?, ..Ledger::default() };
        // So that what was released before is durable with the first flush.
        shared.committed(&ledger);
        sync_directory(directory)?;
        let (jobs, waiting) = mpsc::channel();
        let writer = Writer::new(connection, Arc::clone(&shared), ledger);
        let flusher = Flusher {
            shared: Arc::clone(&shared),
            log_path,
            checkpointer: connection::open_checkpointer(&path)?,
        };
        let threads = vec![
            spawn("meta-write", move || writer.run(&waiting))?,
            spawn("meta-flush", move || flusher.run())?,
        ];
        let database = Self { handle: Arc::new(Handle { shared, jobs, threads: Mutex::new(threads) }) };
        database.write(namespaces::apply_configuration)?;
        Ok(database)
    }

    /// Runs `f` on a consistent snapshot. Writers do not wait for it.
    ///
    /// # Errors
    /// Those of `f`, and those of the database.
    pub fn read<T, E: From<Error>>(&self, f: impl FnOnce(&View<'_>) -> Result<T, E>) -> Result<T, E> {
        let reader = self.handle.shared.readers.lend()?;
        let transaction = reader.connection().unchecked_transaction().map_err(Error::from)?;
        let result = f(&View::new(&transaction, &self.handle.shared.config));
        self.handle.shared.heed_damage();
        result
    }

    /// Runs `f` on the writer's thread and returns after its commit. Blocks; must not be called from a change.
    ///
    /// # Errors
    /// Those of `f`, after which nothing of it is there, and those of the database.
    pub fn write<T, E>(
        &self,
        f: impl FnOnce(&mut Change<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (send, receive) = mpsc::sync_channel(1);
        self.enqueue(f, move |result| {
            // Nobody listens if the caller's thread has panicked meanwhile.
            let _ = send.send(result);
        });
        match receive.recv() {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(mpsc::RecvError) => Err(Error::Closed.into()),
        }
    }

    /// As [`Self::write`], but the caller does not wait: `done` gets the result, on the writer's thread, where it must be
    /// quick and must not wait for the database. It is not called if the database is closed before.
    pub fn submit<T, E>(
        &self,
        f: impl FnOnce(&mut Change<'_>) -> Result<T, E> + Send + 'static,
        done: impl FnOnce(Result<T, E>) + Send + 'static,
    ) where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.enqueue(f, |result| match result {
            Ok(result) => done(result),
            Err(panic) => resume_unwind(panic),
        });
    }

    fn enqueue<T, E>(
        &self,
        f: impl FnOnce(&mut Change<'_>) -> Result<T, E> + Send + 'static,
        done: impl FnOnce(thread::Result<Result<T, E>>) + Send + 'static,
    ) where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let job = Box::new(move |change: &mut Change<'_>| {
            let result = catch_unwind(AssertUnwindSafe(|| f(change)));
            let keep = matches!(result, Ok(Ok(_)));
            let answer: Answer = Box::new(move |committed| match (result, committed) {
                (Ok(Ok(_)), Err(error)) => done(Ok(Err(error.into()))),
                (result, _) => done(result),
            });
            (keep, answer)
        });
        // The writer is there as long as the handle is; else `done` is dropped, which ends the channel of who waits.
        let _ = self.handle.jobs.send(Message::Job(job));
    }

    /// Waits until everything that is committed is durable, the blobs before it included.
    ///
    /// # Errors
    /// Those of the hook and of the file system; the flusher goes on trying.
    pub fn flush(&self) -> Result<(), Error> {
        self.handle.shared.flush.wait()
    }

    /// Has `hook` called before each flush: it forces the blobs that records name. An error puts the flush off.
    pub fn before_flush(&self, hook: impl Fn() -> io::Result<()> + Send + Sync + 'static) {
        self.handle.shared.flush.set_hook(Arc::new(hook));
    }

    /// Has `hook` called on the flusher's thread when there may be releases to take.
    pub fn on_released(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.handle.shared.flush.set_on_released(Arc::new(hook));
    }

    /// Has `hook` called on the writer's thread after each commit: a collection may be due.
    pub fn on_commit(&self, hook: impl Fn(Dirt) + Send + Sync + 'static) {
        *self.handle.shared.on_commit.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    /// What happened since the open.
    pub fn dirt(&self) -> Dirt {
        let shared = &self.handle.shared;
        Dirt {
            deletions: shared.deletions.load(Ordering::Acquire),
            mutations: shared.mutations.load(Ordering::Acquire),
        }
    }

    /// Bytes that may be unlinked: their release is durable, and nobody has pinned them. At most `limit`. Whoever takes them
    /// [acknowledges](Self::acknowledge) them; those that are dropped are handed out again.
    ///
    /// # Errors
    /// Those of the database.
    pub fn released(&self, limit: usize) -> Result<Vec<Release>, Error> {
        let durable = self.handle.shared.flush.durable_release();
        let taken = self.read(|view| released::take(view, durable, limit, &self.handle.shared.unlinking))?;
        // A blob may have been pinned, got its record and been unpinned after the snapshot of that view.
        self.read(|view| released::confirm(view, taken))
    }

    /// Says that the bytes are gone.
    ///
    /// # Errors
    /// Those of the database; the releases are handed out again.
    pub fn acknowledge(&self, releases: Vec<Release>) -> Result<(), Error> {
        // They are taken until the commit: the rows are there till then.
        let releases = self.write(move |change| released::acknowledge(change, &releases).map(|()| releases));
        releases.map(drop)
    }

    /// Keeps a blob's file from being unlinked, while it is made visible and gets its record. Waits for an unlinking that runs.
    pub fn pin(&self, digest: &Digest) -> Pin {
        self.handle.shared.unlinking.pin(digest);
        Pin { unlinking: Arc::clone(&self.handle.shared.unlinking), digest: digest.clone() }
    }

    /// Keeps an ingest from being collected while somebody writes to it.
    pub fn hold_ingest(&self, ingest: i64) -> IngestHold {
        *self.held().entry(ingest).or_default() += 1;
        IngestHold { database: self.clone(), ingest }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<i64, u32>> {
        self.handle.shared.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events from now on.
    pub fn subscribe(&self) -> Subscription {
        self.handle.shared.hub.subscribe()
    }

    /// Events after `cursor`, at most `limit`, and no more than a few MiB; none if there are no more.
    ///
    /// # Errors
    /// OutOfRange if the journal does not reach back to it, or has not come to it.
    pub fn events_since(&self, cursor: u64, limit: usize) -> Result<Vec<Envelope>, Error> {
        self.read(|view| events::since(view, cursor, limit))
    }

    /// The latest events under the beginning of a topic that are not older than `after`, oldest first.
    ///
    /// # Errors
    /// Those of the database.
    pub fn latest_events(
        &self,
        prefix: &str,
        after: Timestamp,
        limit: usize,
    ) -> Result<Vec<Envelope>, Error> {
        self.read(|view| events::latest(view, prefix, after, limit))
    }

    /// The cursor of the last event.
    ///
    /// # Errors
    /// Those of the database.
    pub fn last_event(&self) -> Result<u64, Error> {
        self.read(events::last)
    }

    /// Checks the whole file, and that its rows fit together.
    ///
    /// # Errors
    /// DataLoss if it is damaged.
    pub fn check(&self) -> Result<(), Error> {
        self.read(|view| {
            check(view.connection(), "integrity_check")?;
            invariants::check(view)
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

/// A blob that is not handed out for unlinking. See [`Database::pin`].
pub struct Pin {
    unlinking: Arc<Unlinking>,
    digest: Digest,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.unlinking.unpin(&self.digest);
    }
}

/// An ingest that is not collected. See [`Database::hold_ingest`].
pub struct IngestHold {
    database: Database,
    ingest: i64,
}

impl Drop for IngestHold {
    fn drop(&mut self) {
        let mut held = self.database.held();
        if let Some(count) = held.get_mut(&self.ingest) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.ingest);
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // An error here is the writer's end, which is what is wanted.
        let _ = self.jobs.send(Message::Stop);
        let threads = std::mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner));
        for (index, thread) in threads.into_iter().enumerate() {
            // The last clone may go away in an answer, on the writer's own thread.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("database: a thread panicked");
            }
            if index == 0 {
                self.shared.flush.stop();
            }
        }
    }
}

fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let failed = |source| Error::Io { path: name.into(), source };
    thread::Builder::new().name(name.into()).spawn(f).map_err(failed)
}

/// Puts this boot on record, and checks the file if the last one ended without a close.
fn enter_boot(connection: &Connection, boot_id: &str) -> Result<i64, Error> {
    let transaction = connection.unchecked_transaction()?;
    let read = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, String>(0)).optional();
    let clean = read("SELECT value FROM setting WHERE key = 'clean'")?.is_some();
    let last = read("SELECT name FROM boot ORDER BY id DESC LIMIT 1")?;
    if !clean && last.is_some_and(|last| last != boot_id) {
        check(connection, "quick_check")?;
    }
    transaction.execute("DELETE FROM setting WHERE key = 'clean'", [])?;
    transaction.execute("INSERT OR IGNORE INTO boot (name) VALUES (?1)", [boot_id])?;
    let boot = transaction.query_row("SELECT id FROM boot WHERE name = ?1", [boot_id], |row| row.get(0))?;
    transaction.commit()?;
    Ok(boot)
}

/// Looks at the whole file where damage was met before.
fn look_at_suspect(connection: &Connection, path: &Path) -> Result<(), Error> {
    let mark = connection::beside(path, SUSPECT);
    if !mark.exists() {
        return Ok(());
    }
    check(connection, "integrity_check")?;
    std::fs::remove_file(&mark).map_err(|source| Error::Io { path: mark, source })
}

pub(crate) fn check(connection: &Connection, pragma: &str) -> Result<(), Error> {
    let mut statement = connection.prepare(&format!("PRAGMA {pragma}(10)"))?;
    let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    if lines == ["ok"] { Ok(()) } else { Err(Error::damaged(lines.join("; "))) }
}

fn sync_directory(directory: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { path: directory.to_owned(), source };
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}
