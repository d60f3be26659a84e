//! Decompression of a layer, bounded: gzip of any number of members, zstd of any number of frames, or neither. Archives that people
//! send may be of bzip2 and xz, too; layers of registries are not, for no engine takes them.
//!
//! What the bytes are is decided by the bytes, whatever the media type says: containerd does so, and images with a wrong
//! media type exist. [`Inflater`] is fed; [`Inflate`] pulls from a reader. Both give up at a limit (CVE-2017-14992).

mod bzip2;
mod gzip;
mod members;
#[cfg(test)]
mod tests;
mod xz;
mod zstd;

use std::io::{self, Read};

use gantry_types::ErrorKind;

use self::members::Members;

/// A compression of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Whatever the bytes say.
    Detect,
    /// None.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
    /// bzip2. It is undone, never made.
    Bzip2,
    /// xz. It is undone, never made.
    Xz,
}

/// Which compressions are undone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Formats {
    /// Those of layers: gzip and zstd.
    #[default]
    Layers,
    /// Those of people's archives: bzip2 and xz, too.
    Archives,
}

/// How much a compressed layer may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InflateLimits {
    /// Bytes of output.
    pub output_bytes: u64,
    /// Output over input, once there is more output than `ratio_grace_bytes`.
    pub ratio: u64,
    /// Output up to which the ratio does not count: a disk image of zeros compresses well, too.
    pub ratio_grace_bytes: u64,
    /// The largest window of a zstd frame, or dictionary of xz, as a power of two.
    pub window_log: u32,
    /// Which compressions are undone; others are bytes as any.
    pub formats: Formats,
}

impl InflateLimits {
    /// The limits of an archive that somebody sends.
    pub fn archives() -> Self {
        Self { formats: Formats::Archives, ..Self::default() }
    }
}

/// 1 TiB.
const OUTPUT_BYTES: u64 = 1 << 40;
/// More than gzip can (1,032), less than a zstd bomb.
const RATIO: u64 = 2000;
/// 4 GiB.
const RATIO_GRACE_BYTES: u64 = 4 << 30;
/// 128 MiB: what zstd's own tool accepts unless asked for more.
const WINDOW_LOG: u32 = 27;

impl Default for InflateLimits {
    fn default() -> Self {
        Self {
            output_bytes: OUTPUT_BYTES,
            ratio: RATIO,
            ratio_grace_bytes: RATIO_GRACE_BYTES,
            window_log: WINDOW_LOG,
            formats: Formats::Layers,
        }
    }
}

/// Why a layer cannot be decompressed. A reader gives it as the source of its [`io::Error`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// The bytes are not what they began as.
    #[error("corrupt {format} stream at byte {offset}: {detail}")]
    Corrupt {
        /// The format.
        format: &'static str,
        /// Where, in the compressed stream, at most.
        offset: u64,
        /// What the decoder says.
        detail: String,
    },
    /// The stream ends before its end.
    #[error("{format} stream ends early, after {offset} bytes")]
    Truncated {
        /// The format.
        format: &'static str,
        /// How long it is.
        offset: u64,
    },
    /// A limit was reached.
    #[error("compressed layer exceeds the limit of {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
}

impl InflateError {
    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Corrupt { .. } | Self::Truncated { .. } => ErrorKind::InvalidArgument,
            Self::Limit { .. } => ErrorKind::ResourceExhausted,
        }
    }
}

impl From<InflateError> for io::Error {
    fn from(error: InflateError) -> Self {
        let kind = match error {
            InflateError::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            InflateError::Corrupt { .. } => io::ErrorKind::InvalidData,
            InflateError::Limit { .. } => io::ErrorKind::QuotaExceeded,
        };
        io::Error::new(kind, error)
    }
}

/// How far a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// Bytes of the output that were written.
    pub produced: usize,
}

/// Bytes that tell the formats apart: the magic number of a skippable frame and its size.
const MAGIC_BYTES: usize = 8;

