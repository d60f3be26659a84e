use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use gantry_proto_shim::Message;
use gantry_proto_shim::events::{Event, SandboxExit, TaskExit};
use gantry_proto_shim::forward::Envelope;
use gantry_types::ErrorKind;

use super::crc::crc32;

/// How many events may wait.
pub const MAX_EVENTS: usize = 4096;
/// How many bytes of records may wait.
pub const MAX_BYTES: u64 = 8 << 20;
/// How long an event may be: a call of ttrpc must have room for it.
pub const MAX_EVENT_BYTES: usize = 2 << 20;
/// With less than this, a file is not worth being written anew.
const MIN_GARBAGE_BYTES: u64 = 256 * 1024;
/// No journal of ours is longer: it is written anew before.
const MAX_FILE_BYTES: u64 = 4 * MAX_BYTES;

/// No shim gets so far: a number beyond it is damage.
const MAX_SEQUENCE: u64 = u64::MAX / 2;
/// The first line of the file.
const MAGIC: &[u8; 16] = b"gantry-events 1\n";
/// The line and the sequence last acknowledged.
const HEADER_BYTES: u64 = 24;
/// Length, checksum and sequence, before each event.
const RECORD_BYTES: u64 = 16;

/// The name of the file in the pod's directory.
pub const FILE: &str = "events";
const NEW_FILE: &str = "events.new";

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The kernel refused a call on the file.
    #[error("cannot {call} {path}")]
    Io {
        /// What was to be done.
        call: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else is in its place.
    #[error("{0} is no journal of events")]
    Foreign(PathBuf),
    /// It was written by a version that this one does not know.
    #[error("{path} is a journal of events of version {version:?}; this shim knows version 1")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// The event is longer than one may be.
    #[error("event of {0} bytes is longer than {MAX_EVENT_BYTES}")]
    TooLong(usize),
}

impl JournalError {
    /// What went wrong, in our words.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                ErrorKind::ResourceExhausted
            }
            Self::Io { .. } => ErrorKind::Internal,
            Self::Foreign(_) | Self::Version { .. } => ErrorKind::FailedPrecondition,
            Self::TooLong(_) => ErrorKind::ResourceExhausted,
        }
    }
}

/// The events that nobody has acknowledged, in a file. Only where each lies is in memory.
///
/// ```text
///   "gantry-events 1\n" | u64 acknowledged
///   u32 length | u32 crc32 of what follows | u64 sequence | Envelope, length bytes        (little endian)
///   …
/// ```
/// One process has it open: the one that holds the pod's lock.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    waiting: VecDeque<Place>,
    /// The sum of the waiting records, with their heads.
    waiting_bytes: u64,
    acknowledged: u64,
    /// The sequence given last.
    last: u64,
    /// Where the next record goes.
    end: u64,
    dropped: u64,
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    sequence: u64,
    offset: u64,
    /// Of the envelope.
    length: u32,
    is_exit: bool,
}

impl Place {
    fn bytes(self) -> u64 {
        RECORD_BYTES + u64::from(self.length)
    }
}

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number; numbers grow.
    pub sequence: u64,
    /// The [`Envelope`] in its encoding.
    pub envelope: Vec<u8>,
}

impl Journal {
    /// Opens the journal of a pod's directory, or makes one. What follows a damaged record is cut off: a shim was killed
    /// while it wrote it, and had answered nobody.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is not one of this version.
    pub fn open(directory: &Path) -> Result<Self, JournalError> {
        let path = directory.join(FILE);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(&path).map_err(failed("open", &path))?;
        let bytes = read(&file).map_err(failed("read", &path))?;
        let replay = Replay::read(&bytes).map_err(|damage| damage.of(&path))?;
        drop(bytes);
        let mut journal = Self {
            waiting_bytes: replay.waiting.iter().map(|place| place.bytes()).sum(),
            acknowledged: replay.acknowledged,
            last: replay.last,
            end: replay.end,
            waiting: replay.waiting,
            path,
            file,
            dropped: 0,
        };
        if journal.end < HEADER_BYTES {
            journal.end = HEADER_BYTES;
            journal.write_header()?;
        }
        journal.file.set_len(journal.end).map_err(failed("truncate", &journal.path))?;
        journal.keep_bounds();
        Ok(journal)
    }

