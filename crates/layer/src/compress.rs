//! Compression of a layer that is made: the same bytes for the same layer, on every host.

use std::io::{self, Write};

use flate2::GzBuilder;
use flate2::write::GzEncoder;

use crate::Compression;

/// How hard a [`Compressor`] tries: 1 to 9 for gzip, 1 to 22 for zstd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// The tool's own: 6 for gzip, 3 for zstd.
    #[default]
    Default,
    /// This one, or the nearest that there is.
    At(u32),
}

impl Level {
    fn or(self, default: u32, most: u32) -> u32 {
        match self {
            Self::Default => default,
            Self::At(level) => level.clamp(1, most),
        }
    }
}

/// A writer that compresses. It is over only with [`Compressor::finish`].
pub struct Compressor<W: Write> {
    encoder: Encoder<W>,
}

enum Encoder<W: Write> {
    Plain(W),
    Gzip(Box<GzEncoder<W>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
}

impl<W: Write> std::fmt::Debug for Compressor<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl<W: Write> Compressor<W> {
    /// A compressor onto `writer`; [`Compression::Detect`] is none. gzip's header has no name, no time and no system.
    ///
    /// # Errors
    /// Out of memory; Unsupported for bzip2 and xz.
    pub fn new(writer: W, compression: Compression, level: Level) -> io::Result<Self> {
        let encoder = match compression {
            Compression::None | Compression::Detect => Encoder::Plain(writer),
            Compression::Gzip => {
                let level = flate2::Compression::new(level.or(6, 9));
                Encoder::Gzip(Box::new(GzBuilder::new().mtime(0).operating_system(255).write(writer, level)))
            }
            Compression::Zstd => {
                let level = i32::try_from(level.or(3, 22)).unwrap_or(3);
                let mut encoder = zstd::stream::write::Encoder::new(writer, level)?;
                encoder.include_checksum(true)?;
                Encoder::Zstd(Box::new(encoder))
            }
            Compression::Bzip2 | Compression::Xz => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { encoder })
    }

    /// Writes the end, and gives the writer back.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(self) -> io::Result<W> {
        match self.encoder {
            Encoder::Plain(writer) => Ok(writer),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.encoder {
            Encoder::Plain(writer) => writer.write(bytes),
            Encoder::Gzip(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.encoder {
            Encoder::Plain(writer) => writer.flush(),
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
        }
    }
}