enum Decoder {
    /// Too few bytes yet.
    Unknown,
    Plain,
    Gzip(Members<gzip::Gzip>),
    Zstd(zstd::Zstd),
    Bzip2(Members<bzip2::Bzip2>),
    Xz(Members<xz::Xz>),
}

/// Decompresses what it is fed.
pub struct Inflater {
    decoder: Decoder,
    limits: InflateLimits,
    /// The first bytes, until the decoder took them.
    head: [u8; MAGIC_BYTES],
    head_len: usize,
    head_at: usize,
    ended: bool,
    total_in: u64,
    total_out: u64,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("found", &self.found()).finish_non_exhaustive()
    }
}

impl Inflater {
    /// A decompressor of one stream.
    pub fn new(limits: InflateLimits) -> Self {
        Self {
            decoder: Decoder::Unknown,
            limits,
            head: [0; MAGIC_BYTES],
            head_len: 0,
            head_at: 0,
            ended: false,
            total_in: 0,
            total_out: 0,
        }
    }

    /// What the bytes are, once there were enough of them.
    pub fn found(&self) -> Option<Compression> {
        match self.decoder {
            Decoder::Unknown => None,
            Decoder::Plain => Some(Compression::None),
            Decoder::Gzip(_) => Some(Compression::Gzip),
            Decoder::Zstd(_) => Some(Compression::Zstd),
            Decoder::Bzip2(_) => Some(Compression::Bzip2),
            Decoder::Xz(_) => Some(Compression::Xz),
        }
    }

    /// Says that there is no more input: later steps have an empty one.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Decompresses from `input` to `output`. When neither moves any more although there is room, more input is needed; after
    /// [`Inflater::end`], it is the end.
    ///
    /// # Errors
    /// InvalidArgument for corrupt and truncated streams, ResourceExhausted for a limit.
    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, InflateError> {
        let mut progress = Progress::default();
        if matches!(self.decoder, Decoder::Unknown) {
            progress.consumed = self.detect(input)?;
            if matches!(self.decoder, Decoder::Unknown) {
                return Ok(progress);
            }
        }
        while self.head_at < self.head_len && progress.produced < output.len() {
            let head = self.head;
            let step = self.decode(&head[self.head_at..self.head_len], &mut output[progress.produced..])?;
            self.head_at += step.consumed;
            progress.produced += step.produced;
            if step == Progress::default() {
                break;
            }
        }
        if self.head_at == self.head_len {
            let step = self.decode(&input[progress.consumed..], &mut output[progress.produced..])?;
            progress.consumed += step.consumed;
            progress.produced += step.produced;
            let rest = progress.consumed < input.len();
            if self.ended && progress.produced == 0 && !output.is_empty() && !rest {
                self.at_end()?;
            }
        }
        Ok(progress)
    }

    /// Takes the first bytes; how many.
    fn detect(&mut self, input: &[u8]) -> Result<usize, InflateError> {
        let taken = input.len().min(MAGIC_BYTES - self.head_len);
        self.head[self.head_len..self.head_len + taken].copy_from_slice(&input[..taken]);
        self.head_len += taken;
        if self.head_len == MAGIC_BYTES || self.ended {
            let head = &self.head[..self.head_len];
            self.decoder = if head.starts_with(gzip::MAGIC) {
                Decoder::Gzip(Members::new(self.limits.window_log)?)
            } else if zstd::is_magic(head) {
                Decoder::Zstd(zstd::Zstd::new(self.limits.window_log)?)
            } else if self.limits.formats == Formats::Archives && head.starts_with(bzip2::MAGIC) {
                Decoder::Bzip2(Members::new(self.limits.window_log)?)
            } else if self.limits.formats == Formats::Archives && head.starts_with(xz::MAGIC) {
                Decoder::Xz(Members::new(self.limits.window_log)?)
            } else {
                Decoder::Plain
            };
        }
        Ok(taken)
    }

    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, InflateError> {
        let step = match &mut self.decoder {
            Decoder::Unknown | Decoder::Plain => {
                let count = input.len().min(output.len());
                output[..count].copy_from_slice(&input[..count]);
                Progress { consumed: count, produced: count }
            }
            Decoder::Gzip(gzip) => gzip.step(input, output, self.total_in)?,
            Decoder::Zstd(zstd) => zstd.step(input, output, self.total_in)?,
            Decoder::Bzip2(bzip2) => bzip2.step(input, output, self.total_in)?,
            Decoder::Xz(xz) => xz.step(input, output, self.total_in)?,
        };
        self.total_in += step.consumed as u64;
        self.total_out += step.produced as u64;
        self.check_limits()?;
        Ok(step)
    }

