//! The records on their way to a file, and the file.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use gantry_sys::Errno;

use super::Encoder;
use crate::compress::{Compressor, Process};
use crate::driver::{Driver, Local, Mode};
use crate::file::{self, File, Short};
use crate::records::Records;
use crate::rotate::rotate;
use crate::{Ending, Error, Stream, Timestamp, cri, json, local};

/// As much is given to write(2) at once. More does not make it faster, and leaves the processor's cache.
const WRITE_BYTES: usize = 128 << 10;

/// What a file has.
#[derive(Debug, Clone)]
enum Shape {
    Json(Option<String>),
    Local,
    Cri,
}

/// The records on their way to the file, and the file.
#[derive(Debug)]
pub(super) struct FileSink {
    path: PathBuf,
    mode: Mode,
    shape: Shape,
    max_files: u32,
    /// The size at which a file gets no further record.
    max_size: Option<u64>,
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

impl FileSink {
    /// The file of a driver, or the cache beside it; none if it has neither.
    pub(super) fn open(driver: &Driver, process: Process) -> Result<Option<Self>, Error> {
        let cached = |cache: &Option<Local>| {
            // Nobody waits for a cache.
            let local = cache.as_ref().map(|local| Local { mode: Mode::Dropping, ..local.clone() });
            local.map(|local| Self::open_local(&local, process)).transpose()
        };
        match driver {
            Driver::JsonFile(json) => {
                let shape = Shape::Json(json.attrs.clone());
                let sink = Self::open_at(&json.path, json.mode, shape)?;
                Ok(Some(sink.rotated(json.max_size_bytes, json.max_files, json.compress, process)))
            }
            Driver::Local(local) => Self::open_local(local, process).map(Some),
            Driver::Cri(cri) => Self::open_at(&cri.path, cri.mode, Shape::Cri).map(Some),
            Driver::Syslog(syslog) => cached(&syslog.cache),
            Driver::Journald(journald) => cached(&journald.cache),
        }
    }

    fn open_local(local: &Local, process: Process) -> Result<Self, Error> {
        let sink = Self::open_at(&local.path, local.mode, Shape::Local)?;
        Ok(sink.rotated(Some(local.max_size_bytes), local.max_files, local.compress, process))
    }

    fn open_at(path: &Path, mode: Mode, shape: Shape) -> Result<Self, Error> {
        let mut file = File::open(path, shape.records())?;
        file.mend(path)?;
        let mut records = Records::new().map_err(Error::Memory)?;
        if file.is_torn() {
            crate::escape::Sink::push(&mut records, b"\n");
        }
        Ok(Self {
            path: path.to_owned(),
            mode,
            shape,
            max_files: 1,
            max_size: None,
            file,
            records,
            failure: None,
            rotate_at: u64::MAX,
            compressor: None,
            last_time: Timestamp::now(),
            dropped: 0,
            untold: 0,
        })
    }

    fn rotated(mut self, max_size: Option<u64>, max_files: u32, compress: bool, process: Process) -> Self {
        (self.max_size, self.max_files) = (max_size, max_files);
        self.rotate_at = max_size.unwrap_or(u64::MAX);
        self.compressor = compress.then(|| Compressor::new(&self.path, max_files, process));
        // What a writer left that died.
        if let Some(compressor) = &mut self.compressor {
            compressor.start(self.last_time);
        }
        self
    }

    /// Writes the records of a stream.
    pub(super) fn encoder(&self, stream: Stream) -> Encoder {
        match &self.shape {
            Shape::Json(attrs) => Encoder::Json(json::Encoder::new(stream, attrs.clone())),
            Shape::Local => Encoder::Local(local::Encoder::new(stream)),
            Shape::Cri => Encoder::Cri(cri::Encoder::new(stream)),
        }
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.failure = None;
        self.write_out();
        if self.untold > 0 && self.failure.is_none() {
            self.tell_dropped();
            self.write_out();
        }
        self.failed("writing").map_or(Ok(()), Err)
    }

    pub(super) fn reopen(&mut self) -> Result<(), Error> {
        self.failure = None;
        self.write_out();
        let mut file = File::open(&self.path, self.shape.records())?;
        file.mend(&self.path)?;
        self.file = file;
        Ok(())
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failure.is_some()
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_failing() && self.mode == Mode::Blocking && self.records.is_full()
    }

    pub(super) fn backlog_bytes(&self) -> usize {
        self.records.len()
    }

    pub(super) fn dropped_bytes(&self) -> u64 {
        self.dropped
    }

    pub(super) fn compression(&self) -> Option<BorrowedFd<'_>> {
        self.compressor.as_ref().and_then(Compressor::descriptor)
    }

    /// Waits until every rotated file is compressed.
    pub(super) fn complete(&mut self) {
        if let Some(compressor) = &mut self.compressor {
            compressor.complete(self.last_time);
        }
    }

    pub(super) fn relax(&mut self) {
        self.records.relax();
    }

    fn tell_dropped(&mut self) {
        let text = super::told(std::mem::take(&mut self.untold));
        // Through an encoder of its own: the stream may be amid a line.
        let mut encoder = self.encoder(Stream::Stderr);
        let now = self.last_time;
        self.push_last(&mut encoder, text.as_bytes(), Ending::Line, now);
    }

    /// Takes a record, unless the log is blocking and full.
    pub(super) fn push(
        &mut self,
        encoder: &mut Encoder,
        piece: &[u8],
        ending: Ending,
        now: Timestamp,
    ) -> bool {
        if self.file.size.saturating_add(self.records.len() as u64) >= self.rotate_at {
            self.rotate();
        } else if self.records.len() >= WRITE_BYTES && self.failure.is_none() {
            self.write_out();
        }
        if self.records.is_full() {
            if self.mode == Mode::Blocking {
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
    pub(super) fn push_last(&mut self, encoder: &mut Encoder, piece: &[u8], ending: Ending, now: Timestamp) {
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
        let Some(max) = self.max_size else { return };
        if self.failure.is_some() || self.file.size < self.rotate_at {
            return;
        }
        self.settle();
        match rotate(&self.path, self.max_files, self.shape.records()) {
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

    pub(super) fn settle(&mut self) {
        let last_time = self.last_time;
        if let Some(compressor) = &mut self.compressor
            && compressor.settle()
        {
            compressor.start(last_time);
        }
    }

    fn failed(&self, action: &'static str) -> Option<Error> {
        self.failure.map(|errno| Error::File { action, path: self.path.clone(), errno })
    }
}

impl Shape {
    fn records(&self) -> file::Records {
        if matches!(self, Self::Local) { file::Records::Framed } else { file::Records::Lines }
    }
}
