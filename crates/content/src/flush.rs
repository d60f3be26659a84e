//! The thread that brings committed blobs to the disk.
//!
//! A commit queues its file here and returns. The thread takes what has come, starts the writing of all of it, then waits for each
//! file (fdatasync) and for the directories (fsync). Who needs a blob to be durable waits for the number that it was
//! queued under.
//!
//! A blob that the disk refused is never called durable again by trying once more: after a failed fdatasync(2) the
//! kernel takes the pages for clean. It counts as damaged until new bytes replace it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use gantry_sys::writeback::start_writeback;
use gantry_types::Digest;
use rustix::io::Errno;

use crate::Error;
use crate::failpoint::hit;
use crate::layout::{ALGORITHMS, Layout};
use crate::lock::guard;

/// How many blobs may wait; each holds a descriptor. A commit waits while there are more.
const MAX_WAITING: usize = 512;
/// How many are taken at a time, so that who waits for the first does not wait for the last.
const BATCH: usize = 64;
/// How many blobs are remembered as durable, so that asking again is free.
const MAX_REMEMBERED: usize = 16_384;

/// The queue and its thread.
#[derive(Debug)]
pub(crate) struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    layout: Arc<Layout>,
    state: Mutex<State>,
    /// For the thread: something was queued.
    queued: Condvar,
    /// For who waits: a batch is done.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    syncs: VecDeque<Sync>,
    writebacks: VecDeque<Writeback>,
    /// The number of the sync that was queued last, and of the one that is done with all before it.
    last: u64,
    finished: u64,
    /// Under which number a blob waits.
    waiting: HashMap<Digest, u64>,
    /// Blobs that are durable, as far as remembered.
    durable: HashSet<Digest>,
    /// Blobs whose bytes the disk refused.
    damaged: HashMap<Digest, Errno>,
    closing: bool,
}

#[derive(Debug)]
struct Sync {
    number: u64,
    digest: Digest,
    file: Arc<File>,
}

#[derive(Debug)]
struct Writeback {
    file: Arc<File>,
    offset: u64,
    length: u64,
}