    fn check_limits(&self) -> Result<(), InflateError> {
        let limits = &self.limits;
        if self.total_out > limits.output_bytes {
            return Err(InflateError::Limit { what: "bytes of output", limit: limits.output_bytes });
        }
        let most = self.total_in.saturating_mul(limits.ratio).max(limits.ratio_grace_bytes);
        if self.total_out > most {
            return Err(InflateError::Limit { what: "times its size", limit: limits.ratio });
        }
        Ok(())
    }

    fn at_end(&self) -> Result<(), InflateError> {
        let (whole, format) = match &self.decoder {
            Decoder::Unknown | Decoder::Plain => (true, "plain"),
            Decoder::Gzip(gzip) => (gzip.is_whole(), "gzip"),
            Decoder::Zstd(zstd) => (zstd.is_whole(), "zstd"),
            Decoder::Bzip2(bzip2) => (bzip2.is_whole(), "bzip2"),
            Decoder::Xz(xz) => (xz.is_whole(), "xz"),
        };
        if whole { Ok(()) } else { Err(InflateError::Truncated { format, offset: self.total_in }) }
    }
}

/// As much compressed data as is read at once.
const INPUT_BYTES: usize = 128 << 10;

/// A reader of the decompressed bytes of another reader. Give it buffers of 128 KiB and more.
pub struct Inflate<R> {
    reader: R,
    inflater: Inflater,
    declared: Compression,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<R> std::fmt::Debug for Inflate<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflate").field("inflater", &self.inflater).finish_non_exhaustive()
    }
}

impl<R: Read> Inflate<R> {
    /// Decompresses what `reader` gives. `declared` is what the media type says; see [`Inflate::is_mislabelled`].
    pub fn new(reader: R, declared: Compression, limits: InflateLimits) -> Self {
        let buffer = vec![0; INPUT_BYTES].into_boxed_slice();
        Self { reader, inflater: Inflater::new(limits), declared, buffer, start: 0, end: 0 }
    }

    /// What the bytes are, once there were enough of them.
    pub fn found(&self) -> Option<Compression> {
        self.inflater.found()
    }

    /// Whether the bytes are known to be something else than was declared.
    pub fn is_mislabelled(&self) -> bool {
        self.declared != Compression::Detect && self.found().is_some_and(|found| found != self.declared)
    }

    /// The reader below.
    pub fn get_ref(&self) -> &R {
        &self.reader
    }

    /// The reader below; what was read ahead of the decompressor is lost.
    pub fn into_reader(self) -> R {
        self.reader
    }
}

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        if output.is_empty() {
            return Ok(0);
        }
        loop {
            let step = self.inflater.step(&self.buffer[self.start..self.end], output)?;
            self.start += step.consumed;
            if step.produced > 0 || (self.inflater.ended && self.start == self.end) {
                return Ok(step.produced);
            }
            if self.start == self.end {
                let count = loop {
                    match self.reader.read(&mut self.buffer) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        result => break result?,
                    }
                };
                (self.start, self.end) = (0, count);
                if count == 0 {
                    self.inflater.end();
                }
            }
        }
    }
}
