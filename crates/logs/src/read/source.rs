//! What records are read from: a file, plain or compressed, or anything else.

use std::fs::File;
use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use rustix::fs::fstat;

use super::files::Opened;
use crate::Timestamp;

/// What the decompressor reads at once.
const BUFFER_BYTES: usize = 64 << 10;

/// A source of bytes.
pub(crate) enum Source {
    /// A plain file, and how far it was read.
    Plain {
        file: File,
        offset: u64,
    },
    Compressed(Box<MultiGzDecoder<BufReader<File>>>),
    Other(Box<dyn Read + Send>),
}

impl Source {
    pub(crate) fn new(opened: Opened) -> Self {
        if opened.is_compressed {
            let buffered = BufReader::with_capacity(BUFFER_BYTES, opened.file);
            return Self::Compressed(Box::new(MultiGzDecoder::new(buffered)));
        }
        Self::Plain { file: opened.file, offset: 0 }
    }

    /// The time of the last record by the header of a compressed file, or a later one.
    pub(crate) fn last_time(&self) -> Option<Timestamp> {
        let Self::Compressed(decoder) = self else { return None };
        #[derive(serde::Deserialize)]
        struct Extra {
            #[serde(rename = "lastTime")]
            last_time: String,
        }
        // The header is decoded with the decoder.
        let extra = decoder.header()?.extra()?;
        let extra: Extra = serde_json::from_slice(extra).ok()?;
        Timestamp::parse(extra.last_time.as_bytes())
    }

    /// Reads a plain file from its start.
    pub(crate) fn rewind(&mut self) {
        if let Self::Plain { offset, .. } = self {
            *offset = 0;
        }
    }

    /// Whether the file has become shorter than what was read of it.
    pub(crate) fn is_truncated(&self) -> bool {
        let Self::Plain { file, offset } = self else { return false };
        fstat(file).is_ok_and(|status| u64::try_from(status.st_size).is_ok_and(|size| size < *offset))
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain { file, offset } => {
                let len = rustix::io::retry_on_intr(|| rustix::io::pread(&*file, &mut *buffer, *offset))?;
                *offset += len as u64;
                Ok(len)
            }
            Self::Compressed(decoder) => decoder.read(buffer),
            Self::Other(reader) => reader.read(buffer),
        }
    }
}
