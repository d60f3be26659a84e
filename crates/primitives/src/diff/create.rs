//! A layer of what one mount has over another, compressed on its way into the store.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use gantry_content::Ingest;
use gantry_layer::{Compression, Compressor, DiffOptions, Level};
use gantry_types::media_type::{self, Kind};
use gantry_types::{Algorithm, Descriptor, Digest, Hasher, Labels, Mount, labels};

use super::view::{self, OverlayParts};
use crate::content::OpenIngest;
use crate::store::Inner;
use crate::{Context, Error, Result, Store};

/// What a layer is to be.
#[derive(Debug, Clone, Default)]
pub struct DiffRequest {
    /// What is below; none for nothing.
    pub left: Vec<Mount>,
    /// What is to be there.
    pub right: Vec<Mount>,
    /// The type of the layer, which says how it is compressed; empty for gzip.
    pub media_type: String,
    /// The ref of the ingest; empty for one of its own.
    pub reference: String,
    /// The labels of the content.
    pub labels: Labels,
    /// No file is younger than this, in seconds since 1970.
    pub source_date_epoch: Option<i64>,
}

impl Store {
    /// Makes a layer of `request.right` over `request.left`, stores it, and gives its descriptor. The same trees give the same
    /// layer.
    ///
    /// # Errors
    /// Unimplemented for mounts that are neither binds nor overlays, or for other types of layers; those of the file systems.
    pub async fn diff_create(&self, context: Context, request: DiffRequest) -> Result<Descriptor> {
        let inner = Arc::clone(&self.inner);
        let work = move || inner.make_layer(&context, request);
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::panicked("making a layer"))?
    }
}

impl Inner {
    fn make_layer(&self, context: &Context, request: DiffRequest) -> Result<Descriptor> {
        let media_type = match request.media_type.as_str() {
            "" => media_type::OCI_LAYER_GZIP,
            given => given,
        };
        let Kind::Layer(compression) = media_type::kind(media_type) else {
            return Err(Error::Unimplemented(format!("making a layer of type {media_type:?}")));
        };
        let number = self.next_number();
        let reference = match request.reference.as_str() {
            "" => format!("diff-{number}"),
            given => given.to_owned(),
        };
        let mut ingest = OpenIngest::open(self, context.clone(), reference, 0, None)?;
        let target = ingest.own(self)?;
        if target.offset() > 0 {
            target.truncate(0)?;
        }
        let written = write_layer(&request, compression, target)?;
        let mut with = request.labels;
        if compression != media_type::Compression::None {
            with.insert(labels::UNCOMPRESSED.to_owned(), written.diff_id.to_string());
        }
        let digest = match ingest.commit(self, written.size, None, with, media_type.to_owned()) {
            // The same layer was made before.
            Err(error) if error.kind() == gantry_types::ErrorKind::AlreadyExists => written.digest,
            result => result?,
        };
        let mut descriptor = Descriptor::new(media_type, digest, written.size);
        descriptor.annotations.insert(labels::UNCOMPRESSED.to_owned(), written.diff_id.to_string());
        Ok(descriptor)
    }
}

/// A layer that was written to an ingest.
struct Written {
    digest: Digest,
    diff_id: Digest,
    size: u64,
}

fn write_layer(
    request: &DiffRequest,
    compression: media_type::Compression,
    ingest: &mut Ingest,
) -> Result<Written> {
    let compression = match compression {
        media_type::Compression::None => Compression::None,
        media_type::Compression::Gzip => Compression::Gzip,
        media_type::Compression::Zstd => Compression::Zstd,
    };
    let failed =
        |error: io::Error| Error::File { action: "writing", path: "the layer".into(), source: error };
    let compressor = Compressor::new(IngestWriter(ingest), compression, Level::Default).map_err(failed)?;
    let mut out = Hashing { hasher: Hasher::new(Algorithm::Sha256), compressor };
    write_diff(request, &mut out)?;
    let diff_id = out.hasher.finish();
    let IngestWriter(ingest) = out.compressor.finish().map_err(failed)?;
    Ok(Written { digest: ingest.digest(), diff_id, size: ingest.offset() })
}

fn write_diff(request: &DiffRequest, out: &mut dyn Write) -> Result<()> {
    let (left, right) = (single("left", &request.left)?, single("right", &request.right)?);
    let right = right.ok_or_else(|| Error::Invalid { what: "right", reason: "has no mount".to_owned() })?;
    let options =
        |user_xattr| DiffOptions { source_date_epoch: request.source_date_epoch, userxattr: user_xattr };
    // What was written over exactly what is on the left is all that has to be looked at.
    let below = left.as_ref().map(|left| (left.upper.is_none(), left.lower.as_slice()));
    let same = match below {
        None => right.lower.is_empty(),
        Some((is_view, lower)) => is_view && lower == right.lower,
    };
    if let (true, Some(upper), false) = (same, &right.upper, right.lower.is_empty()) {
        let upper = view::open_directory(upper)?;
        let lower = right.lower.iter().map(|path| view::open_directory(path)).collect::<Result<Vec<_>>>()?;
        let lower: Vec<_> = lower.iter().map(AsFd::as_fd).collect();
        match gantry_layer::diff_overlay(upper.as_fd(), &lower, out, &options(right.user_xattr)) {
            // Before the first byte: features of overlayfs by which the upper directory is not whole.
            Err(gantry_layer::Error::Incomplete { .. }) => {}
            result => return Ok(result.map(drop)?),
        }
    }
    let lower = left.map(|left| left.open()).transpose()?.flatten();
    let upper = right
        .open()?
        .ok_or_else(|| Error::Invalid { what: "right", reason: "has no directory".to_owned() })?;
    let lower = lower.as_ref().map(AsFd::as_fd);
    gantry_layer::diff(lower, upper.as_fd(), out, &options(right.user_xattr))?;
    Ok(())
}

/// The directories of the one mount on a side.
fn single(side: &'static str, mounts: &[Mount]) -> Result<Option<OverlayParts>> {
    match mounts {
        [] => Ok(None),
        [mount] if mount.target.is_empty() => view::parts(mount).map(Some),
        _ => Err(Error::Unimplemented(format!("making a layer of several mounts ({side})"))),
    }
}

struct IngestWriter<'a>(&'a mut Ingest);

impl Write for IngestWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes what is not yet compressed.
struct Hashing<'a> {
    hasher: Hasher,
    compressor: Compressor<IngestWriter<'a>>,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.compressor.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.compressor.flush()
    }
}
