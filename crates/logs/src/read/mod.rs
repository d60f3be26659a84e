//! Logs, read: whoever wrote them, and whatever became of them since.
//!
//! A line that is no record is counted and passed over, as is one longer than [`MAX_READ_LINE_BYTES`], and a last one that
//! is still being written. [`LogReader`] gives records that own what they have, from the oldest to the newest; a
//! [`crate::LogCursor`] is for large logs, a part of one, and one that grows.

mod cri;
pub(crate) mod files;
mod json;
pub(crate) mod local;
pub(crate) mod scan;
pub(crate) mod source;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use crate::{Ending, Error, Stream, Timestamp};
use scan::{Raw, Scan, Scanner};
use source::Source;

/// The longest line that is looked at: a record of the longest piece, each byte of which is escaped.
pub const MAX_READ_LINE_BYTES: usize = 8 << 20;

/// The format of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Docker's json-file.
    JsonFile,
    /// The kubelet's.
    Cri,
    /// Docker's local.
    Local,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was written.
    pub time: Timestamp,
    /// Where it came from.
    pub stream: Stream,
    /// A line, or a piece of one, without its line feed.
    pub content: Vec<u8>,
    /// Whether the line goes on.
    pub ending: Ending,
    /// The JSON of json-file's `attrs`, if it has any.
    pub attrs: Option<String>,
}

/// Reads records from the oldest to the newest.
pub struct LogReader {
    scanner: Scanner,
    chain: VecDeque<Source>,
}

impl LogReader {
    /// Opens a log and all the files that it was rotated through, compressed or not.
    ///
    /// They are opened at once: a rotation meanwhile neither hides a line nor shows one twice.
    ///
    /// # Errors
    /// `NotFound` when there is no log; `PermissionDenied`.
    pub fn open(path: &Path, format: Format) -> Result<Self, Error> {
        let chain = files::open(path, format)?.into_iter().map(Source::new).collect();
        Ok(Self { scanner: Scanner::new(format), chain })
    }

    /// Reads one source alone, for example one file.
    pub fn new(source: impl Read + Send + 'static, format: Format) -> Self {
        Self { scanner: Scanner::new(format), chain: [Source::Other(Box::new(source))].into() }
    }

    /// How many lines were passed over.
    pub fn damaged_lines(&self) -> u64 {
        self.scanner.damaged()
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// What read(2) gives. A compressed file that cannot be decompressed counts as one damaged line from there on.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        while let Some(source) = self.chain.front_mut() {
            match self.scanner.next(source) {
                Ok(Scan::Record(raw)) => return Ok(Some(self.entry(&raw))),
                Ok(Scan::Dry) => self.scanner.end_source(),
                Err(error) if is_damage(&error) => self.scanner.damage(),
                Err(error) => return Err(error),
            }
            self.chain.pop_front();
        }
        Ok(None)
    }

    fn entry(&mut self, raw: &Raw) -> Entry {
        let attrs = self.scanner.attrs(raw).map(|attrs| String::from_utf8_lossy(attrs).into_owned());
        let content = self.scanner.content(raw).to_vec();
        Entry { time: raw.time, stream: raw.stream, content, ending: raw.ending, attrs }
    }
}

/// What a decompressor says of its input, and the kernel of no file.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    error.raw_os_error().is_none() && matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.chain.len();
        f.debug_struct("LogReader")
            .field("scanner", &self.scanner)
            .field("files", &files)
            .finish_non_exhaustive()
    }
}

impl Iterator for LogReader {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

#[cfg(test)]
mod tests;
