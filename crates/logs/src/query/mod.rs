//! Logs as `docker logs` asks for them: a part of a log, and what is added to it.
//!
//! The engine calls it, on threads that may wait for a disk. It never waits for a writer: where it would, it says so, and
//! has a descriptor that becomes readable when there may be more ([`LogCursor::wait`]). Between two calls an idle cursor
//! has no buffer, costs nothing, and is given up by dropping it.
//!
//! What counts is what counts in Docker (moby `daemon/logger/loggerutils` at v28.5.2): the tail is one of records of both
//! streams, before any other condition; `since` ends at the first record that is not older, since clocks are set; `until`
//! ends at the first that is newer; pieces of a line are records.

mod frames;
pub(crate) mod tail;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

pub use frames::{Frames, Framing, Progress};

use crate::read::scan::{Raw, Scan, Scanner};
use crate::read::source::Source;
use crate::read::{Format, files, is_damage};
use crate::{Ending, Error, Stream, Timestamp};
use frames::Stamp;
use tail::Part;
use watch::Watch;

/// How long to wait where nothing tells of changes.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Which records are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Those of the standard output.
    pub stdout: bool,
    /// Those of the standard error output.
    pub stderr: bool,
    /// None before the first that is not older than this.
    pub since: Option<Timestamp>,
    /// None from the first on that is newer than this.
    pub until: Option<Timestamp>,
    /// Only so many of the last records that there are now; all if it is none.
    pub tail: Option<u64>,
    /// Whether those are wanted, too, that come later.
    pub follow: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self { stdout: true, stderr: true, since: None, until: None, tail: None, follow: false }
    }
}

/// A record, with what it borrows from the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was written.
    pub time: Timestamp,
    /// Where it came from.
    pub stream: Stream,
    /// A line, or a piece of one, without its line feed.
    pub content: &'a [u8],
    /// Whether the line goes on.
    pub ending: Ending,
    /// The JSON of json-file's `attrs`, if it has any.
    pub attrs: Option<&'a [u8]>,
}

/// What comes next in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A record.
    Record(Record<'a>),
    /// Nothing for now: [`LogCursor::wait`] says what to wait for.
    Wait,
    /// Nothing any more.
    End,
}

/// What to wait for: whichever is first.
#[derive(Debug)]
pub struct Wait<'a> {
    /// What becomes readable when the log may have changed. Only the cursor reads it.
    pub descriptor: Option<BorrowedFd<'a>>,
    /// After which to ask in any case.
    pub at_most: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
enum Found {
    Record(Raw),
    Wait,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Following {
    No,
    Yes,
    /// The writer has written the last record.
    Finishing,
}

/// A place in a log, from which it is read on.
///
/// ```no_run
/// use gantry_logs::{Format, LogCursor, Query, Step};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let query = Query { tail: Some(10), ..Query::default() };
/// let mut cursor = LogCursor::open("/var/log/c.log".as_ref(), Format::JsonFile, query)?;
/// while let Step::Record(record) = cursor.next_step()? {
///     println!("{} {:?}", record.time, record.content);
/// }
/// # Ok(())
/// # }
/// ```
pub struct LogCursor {
    path: PathBuf,
    format: Format,
    query: Query,
    following: Following,
    scanner: Scanner,
    /// The files to be read; the last one is the log itself.
    parts: VecDeque<Part>,
    /// The files that were older from the beginning.
    known: Vec<files::Identity>,
    watch: Option<Watch>,
    /// Whether the log may have been rotated.
    is_suspect: bool,
    is_waiting: bool,
    stamp: Stamp,
}

impl LogCursor {
    /// Opens a log and the files that it was rotated through.
    ///
    /// # Errors
    /// `NotFound` when there is no log; `PermissionDenied`.
    pub fn open(path: &Path, format: Format, query: Query) -> Result<Self, Error> {
        // What happens from here on is heard of.
        let watch = if query.follow { Watch::new(path).ok() } else { None };
        let files = files::open(path, format)?;
        let known = files.iter().rev().skip(1).map(|opened| opened.identity).collect();
        let parts = tail::parts(files, format, query.tail).map_err(|error| reading(path, &error))?;
        let following = if query.follow { Following::Yes } else { Following::No };
        let mut cursor = Self {
            path: path.to_owned(),
            format,
            query,
            following,
            scanner: Scanner::new(format),
            parts,
            known,
            watch,
            is_suspect: false,
            is_waiting: false,
            stamp: Stamp::default(),
        };
        cursor.watch_last();
        cursor.skip_old();
        Ok(cursor)
    }

    /// What comes next.
    ///
    /// # Errors
    /// What read(2) gives, and opening the files that a rotation made.
    pub fn next_step(&mut self) -> Result<Step<'_>, Error> {
        let raw = match self.find()? {
            Found::Record(raw) => raw,
            Found::Wait => return Ok(Step::Wait),
            Found::End => return Ok(Step::End),
        };
        self.scanner.content(&raw);
        Ok(Step::Record(Record {
            time: raw.time,
            stream: raw.stream,
            content: self.scanner.content_again(&raw),
            ending: raw.ending,
            attrs: self.scanner.attrs(&raw),
        }))
    }