    /// Writes an event down, and numbers it. The oldest go if there are too many: no exits, as long as others wait.
    ///
    /// # Errors
    /// When it is too long, or cannot be written; the journal is then as it was.
    pub fn append(&mut self, envelope: &Envelope) -> Result<u64, JournalError> {
        let length = envelope.encoded_len();
        if length > MAX_EVENT_BYTES {
            return Err(JournalError::TooLong(length));
        }
        self.compact();
        let sequence = self.last + 1;
        let mut record = vec![0; 8];
        record.reserve(8 + length);
        record.extend_from_slice(&sequence.to_le_bytes());
        envelope.encode(&mut record).expect("a Vec has room for everything");
        let length = length as u32;
        let crc = crc32(&record[8..]);
        record[..4].copy_from_slice(&length.to_le_bytes());
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        if let Err(source) = self.file.write_all_at(&record, self.end) {
            // A part of it may be there; the next record goes over it, and a reader stops at it.
            let _ = self.file.set_len(self.end);
            return Err(failed("write", &self.path)(source));
        }
        let place = Place { sequence, offset: self.end, length, is_exit: is_exit(&envelope.topic) };
        self.last = sequence;
        self.end += place.bytes();
        self.waiting_bytes += place.bytes();
        self.waiting.push_back(place);
        self.keep_bounds();
        Ok(sequence)
    }

    /// The oldest event that waits.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn first(&self) -> Result<Option<Waiting>, JournalError> {
        let Some(place) = self.waiting.front() else { return Ok(None) };
        let mut envelope = vec![0; place.length as usize];
        let read = self.file.read_exact_at(&mut envelope, place.offset + RECORD_BYTES);
        read.map_err(failed("read", &self.path))?;
        Ok(Some(Waiting { sequence: place.sequence, envelope }))
    }

    /// Forgets the events up to this one. When none waits any more, the file is as short as a new one.
    ///
    /// # Errors
    /// When the file cannot be written; the events may come again after the shim was replaced.
    pub fn acknowledge(&mut self, sequence: u64) -> Result<(), JournalError> {
        while let Some(place) = self.waiting.front().filter(|place| place.sequence <= sequence) {
            self.waiting_bytes -= place.bytes();
            self.waiting.pop_front();
        }
        self.acknowledged = self.acknowledged.max(sequence.min(self.last));
        let empty = self.waiting.is_empty();
        if empty {
            self.waiting = VecDeque::new();
            // Numbers go on where they were, also of events that were dropped.
            self.acknowledged = self.last;
        }
        self.write_header()?;
        if empty && self.end > HEADER_BYTES {
            self.file.set_len(HEADER_BYTES).map_err(failed("truncate", &self.path))?;
            self.end = HEADER_BYTES;
        }
        Ok(())
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many events went unsent because too many waited, since the journal was opened.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The sequence of the last event that was acknowledged, or went unsent with all before it.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    fn keep_bounds(&mut self) {
        while self.waiting.len() > MAX_EVENTS || self.waiting_bytes > MAX_BYTES {
            let oldest = self.waiting.iter().position(|place| !place.is_exit).unwrap_or(0);
            let Some(place) = self.waiting.remove(oldest) else { return };
            self.waiting_bytes -= place.bytes();
            self.dropped += 1;
        }
    }

    fn write_header(&self) -> Result<(), JournalError> {
        self.file.write_all_at(&header(self.acknowledged), 0).map_err(failed("write", &self.path))
    }

    /// Writes the file anew once most of it is garbage. When that fails, it stays as it is: the next event tries again, and
    /// fails itself where there is no room.
    fn compact(&mut self) {
        let garbage = self.end - HEADER_BYTES - self.waiting_bytes;
        if garbage > MIN_GARBAGE_BYTES.max(self.waiting_bytes) {
            let new = self.path.with_file_name(NEW_FILE);
            if self.rewrite(&new).is_err() {
                let _ = fs::remove_file(&new);
            }
        }
    }

    fn rewrite(&mut self, new: &Path) -> io::Result<()> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(new)?;
        file.write_all_at(&header(self.acknowledged), 0)?;
        let (mut end, mut waiting) = (HEADER_BYTES, VecDeque::with_capacity(self.waiting.len()));
        let mut record = Vec::new();
        for place in &self.waiting {
            record.resize(RECORD_BYTES as usize + place.length as usize, 0);
            self.file.read_exact_at(&mut record, place.offset)?;
            file.write_all_at(&record, end)?;
            waiting.push_back(Place { offset: end, ..*place });
            end += place.bytes();
        }
        fs::rename(new, &self.path)?;
        (self.file, self.waiting, self.end) = (file, waiting, end);
        Ok(())
    }
}

