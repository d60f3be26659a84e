//! A log that is being written.

use std::os::fd::BorrowedFd;
use std::path::Path;

use gantry_sys::Errno;

use crate::compress::{Compressor, Process};
use crate::driver::{Driver, JsonFile, Mode};
use crate::escape::Sink;
use crate::file::{File, Short};
use crate::records::Records;
use crate::rotate::rotate;
use crate::split::{Rule, Splitter};
use crate::{Ending, Error, Stream, Timestamp, cri, json};

/// As much is given to write(2) at once. More does not make it faster, and leaves the processor's cache.
const WRITE_BYTES: usize = 128 << 10;

/// Writes a container's output to its log.
///
/// ```no_run
/// use gantry_logs::{Driver, LogWriter, Process, Stream, Timestamp};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let driver: Driver = "json-file:///var/log/c.log?max-size=1000000&max-file=3".parse()?;
/// let mut log = LogWriter::open(&driver, Process::Threaded)?;
/// let taken = log.write(Stream::Stdout, b"a line\n", Timestamp::now());
/// assert_eq!(taken, 7);
/// log.flush()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LogWriter {
    sink: FileSink,
    streams: [(Splitter, Encoder); 2],
}

#[derive(Debug)]
enum Encoder {
    Json(json::Encoder),
    Cri(cri::Encoder),
}

impl Encoder {
    fn push(&mut self, sink: &mut impl Sink, content: &[u8], ending: Ending, now: Timestamp) {
        match self {
            Self::Json(encoder) => encoder.push(sink, content, ending, now),
            Self::Cri(encoder) => encoder.push(sink, content, ending, now),
        }
    }
}

/// The records on their way to the file, and the file.
#[derive(Debug)]
struct FileSink {
    driver: Driver,
    file: File,
    records: Records,
    /// Why the last write or rotation did not succeed.
    failure: Option<Errno>,
    /// When the next rotation is due: beyond the limit after one that did not succeed.
    rotate_at: u64,
    compressor: Option<Compressor>,
    last_time: Timestamp,
    dropped: u64,
    /// Of those, the ones that the log does not tell of yet.
    untold: u64,
}

impl LogWriter {
    /// Opens the log for appending, and makes it and the directories above it if they are missing.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no regular file; `PermissionDenied`; `ResourceExhausted`.
    pub fn open(driver: &Driver, process: Process) -> Result<Self, Error> {
        let file = File::open(driver.path())?;
        let mut records = Records::new().map_err(Error::Memory)?;
        if file.is_torn() {
            records.push(b"\n");
        }
        let last_time = Timestamp::now();
        let (rule, rotate_at, compressor) = match driver {
            Driver::Cri(cri) => (Rule::Cri(cri.max_line_bytes), u64::MAX, None),
            Driver::JsonFile(json) => {
                let compressor = json.compress.then(|| Compressor::new(&json.path, json.max_files, process));
                (Rule::Json, json.max_size_bytes.unwrap_or(u64::MAX), compressor)
            }
        };
        let streams = [Stream::Stdout, Stream::Stderr].map(|stream| {
            let encoder = match driver {
                Driver::Cri(_) => Encoder::Cri(cri::Encoder::new(stream)),
                Driver::JsonFile(json) => Encoder::Json(json::Encoder::new(stream, json.attrs.clone())),
            };
            (Splitter::new(rule), encoder)
        });
        let mut sink = FileSink {
            driver: driver.clone(),
            file,
            records,
            failure: None,
            rotate_at,
            compressor,
            last_time,
            dropped: 0,
            untold: 0,
        };
        // What a writer left that died.
        if let Some(compressor) = &mut sink.compressor {
            compressor.start(last_time);
        }
        Ok(Self { sink, streams })
    }

    /// Takes bytes of a stream, and says how many: fewer than there are only when the log is [`Mode::Blocking`], cannot be
    /// written, and has a full backlog. Whoever has more waits until [`Self::flush`] succeeds.
    ///
    /// Records are written when there are many; for the rest, call [`Self::flush`].
    pub fn write(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) -> usize {
        let (splitter, encoder) = &mut self.streams[stream as usize];
        let sink = &mut self.sink;
        splitter.push(bytes, |piece, ending| sink.push(encoder, piece, ending, now))
    }

    /// The stream has ended: what is left of a line becomes a record.
    pub fn end(&mut self, stream: Stream, now: Timestamp) {
        let (splitter, encoder) = &mut self.streams[stream as usize];
        let sink = &mut self.sink;
        splitter.end(|piece, ending| sink.push_last(encoder, piece, ending, now));
    }