    /// What to wait for after [`Step::Wait`]. The descriptor is the same as long as the cursor lives.
    pub fn wait(&self) -> Wait<'_> {
        let blind = self.watch.as_ref().is_none_or(Watch::is_blind);
        let poll = blind.then_some(POLL_INTERVAL);
        let left = self.query.until.map(|until| until.since(Timestamp::now()));
        Wait {
            descriptor: self.watch.as_ref().map(Watch::descriptor),
            at_most: poll.into_iter().chain(left).min(),
        }
    }

    /// Nothing will be added to the log: what is there is still given, and then the end.
    pub fn finish(&mut self) {
        if self.following == Following::Yes {
            self.following = Following::Finishing;
            self.is_suspect = true;
        }
    }

    /// How many records were passed over because they could not be read.
    pub fn damaged_records(&self) -> u64 {
        self.scanner.damaged()
    }

    #[inline]
    fn find(&mut self) -> Result<Found, Error> {
        if std::mem::take(&mut self.is_waiting) {
            self.is_suspect |= self.watch.as_mut().is_none_or(Watch::drain);
        }
        while let Some(part) = self.parts.front_mut() {
            match self.scanner.next(&mut part.source) {
                Ok(Scan::Record(raw)) => {
                    if part.skip > 0 {
                        part.skip -= 1;
                    } else if self.is_wanted(&raw) {
                        return Ok(Found::Record(raw));
                    }
                }
                Ok(Scan::Dry) => {
                    if !self.advance()? {
                        break;
                    }
                }
                Err(error) if is_damage(&error) && self.parts.len() > 1 => {
                    self.scanner.damage();
                    self.pop();
                }
                Err(error) => return Err(reading(&self.path, &error)),
            }
        }
        if self.parts.is_empty() || self.following != Following::Yes || self.is_over() {
            self.parts.clear();
            return Ok(Found::End);
        }
        self.is_waiting = true;
        self.scanner.relax();
        Ok(Found::Wait)
    }

    #[inline]
    fn is_wanted(&mut self, raw: &Raw) -> bool {
        if self.query.since.is_some_and(|since| raw.time < since) {
            return false;
        }
        self.query.since = None;
        if self.query.until.is_some_and(|until| raw.time > until) {
            self.parts.clear();
            return false;
        }
        if raw.stream == Stream::Stdout { self.query.stdout } else { self.query.stderr }
    }

    /// The first file has nothing more: whether there may be more elsewhere.
    fn advance(&mut self) -> Result<bool, Error> {
        if self.parts.len() > 1 {
            self.scanner.end_source();
            self.pop();
            return Ok(true);
        }
        if self.following == Following::No {
            return Ok(false);
        }
        let Some(Part { source: source @ Source::Plain { .. }, .. }) = self.parts.front_mut() else {
            return Ok(false);
        };
        if source.is_truncated() {
            source.rewind();
            self.scanner.restart();
            return Ok(true);
        }
        if !std::mem::take(&mut self.is_suspect) {
            return Ok(false);
        }
        let Source::Plain { file, .. } = source else { return Ok(false) };
        let newer = files::newer(&self.path, self.format, file, &self.known).inspect_err(|_| {
            // Whoever asks again is told again.
            self.is_suspect = true;
        })?;
        if newer.is_empty() {
            return Ok(false);
        }
        // What was written to the first before the rotation is read before the next.
        self.parts.extend(newer.into_iter().map(|opened| Part { source: Source::new(opened), skip: 0 }));
        self.watch_last();
        // Perhaps it was rotated again before it was watched.
        self.is_suspect = true;
        Ok(true)
    }

    fn pop(&mut self) {
        self.parts.pop_front();
        self.skip_old();
    }

    /// Passes over compressed files whose last record is too old.
    fn skip_old(&mut self) {
        let Some(since) = self.query.since else { return };
        while self.parts.len() > 1
            && self.parts[0].source.last_time().is_some_and(|last_time| last_time < since)
        {
            self.parts.pop_front();
        }
    }

    fn watch_last(&mut self) {
        if let (Some(watch), Some(Part { source: Source::Plain { file, .. }, .. })) =
            (&mut self.watch, self.parts.back())
        {
            watch.file(file);
        }
    }

    /// Whether what comes from now on is too new.
    fn is_over(&self) -> bool {
        self.query.until.is_some_and(|until| until < Timestamp::now())
    }
}

impl fmt::Debug for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogCursor")
            .field("path", &self.path)
            .field("query", &self.query)
            .field("files", &self.parts.len())
            .finish_non_exhaustive()
    }
}

fn reading(path: &Path, error: &std::io::Error) -> Error {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    Error::File { action: "reading", path: path.to_owned(), errno }
}