impl Flusher {
    pub(crate) fn start(layout: Arc<Layout>) -> Result<Self, Errno> {
        let shared = Arc::new(Shared {
            layout,
            state: Mutex::default(),
            queued: Condvar::new(),
            done: Condvar::new(),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("content-flush".to_owned()).spawn(move || shared.run())
        };
        let thread = thread.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Starts writing a part of a file that still grows. A hint: it is dropped when there are too many.
    pub(crate) fn write_back(&self, file: &Arc<File>, offset: u64, length: u64) {
        let mut state = guard(&self.shared.state);
        if state.writebacks.len() < MAX_WAITING {
            state.writebacks.push_back(Writeback { file: Arc::clone(file), offset, length });
            self.shared.queued.notify_one();
        }
    }

    /// Queues a blob that was just committed; waits if too many do.
    pub(crate) fn committed(&self, digest: &Digest, file: &Arc<File>) {
        let mut state = guard(&self.shared.state);
        while state.syncs.len() >= MAX_WAITING {
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.damaged.remove(digest);
        state.queue(digest, file);
        self.shared.queued.notify_one();
    }

    /// A blob was removed: nothing is known of its name any more.
    pub(crate) fn forget(&self, digest: &Digest) {
        let mut state = guard(&self.shared.state);
        state.waiting.remove(digest);
        state.durable.remove(digest);
        state.damaged.remove(digest);
    }

    /// Whether the disk refused the bytes of a blob.
    pub(crate) fn is_damaged(&self, digest: &Digest) -> bool {
        guard(&self.shared.state).damaged.contains_key(digest)
    }

    /// Takes a blob for one whose bytes are not what they should be.
    pub(crate) fn damage(&self, digest: &Digest) {
        let mut state = guard(&self.shared.state);
        state.durable.remove(digest);
        state.damaged.insert(digest.clone(), Errno::IO);
    }

    /// Waits until every one of `digests` is durable.
    pub(crate) fn sync(&self, digests: &[Digest]) -> Result<(), Error> {
        let mut until = 0;
        for digest in digests {
            until = until.max(self.number_of(digest)?);
        }
        let state = self.wait(until);
        let damaged = |digest: &&Digest| state.damaged.contains_key(digest);
        digests.iter().find(damaged).map_or(Ok(()), |digest| Err(state.refused(digest)))
    }

    /// Waits until everything that was committed before is durable.
    pub(crate) fn sync_all(&self) -> Result<(), Error> {
        let (until, waiting) = {
            let state = guard(&self.shared.state);
            (state.last, state.waiting.keys().cloned().collect::<Vec<_>>())
        };
        let state = self.wait(until);
        let damaged = |digest: &&Digest| state.damaged.contains_key(digest);
        waiting.iter().find(damaged).map_or(Ok(()), |digest| Err(state.refused(digest)))
    }

    /// The number to wait for; a blob of which nothing is known is queued.
    fn number_of(&self, digest: &Digest) -> Result<u64, Error> {
        {
            let state = guard(&self.shared.state);
            if let Some(number) = state.waiting.get(digest) {
                return Ok(*number);
            }
            if state.damaged.contains_key(digest) {
                return Err(state.refused(digest));
            }
            if state.durable.contains(digest) {
                return Ok(0);
            }
        }
        let (file, _) = self.shared.layout.open_blob(digest)?;
        let mut state = guard(&self.shared.state);
        // It may have been committed again meanwhile.
        let number = match state.waiting.get(digest) {
            Some(number) => *number,
            None => state.queue(digest, &Arc::new(file)),
        };
        self.shared.queued.notify_one();
        Ok(number)
    }

    fn wait(&self, until: u64) -> std::sync::MutexGuard<'_, State> {
        let mut state = guard(&self.shared.state);
        while state.finished < until {
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}

impl Drop for Flusher {
    /// What was committed becomes durable first.
    fn drop(&mut self) {
        guard(&self.shared.state).closing = true;
        self.shared.queued.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, there is nobody to tell.
            let _ = thread.join();
        }
    }
}

impl State {
    fn queue(&mut self, digest: &Digest, file: &Arc<File>) -> u64 {
        self.last += 1;
        self.durable.remove(digest);
        self.waiting.insert(digest.clone(), self.last);
        self.syncs.push_back(Sync { number: self.last, digest: digest.clone(), file: Arc::clone(file) });
        self.last
    }

    fn refused(&self, digest: &Digest) -> Error {
        let errno = self.damaged.get(digest).copied().unwrap_or(Errno::IO);
        Error::Sync { digest: digest.clone(), errno }
    }

    /// Notes how the sync of one blob ended, unless it was removed or committed again meanwhile.
    fn settle(&mut self, sync: &Sync, result: Result<(), Errno>) {
        if self.waiting.get(&sync.digest) != Some(&sync.number) {
            return;
        }
        self.waiting.remove(&sync.digest);
        match result {
            Err(errno) => {
                self.damaged.insert(sync.digest.clone(), errno);
            }
            Ok(()) => {
                if self.durable.len() >= MAX_REMEMBERED {
                    self.durable.clear();
                }
                self.durable.insert(sync.digest.clone());
            }
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut above_is_durable = false;
        while let Some((syncs, writebacks)) = self.next() {
            for part in writebacks {
                // A hint; an error comes again from fdatasync.
                let _ = start_writeback(part.file.as_fd(), part.offset, part.length);
            }
            if syncs.is_empty() {
                continue;
            }
            hit("flush.begin");
            let above = if above_is_durable { Ok(()) } else { self.layout.sync_above() };
            above_is_durable = above.is_ok();
            let results = self.flush(&syncs, above);
            hit("flush.end");
            let mut state = guard(&self.state);
            for (sync, result) in syncs.iter().zip(results) {
                state.settle(sync, result);
                state.finished = sync.number;
            }
            drop(state);
            self.done.notify_all();
        }
    }

    /// What has come; nothing when the store is closing and all is done.
    fn next(&self) -> Option<(Vec<Sync>, Vec<Writeback>)> {
        let mut state = guard(&self.state);
        loop {
            if !state.syncs.is_empty() || !state.writebacks.is_empty() {
                let count = state.syncs.len().min(BATCH);
                let writebacks = state.writebacks.drain(..).collect();
                return Some((state.syncs.drain(..count).collect(), writebacks));
            }
            if state.closing {
                return None;
            }
            state = self.queued.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn flush(&self, syncs: &[Sync], above: Result<(), Errno>) -> Vec<Result<(), Errno>> {
        if syncs.len() > 1 {
            for sync in syncs {
                let _ = start_writeback(sync.file.as_fd(), 0, 0);
            }
        }
        let mut results: Vec<_> =
            syncs.iter().map(|sync| above.and_then(|()| rustix::fs::fdatasync(&sync.file))).collect();
        hit("flush.files");
        for algorithm in ALGORITHMS {
            let of = |sync: &Sync| sync.digest.algorithm() == algorithm;
            if !syncs.iter().any(of) {
                continue;
            }
            if let Err(errno) = rustix::fs::fsync(self.layout.blobs(algorithm)) {
                let ours = syncs.iter().zip(&mut results).filter(|(sync, _)| of(sync));
                ours.for_each(|(_, result)| *result = result.and(Err(errno)));
            }
        }
        results
    }
}