    /// Writes what waits. After a failure, it is for the caller to choose when to try again.
    ///
    /// # Errors
    /// `ResourceExhausted` for a full disk, `Internal` for a broken one; what could not be written is kept.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.sink.failure = None;
        self.sink.write_out();
        if self.sink.untold > 0 && self.sink.failure.is_none() {
            self.tell_dropped();
            self.sink.write_out();
        }
        self.sink.failed("writing").map_or(Ok(()), Err)
    }

    /// Opens the path anew: somebody else has renamed the file. No line is lost, and none is in both.
    ///
    /// # Errors
    /// As [`Self::open`]; the old file stays the log then.
    pub fn reopen(&mut self) -> Result<(), Error> {
        self.sink.failure = None;
        self.sink.write_out();
        self.sink.file = File::open(self.sink.driver.path())?;
        Ok(())
    }

    /// Whether the last write did not succeed: nothing is written before [`Self::flush`].
    pub fn is_failing(&self) -> bool {
        self.sink.failure.is_some()
    }

    /// Whether a [`Mode::Blocking`] log takes nothing for now.
    pub fn is_full(&self) -> bool {
        self.is_failing() && self.sink.driver.mode() == Mode::Blocking && self.sink.records.is_full()
    }

    /// The bytes that wait for write(2), and for the ends of their lines.
    pub fn backlog_bytes(&self) -> usize {
        self.sink.records.len() + self.streams.iter().map(|(splitter, _)| splitter.kept()).sum::<usize>()
    }

    /// The bytes of output that were dropped.
    pub fn dropped_bytes(&self) -> u64 {
        self.sink.dropped
    }

    /// The descriptor that becomes readable when [`Self::settle`] has something to do, if it ever will.
    pub fn compression(&self) -> Option<BorrowedFd<'_>> {
        self.sink.compressor.as_ref().and_then(Compressor::descriptor)
    }

    /// Names the file that was compressed, and goes on with the next.
    pub fn settle(&mut self) {
        self.sink.settle();
    }

    /// Gives memory back that holds nothing: for a log that has been quiet.
    pub fn relax(&mut self) {
        self.sink.records.relax();
        self.streams.iter_mut().for_each(|(splitter, _)| splitter.relax());
    }

    /// Writes what waits as far as that succeeds, and waits until every rotated file is compressed.
    ///
    /// # Errors
    /// As [`Self::flush`]; what could not be written is lost.
    pub fn close(mut self) -> Result<(), Error> {
        let now = Timestamp::now();
        self.end(Stream::Stdout, now);
        self.end(Stream::Stderr, now);
        let result = self.flush();
        if let Some(compressor) = &mut self.sink.compressor {
            compressor.complete(self.sink.last_time);
        }
        result
    }

    fn tell_dropped(&mut self) {
        let count = std::mem::take(&mut self.sink.untold);
        let text = format!("gantry: {count} bytes of output are missing here: the log could not be written");
        // Through an encoder of its own: the stream may be amid a line.
        let mut encoder = match &self.sink.driver {
            Driver::Cri(_) => Encoder::Cri(cri::Encoder::new(Stream::Stderr)),
            Driver::JsonFile(json) => Encoder::Json(json::Encoder::new(Stream::Stderr, json.attrs.clone())),
        };
        let now = self.sink.last_time;
        self.sink.push_last(&mut encoder, text.as_bytes(), Ending::Line, now);
    }
}

impl FileSink {
    /// Takes a record, unless the log is blocking and full.
    fn push(&mut self, encoder: &mut Encoder, piece: &[u8], ending: Ending, now: Timestamp) -> bool {
        if self.file.size.saturating_add(self.records.len() as u64) >= self.rotate_at {
            self.rotate();
        } else if self.records.len() >= WRITE_BYTES && self.failure.is_none() {
            self.write_out();
        }
        if self.records.is_full() {
            if self.driver.mode() == Mode::Blocking {
                return false;
            }
            self.drop(piece, ending);
            return true;
        }
        self.last_time = now;
        encoder.push(&mut self.records, piece, ending, now);
        true
    }

    /// Takes a record, or drops it.
    fn push_last(&mut self, encoder: &mut Encoder, piece: &[u8], ending: Ending, now: Timestamp) {
        if self.records.has_room() {
            self.last_time = now;
            encoder.push(&mut self.records, piece, ending, now);
        } else {
            self.drop(piece, ending);
        }
    }

    fn drop(&mut self, piece: &[u8], ending: Ending) {
        let bytes = piece.len() as u64 + u64::from(ending == Ending::Line);
        self.dropped += bytes;
        self.untold += bytes;
    }

    fn write_out(&mut self) {
        match self.file.append(self.records.bytes()) {
            Ok(()) => self.records.consume(usize::MAX),
            Err(Short { written, errno }) => {
                self.records.consume(written);
                self.failure = Some(errno);
            }
        }
    }

    fn rotate(&mut self) {
        if self.failure.is_some() {
            return;
        }
        self.write_out();
        let Driver::JsonFile(JsonFile { max_files, max_size_bytes: Some(max), .. }) = &self.driver else {
            return;
        };
        if self.failure.is_some() || self.file.size < self.rotate_at {
            return;
        }
        let (max_files, max) = (*max_files, *max);
        self.settle();
        match rotate(self.driver.path(), max_files) {
            Ok(file) => {
                self.file = file;
                self.rotate_at = max;
                if let Some(compressor) = &mut self.compressor {
                    compressor.rotated();
                    compressor.start(self.last_time);
                }
            }
            // The log goes on in the same file; another attempt follows when it has grown by some more.
            Err(_) => self.rotate_at = self.file.size.saturating_add((max / 8).max(4096)),
        }
    }

    fn settle(&mut self) {
        let last_time = self.last_time;
        if let Some(compressor) = &mut self.compressor
            && compressor.settle()
        {
            compressor.start(last_time);
        }
    }

    fn failed(&self, action: &'static str) -> Option<Error> {
        self.failure.map(|errno| Error::File { action, path: self.path().to_owned(), errno })
    }

    fn path(&self) -> &Path {
        self.driver.path()
    }
}

#[cfg(test)]
mod tests;
