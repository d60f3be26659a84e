//! A layer of what an active snapshot has over its parents: compressed by one thread while another one reads the files.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use gantry_content::Ingest;
use gantry_layer::{Compression, Compressor, DiffOptions, Level};
use gantry_types::{Algorithm, Descriptor, Digest, Hasher, Labels, Mount, labels, media_type};

use super::view::{self, OverlayParts};
use crate::content::OpenIngest;
use crate::store::Inner;
use crate::{Context, Error, Result, Store};

/// What is passed on at once, and how much of it waits.
const PIECE_BYTES: usize = 256 << 10;
const QUEUE: usize = 8;
/// Compressed hard, a layer takes longer than the program that made it. What is pushed far is pushed once.
const LEVEL: Level = Level::At(1);

/// What a snapshot has over its parents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotLayer {
    /// Nothing.
    Empty,
    /// This layer, with its diff id as an annotation.
    Stored(Box<Descriptor>),
    /// Only the tree as it is seen can tell: [`Store::diff_create`] does.
    Unknown,
}

impl Store {
    /// Makes a layer of what an active snapshot has over its parents, and stores it.
    ///
    /// # Errors
    /// NotFound for the key; FailedPrecondition for one that is committed; those of the file systems.
    pub async fn snapshot_layer(
        &self,
        context: Context,
        snapshotter: String,
        key: String,
    ) -> Result<SnapshotLayer> {
        let mounts = self.snapshot_mounts(context.clone(), snapshotter, key).await?;
        let inner = Arc::clone(&self.inner);
        let work = move || inner.layer_of_mounts(context, &mounts);
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::panicked("making a layer"))?
    }
}

impl Inner {
    fn layer_of_mounts(&self, context: Context, mounts: &[Mount]) -> Result<SnapshotLayer> {
        let [mount] = mounts else { return Ok(SnapshotLayer::Unknown) };
        let parts = view::parts(mount)?;
        let Some(upper) = &parts.upper else { return Ok(SnapshotLayer::Unknown) };
        let upper = view::open_directory(upper)?;
        if !parts.lower.is_empty() && is_empty(&upper)? {
            return Ok(SnapshotLayer::Empty);
        }
        let reference = format!("layer-{}", self.next_number());
        let mut ingest = OpenIngest::open(self, context, reference, 0, None)?;
        let target = ingest.own(self)?;
        // What was written goes with the lease.
        let Some(diff) = write(&parts, &upper, target)? else { return Ok(SnapshotLayer::Unknown) };
        let (digest, size) = (target.digest(), target.offset());
        let with = Labels::from([(labels::UNCOMPRESSED.to_owned(), diff.to_string())]);
        let kind = media_type::OCI_LAYER_GZIP;
        let digest = match ingest.commit(self, size, None, with, kind.to_owned()) {
            // The same layer was made before.
            Err(error) if error.kind() == gantry_types::ErrorKind::AlreadyExists => digest,
            result => result?,
        };
        let mut descriptor = Descriptor::new(kind, digest, size);
        descriptor.annotations.insert(labels::UNCOMPRESSED.to_owned(), diff.to_string());
        Ok(SnapshotLayer::Stored(Box::new(descriptor)))
    }
}

/// Whether nothing is in an upper directory. The attributes of the root itself are in no layer.
fn is_empty(upper: &OwnedFd) -> Result<bool> {
    let mut entries = rustix::fs::Dir::read_from(upper).map_err(Error::errno("reading", "the layer"))?;
    let is_entry = |entry: &rustix::fs::DirEntry| !matches!(entry.file_name().to_bytes(), b"." | b"..");
    Ok(!entries.any(|entry| entry.as_ref().is_ok_and(is_entry)))
}

/// Writes the layer of an upper directory to an ingest, and gives its diff id; None if the directory does not tell all.
fn write(parts: &OverlayParts, upper: &OwnedFd, ingest: &mut Ingest) -> Result<Option<Digest>> {
    let lower = parts.lower.iter().map(|path| view::open_directory(path)).collect::<Result<Vec<_>>>()?;
    let lower: Vec<_> = lower.iter().map(AsFd::as_fd).collect();
    let options = DiffOptions { source_date_epoch: None, userxattr: parts.user_xattr };
    let (send, receive) = sync_channel(QUEUE);
    std::thread::scope(|scope| {
        let compressed = scope.spawn(move || compress(&receive, ingest));
        let mut out =
            Pieces { hasher: Hasher::new(Algorithm::Sha256), send, buffer: Vec::with_capacity(PIECE_BYTES) };
        let made = if lower.is_empty() {
            gantry_layer::diff(None, upper.as_fd(), &mut out, &options)
        } else {
            gantry_layer::diff_overlay(upper.as_fd(), &lower, &mut out, &options)
        };
        let flushed = out.flush();
        let diff = out.finish();
        let compressed = compressed.join().map_err(|_| Error::panicked("compressing a layer"))?;
        match made {
            // Before the first byte: features of overlayfs by which the upper directory is not whole.
            Err(gantry_layer::Error::Incomplete { .. }) => return Ok(None),
            // The thread that is gone says why.
            Err(gantry_layer::Error::Write(_)) if compressed.is_err() => {}
            made => drop(made?),
        }
        compressed?;
        flushed.map_err(|source| Error::File { action: "writing", path: "the layer".into(), source })?;
        Ok(Some(diff))
    })
}

fn compress(pieces: &Receiver<Vec<u8>>, ingest: &mut Ingest) -> Result<()> {
    let failed = |source: io::Error| Error::File { action: "writing", path: "the layer".into(), source };
    let mut compressor = Compressor::new(Target(ingest), Compression::Gzip, LEVEL).map_err(failed)?;
    while let Ok(piece) = pieces.recv() {
        compressor.write_all(&piece).map_err(failed)?;
    }
    compressor.finish().map(drop).map_err(failed)
}

struct Target<'a>(&'a mut Ingest);

impl Write for Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes what is not yet compressed, and passes it on.
struct Pieces {
    hasher: Hasher,
    send: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Pieces {
    fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES));
        self.hasher.update(&piece);
        self.send.send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
