//! Logs, read: whoever wrote them, and whatever became of them since.
//!
//! A line that is no record is counted and passed over, as is one longer than [`MAX_READ_LINE_BYTES`], and a last one that
//! is still being written. Nothing here follows a log that grows.

mod files;
mod lines;
mod record;

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::{Ending, Error, Stream, Timestamp};
use files::Chain;
use lines::{Line, next_line};

/// The longest line that is looked at: a record of the longest piece, each byte of which is escaped.
pub const MAX_READ_LINE_BYTES: usize = 8 << 20;

/// The format of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Docker's json-file.
    JsonFile,
    /// The kubelet's.
    Cri,
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
    format: Format,
    chain: Chain,
    line: Vec<u8>,
    damaged: u64,
}

impl LogReader {
    /// Opens a log and all the files that it was rotated through, compressed or not.
    ///
    /// They are opened at once: a rotation meanwhile neither hides a line nor shows one twice.
    ///
    /// # Errors
    /// `NotFound` when there is no log; `PermissionDenied`.
    pub fn open(path: &Path, format: Format) -> Result<Self, Error> {
        Ok(Self::from_chain(files::open(path, format)?, format))
    }

    /// Reads one source alone, for example one file.
    pub fn new(source: impl Read + 'static, format: Format) -> Self {
        Self::from_chain(vec![Box::new(BufReader::new(source)) as Box<dyn BufRead>].into(), format)
    }

    fn from_chain(chain: Chain, format: Format) -> Self {
        Self { format, chain, line: Vec::new(), damaged: 0 }
    }

    /// How many lines were passed over.
    pub fn damaged_lines(&self) -> u64 {
        self.damaged
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// What read(2) gives. A compressed file that cannot be decompressed counts as one damaged line from there on.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        while let Some(source) = self.chain.front_mut() {
            match next_line(source, &mut self.line, MAX_READ_LINE_BYTES) {
                Ok(Line::Whole) => match record::parse(self.format, &self.line) {
                    Some(entry) => return Ok(Some(entry)),
                    None => self.damaged += 1,
                },
                Ok(Line::TooLong) => self.damaged += 1,
                Ok(Line::Torn) => {
                    self.damaged += 1;
                    self.chain.pop_front();
                }
                Ok(Line::End) => {
                    self.chain.pop_front();
                }
                Err(error) if is_damage(&error) => {
                    self.damaged += 1;
                    self.chain.pop_front();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// What a decompressor says of its input, and the kernel of no file.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    error.raw_os_error().is_none() && matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.chain.len();
        f.debug_struct("LogReader")
            .field("format", &self.format)
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
