//! One layer in one pass: its bytes are stored and hashed, inflated, hashed again, and become files.
//!
//! ```text
//!   network ──► store (this thread) ──► inflate ──► apply
//!   or file      digest, ingest           │          files; the diff id's hash where inflating is the slower part
//!                                         └ the diff id's hash where applying is
//! ```
//! A thread for each stage, so that one large layer uses all cores; bounded channels between them, so that a slow stage holds
//! the one before it and memory does not grow. What is applied is not yet verified: the directory that it goes to becomes a
//! snapshot only when both digests were right.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use bytes::Bytes;
use gantry_layer::{Applied, ApplyOptions, Compression, InflateLimits, Inflater, Target};
use gantry_types::{Algorithm, DiffId, Hasher};

use crate::Error;

/// Chunks that wait between two stages.
const DEPTH: usize = 4;
/// The size of a chunk of inflated bytes: half of a usual second-level cache, as two stages look at it.
const CHUNK_BYTES: usize = 128 << 10;

/// What became of a layer.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// Of its inflated bytes.
    pub(crate) diff_id: DiffId,
    /// What was written, and what is left to do when the layers below are known.
    pub(crate) applied: Applied,
}

impl Unpacked {
    /// Before anything was.
    pub(crate) fn nothing() -> Self {
        let diff_id = DiffId(Hasher::new(Algorithm::Sha256).finish());
        Self { diff_id, applied: Applied::default() }
    }
}

/// How a layer is unpacked.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Of the compressed stream.
    pub(crate) inflate: InflateLimits,
    /// Of the archive.
    pub(crate) apply: ApplyOptions,
}

/// Runs the stages. `feed` is the first one: it calls what it is given with each chunk in order, and returns when there are
/// no more; an error of its own comes before those of the others. If what it is given says false, the others have failed,
/// and it may end or go on as it likes.
///
/// Blocks; three threads work, the caller's among them.
pub(crate) fn run<T>(
    target: &Target<'_>,
    limits: &Limits,
    feed: impl FnOnce(&mut dyn FnMut(Bytes) -> bool) -> Result<T, Error>,
) -> Result<(T, Unpacked), Error> {
    thread::scope(|scope| {
        let (compressed, to_inflate) = mpsc::sync_channel::<Bytes>(DEPTH);
        let (inflated, to_apply) = mpsc::sync_channel::<Chunk>(DEPTH);
        let (used, free) = mpsc::channel::<Vec<u8>>();
        let inflate = scope.spawn(move || inflate(&to_inflate, &inflated, &free, limits.inflate));
        let apply = scope.spawn(move || {
            let mut reader = ChunkReader { chunks: to_apply, used, current: Vec::new(), at: 0, hasher: None };
            let applied = gantry_layer::apply(&mut reader, target, &limits.apply);
            (applied, reader.hasher)
        });
        let fed = feed(&mut |chunk| compressed.send(chunk).is_ok());
        // The end of the stream, for the next stage; an unfinished one is an error there, which `fed` comes before.
        drop(compressed);
        let inflated = inflate.join().map_err(|_| Error::panicked("inflating a layer"))?;
        let (applied, hasher) = apply.join().map_err(|_| Error::panicked("applying a layer"))?;
        let value = fed?;
        // The cause before its consequence: a corrupt stream also ends the archive early.
        let (early, _) = inflated?;
        let applied = applied?;
        // An empty stream, which is no archive but some registries' idea of one, was hashed by nobody.
        let hasher = early.or(hasher).unwrap_or_else(|| Hasher::new(Algorithm::Sha256));
        Ok((value, Unpacked { diff_id: DiffId(hasher.finish()), applied }))
    })
}

/// Inflated bytes, and whether who applies them is to hash them as well.
struct Chunk {
    bytes: Vec<u8>,
    hash: bool,
}

/// The second stage. Gives the hash of all that it made, if it was its own task.
fn inflate(
    input: &Receiver<Bytes>,
    output: &SyncSender<Chunk>,
    free: &Receiver<Vec<u8>>,
    limits: InflateLimits,
) -> Result<(Option<Hasher>, u64), Error> {
    let mut inflater = Inflater::new(limits);
    let mut hasher: Option<Hasher> = None;
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut filled, mut total) = (0, 0u64);
    let mut ended = false;
    loop {
        let chunk = match input.recv() {
            Ok(chunk) => chunk,
            Err(mpsc::RecvError) => {
                ended = true;
                inflater.end();
                Bytes::new()
            }
        };
        let mut rest = &chunk[..];
        loop {
            let step = inflater.step(rest, &mut buffer[filled..]).map_err(Error::Inflate)?;
            rest = &rest[step.consumed..];
            filled += step.produced;
            let full = filled == buffer.len();
            let done = ended && step.produced == 0 && !full;
            if full || (done && filled > 0) {
                // Deflate is slower than hash and files together; everything else is faster.
                let here = inflater.found() != Some(Compression::Gzip);
                let next = free.try_recv().unwrap_or_default();
                let mut bytes = std::mem::replace(&mut buffer, next);
                bytes.truncate(filled);
                buffer.resize(CHUNK_BYTES, 0);
                total += bytes.len() as u64;
                filled = 0;
                if here {
                    hasher.get_or_insert_with(|| Hasher::new(Algorithm::Sha256)).update(&bytes);
                }
                if output.send(Chunk { bytes, hash: !here }).is_err() {
                    // The last stage says why.
                    return Ok((hasher, total));
                }
            }
            if done {
                return Ok((hasher, total));
            }
            if !full && step.produced == 0 && (rest.is_empty() || step.consumed == 0) {
                break;
            }
        }
    }
}

/// The chunks as a reader.
struct ChunkReader {
    chunks: Receiver<Chunk>,
    used: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    hasher: Option<Hasher>,
}

impl Read for ChunkReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            let Ok(chunk) = self.chunks.recv() else { return Ok(0) };
            if chunk.hash {
                self.hasher.get_or_insert_with(|| Hasher::new(Algorithm::Sha256)).update(&chunk.bytes);
            }
            let old = std::mem::replace(&mut self.current, chunk.bytes);
            self.at = 0;
            if old.capacity() > 0 {
                // Nobody takes it at the end of the stream.
                let _ = self.used.send(old);
            }
        }
        let count = out.len().min(self.current.len() - self.at);
        out[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
