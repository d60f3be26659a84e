//! Content that is made here: layers of files that clients send, configurations, manifests.

use std::io::{self, Read, Write};

use bytes::Bytes;
use gantry_layer::{Compression, Compressor, Level};
use gantry_primitives::{Context, Writer};
use gantry_types::image::Manifest;
use gantry_types::{Algorithm, Descriptor, DiffId, ErrorKind, Hasher, Labels, labels, media_type};
use tokio::runtime::Handle;

use super::documents::manifest_references;
use super::{ImageDocument, archive};
use crate::{Engine, Error, Result, names};

/// How much is written at once.
const WRITE_BYTES: usize = 1 << 20;

/// How much is compressed at once.
const COPY_BYTES: usize = 64 << 10;

/// Writes to an ingest, from a thread that may wait.
struct Sink {
    runtime: Handle,
    writer: Writer,
    buffer: Vec<u8>,
    offset: u64,
}

impl Sink {
    fn pass_on(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            let bytes = Bytes::from(std::mem::take(&mut self.buffer));
            let written = self.runtime.block_on(self.writer.write(bytes, self.offset));
            self.offset = written.map_err(io::Error::other)?;
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.pass_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()
    }
}

impl Engine {
    /// Stores a small document, with labels.
    pub(crate) async fn write_document(
        &self,
        context: &Context,
        media_type: &str,
        bytes: Vec<u8>,
        labels: Labels,
    ) -> Result<Descriptor> {
        let store = &self.shared.store;
        let descriptor = Descriptor::of(media_type, &bytes);
        let digest = descriptor.digest.clone();
        let reference = format!("document-{digest}-{}", names::id());
        let opened =
            store.content_writer(context.clone(), reference, descriptor.size, Some(digest.clone())).await;
        let written = match opened {
            Ok(writer) => {
                // What another namespace has is there whole already.
                if writer.status().await?.offset < descriptor.size {
                    writer.write(bytes.into(), 0).await?;
                }
                let labels = labels.clone();
                writer
                    .commit(descriptor.size, Some(digest.clone()), labels, media_type.to_owned())
                    .await
                    .map(drop)
            }
            Err(error) => Err(error),
        };
        match written {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && !labels.is_empty() => {
                let fields = labels.keys().map(|key| format!("labels.{key}")).collect();
                store.content_update(context.clone(), digest, labels, fields).await?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => result?,
        }
        Ok(descriptor)
    }

    /// Stores a tar of files as a layer that gzip has compressed.
    ///
    /// # Errors
    /// Unsupported for compressions that cannot be undone; what the reader says; full disks.
    pub(crate) async fn write_layer(
        &self,
        context: &Context,
        source: Box<dyn Read + Send>,
    ) -> Result<(Descriptor, DiffId)> {
        let reference = format!("layer-{}", names::id());
        let writer = self.shared.store.content_writer(context.clone(), reference.clone(), 0, None).await?;
        let runtime = Handle::current();
        let sink = Sink { runtime, writer, buffer: Vec::with_capacity(WRITE_BYTES), offset: 0 };
        let copied = self.blocking("storing a layer", move || copy_layer(source, sink)).await;
        let (sink, diff) = match copied {
            Ok(copied) => copied,
            Err(error) => {
                // Wrong bytes are no start for anybody.
                if let Err(left) = self.shared.store.ingest_abort(context.clone(), reference).await {
                    tracing::debug!(error = %left, "the beginning of a layer stays until it is collected");
                }
                return Err(error);
            }
        };
        let digest = sink.writer.digest().await?;
        let with = Labels::from([(labels::UNCOMPRESSED.to_owned(), diff.to_string())]);
        let kind = media_type::OCI_LAYER_GZIP;
        match sink.writer.commit(sink.offset, None, with, kind.to_owned()).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => drop(result?),
        }
        Ok((Descriptor::new(kind, digest, sink.offset), diff))
    }

    /// Stores configuration and manifest of an image, and gives the descriptor of the manifest.
    pub(crate) async fn write_image(
        &self,
        context: &Context,
        document: &ImageDocument,
        layers: Vec<Descriptor>,
    ) -> Result<Descriptor> {
        let bytes = serde_json::to_vec(document).expect("strings are JSON");
        let config = self.write_document(context, media_type::OCI_CONFIG, bytes, Labels::new()).await?;
        let plain = |layer: Descriptor| Descriptor { platform: None, annotations: Labels::new(), ..layer };
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST.to_owned(),
            artifact_type: None,
            config,
            layers: layers.into_iter().map(plain).collect(),
            subject: None,
            annotations: Labels::new(),
        };
        let bytes = serde_json::to_vec(&manifest).expect("strings are JSON");
        self.write_document(context, media_type::OCI_MANIFEST, bytes, manifest_references(&manifest)).await
    }
}

/// Hashes what is not yet compressed.
struct Hashing<W: Write> {
    hasher: Hasher,
    compressor: Compressor<W>,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.compressor.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.compressor.flush()
    }
}

/// Copies in pieces of one size, whatever the client's are: the same files are to become the same layer.
fn copy_even(from: &mut dyn Read, to: &mut dyn Write) -> Result<()> {
    let mut piece = Vec::with_capacity(COPY_BYTES);
    loop {
        piece.clear();
        let count = from.take(COPY_BYTES as u64).read_to_end(&mut piece).map_err(archive::read_error)?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&piece).map_err(Error::io("storing", "a layer"))?;
    }
}

fn copy_layer(source: Box<dyn Read + Send>, sink: Sink) -> Result<(Sink, DiffId)> {
    let failed = Error::io("storing", "a layer");
    let mut plain = archive::inflate(source);
    let compressor = Compressor::new(sink, Compression::Gzip, Level::Default).map_err(failed)?;
    let mut out = Hashing { hasher: Hasher::new(Algorithm::Sha256), compressor };
    copy_even(&mut plain, &mut out)?;
    let diff = DiffId(out.hasher.finish());
    let finished = out.compressor.finish().and_then(|mut sink| sink.flush().map(|()| sink));
    Ok((finished.map_err(Error::io("storing", "a layer"))?, diff))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn how_bytes_arrive_does_not_change_what_they_become() {
        let bytes: Vec<u8> = (0..300_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let compressed = |size: usize| {
            let mut out = Compressor::new(Vec::new(), Compression::Gzip, Level::Default).unwrap();
            copy_even(&mut Slow(&bytes, size), &mut out).unwrap();
            out.finish().unwrap()
        };
        let one = compressed(usize::MAX);
        for size in [1000, 4096, 65_537] {
            assert!(compressed(size) == one, "{size}");
        }
    }
}