/// What the bytes of a journal say.
#[derive(Debug, PartialEq, Eq)]
pub struct Replay {
    acknowledged: u64,
    last: u64,
    waiting: VecDeque<Place>,
    /// Where the first byte lies that says nothing; less than a header's length if there is none.
    end: u64,
}

/// Why bytes are no journal.
#[derive(Debug, PartialEq, Eq)]
pub enum Damage {
    /// They begin with something else.
    Foreign,
    /// They are of another version.
    Version(String),
}

impl Damage {
    fn of(self, path: &Path) -> JournalError {
        match self {
            Self::Foreign => JournalError::Foreign(path.to_owned()),
            Self::Version(version) => JournalError::Version { path: path.to_owned(), version },
        }
    }
}

impl Replay {
    /// Reads up to the first record that is damaged.
    ///
    /// # Errors
    /// When the bytes are no journal of this version. Nothing, and a part of a header, are an empty one.
    pub fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let line = bytes.get(..MAGIC.len()).unwrap_or(bytes);
        if !MAGIC.starts_with(line) {
            return Err(damage(bytes));
        }
        let mut rest = bytes;
        let header = take(&mut rest, MAGIC.len()).and_then(|_| number(&mut rest));
        let Some(acknowledged) = header else {
            return Ok(Self { acknowledged: 0, last: 0, waiting: VecDeque::new(), end: 0 });
        };
        if acknowledged > MAX_SEQUENCE {
            return Err(Damage::Foreign);
        }
        let mut replay =
            Self { acknowledged, last: acknowledged, waiting: VecDeque::new(), end: HEADER_BYTES };
        let mut highest = 0;
        while let Some(place) = record(&mut rest, replay.end).filter(|place| place.sequence > highest) {
            highest = place.sequence;
            replay.end += place.bytes();
            if place.sequence > acknowledged {
                replay.last = place.sequence;
                replay.waiting.push_back(place);
            }
        }
        Ok(replay)
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

fn damage(bytes: &[u8]) -> Damage {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match line.strip_prefix(b"gantry-events ") {
        Some(version) => {
            Damage::Version(String::from_utf8_lossy(&version[..version.len().min(32)]).into_owned())
        }
        None => Damage::Foreign,
    }
}

/// The next record, if it is whole and as it was written.
fn record(rest: &mut &[u8], offset: u64) -> Option<Place> {
    let length = u32::from_le_bytes(take(rest, 4)?.try_into().ok()?);
    let crc = u32::from_le_bytes(take(rest, 4)?.try_into().ok()?);
    if length as usize > MAX_EVENT_BYTES {
        return None;
    }
    let mut body = take(rest, 8 + length as usize)?;
    if crc32(body) != crc {
        return None;
    }
    let sequence = number(&mut body).filter(|sequence| *sequence <= MAX_SEQUENCE)?;
    let envelope = Envelope::decode(body).ok()?;
    Some(Place { sequence, offset, length, is_exit: is_exit(&envelope.topic) })
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (part, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(part)
}

fn header(acknowledged: u64) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..].copy_from_slice(&acknowledged.to_le_bytes());
    header
}

fn is_exit(topic: &str) -> bool {
    topic == TaskExit::TOPIC || topic == SandboxExit::TOPIC
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len().min(MAX_FILE_BYTES);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn failed(call: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { call, path, source }
}

#[cfg(test)]
mod tests;
