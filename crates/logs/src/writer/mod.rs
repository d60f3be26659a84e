//! A log that is being written: to a file, to another daemon, or to both.

mod sink;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::compress::Process;
use crate::driver::Driver;
use crate::escape::Sink;
use crate::remote::{Interest, Remote};
use crate::split::{Rule, Splitter};
use crate::{Ending, Error, Stream, Timestamp, cri, json, local};
use sink::FileSink;

/// How long the end of a log waits for a daemon that is there but has not taken everything yet.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

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
    lines: [Lines; 2],
    file: Option<FileSink>,
    remote: Option<Remote>,
}

/// One stream.
#[derive(Debug)]
struct Lines {
    splitter: Splitter,
    /// None without a file.
    encoder: Option<Encoder>,
}

#[derive(Debug)]
enum Encoder {
    Json(json::Encoder),
    Local(local::Encoder),
    Cri(cri::Encoder),
}

impl Encoder {
    fn push(&mut self, sink: &mut impl Sink, content: &[u8], ending: Ending, now: Timestamp) {
        match self {
            Self::Json(encoder) => encoder.push(sink, content, ending, now),
            Self::Local(encoder) => encoder.push(sink, content, ending, now),
            Self::Cri(encoder) => encoder.push(sink, content, ending, now),
        }
    }
}

/// What the log says of output that it has not got.
pub(crate) fn told(count: u64) -> String {
    format!("gantry: {count} bytes of output are missing here: the log could not be written")
}

impl LogWriter {
    /// Opens the log for appending, and makes its file and the directories above it if they are missing. A daemon that takes
    /// messages is looked for when there are some.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no regular file; `PermissionDenied`; `ResourceExhausted`.
    pub fn open(driver: &Driver, process: Process) -> Result<Self, Error> {
        let rule = match driver {
            Driver::Cri(cri) => Rule::Cri(cri.max_line_bytes),
            _ => Rule::Json,
        };
        let remote = match driver {
            Driver::Syslog(syslog) => Some(Remote::syslog(syslog, process)?),
            Driver::Journald(journald) => Some(Remote::journald(journald)?),
            _ => None,
        };
        let file = FileSink::open(driver, process)?;
        let lines = [Stream::Stdout, Stream::Stderr].map(|stream| Lines {
            splitter: Splitter::new(rule),
            encoder: file.as_ref().map(|file| file.encoder(stream)),
        });
        Ok(Self { lines, file, remote })
    }

    /// Takes bytes of a stream, and says how many: fewer than there are only when the log is [`crate::Mode::Blocking`], cannot
    /// be written, and has a full backlog. Whoever has more waits until [`Self::flush`] succeeds.
    ///
    /// Records are written when there are many; for the rest, call [`Self::flush`].
    pub fn write(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) -> usize {
        let Self { lines, file, remote } = self;
        let Lines { splitter, encoder } = &mut lines[stream as usize];
        splitter.push(bytes, |piece, ending| {
            // A cache refuses nothing.
            let taken = remote.as_mut().is_none_or(|remote| remote.push(stream, piece, ending, now));
            taken
                && match (file.as_mut(), encoder.as_mut()) {
                    (Some(file), Some(encoder)) => file.push(encoder, piece, ending, now),
                    _ => true,
                }
        })
    }

    /// The stream has ended: what is left of a line becomes a record.
    pub fn end(&mut self, stream: Stream, now: Timestamp) {
        let Self { lines, file, remote } = self;
        let Lines { splitter, encoder } = &mut lines[stream as usize];
        splitter.end(|piece, ending| {
            if let Some(remote) = remote {
                remote.push_last(stream, piece, ending, now);
            }
            if let (Some(file), Some(encoder)) = (file.as_mut(), encoder.as_mut()) {
                file.push_last(encoder, piece, ending, now);
            }
        });
    }

    /// Writes what waits. After a failure, it is for the caller to choose when to try again.
    ///
    /// # Errors
    /// `ResourceExhausted` for a full disk, `Internal` for a broken one, `Unavailable` for another daemon that takes nothing
    /// for now; what could not be written is kept.
    pub fn flush(&mut self) -> Result<(), Error> {
        let written = self.file.as_mut().map_or(Ok(()), FileSink::flush);
        match &mut self.remote {
            // What a cache does not get now, it gets later.
            Some(remote) => remote.flush(),
            None => written,
        }
    }

    /// Writes what waits for a cache, while another daemon is not to be asked yet.
    pub fn flush_cache(&mut self) {
        if let (Some(file), Some(_)) = (&mut self.file, &self.remote) {
            // What it does not get now, it gets later.
            let _ = file.flush();
        }
    }

    /// Opens the path anew: somebody else has renamed the file. No line is lost, and none is in both.
    ///
    /// # Errors
    /// As [`Self::open`]; the old file stays the log then.
    pub fn reopen(&mut self) -> Result<(), Error> {
        self.file.as_mut().map_or(Ok(()), FileSink::reopen)
    }

    /// Whether the last write did not succeed: nothing is written before [`Self::flush`].
    pub fn is_failing(&self) -> bool {
        match &self.remote {
            Some(remote) => remote.is_failing(),
            None => self.file.as_ref().is_some_and(FileSink::is_failing),
        }
    }

    /// Whether a [`crate::Mode::Blocking`] log takes nothing for now.
    pub fn is_full(&self) -> bool {
        match &self.remote {
            Some(remote) => remote.is_full(),
            None => self.file.as_ref().is_some_and(FileSink::is_full),
        }
    }

    /// What to wait for before the next [`Self::flush`] after one that did not succeed, if waiting helps.
    pub fn waits_for(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        self.remote.as_ref().and_then(Remote::waits_for)
    }

    /// The bytes that wait for write(2) or a daemon, and for the ends of their lines.
    pub fn backlog_bytes(&self) -> usize {
        self.file.as_ref().map_or(0, FileSink::backlog_bytes)
            + self.remote.as_ref().map_or(0, Remote::backlog_bytes)
            + self.lines.iter().map(|lines| lines.splitter.kept()).sum::<usize>()
    }

    /// The bytes of output that were dropped; where there is another daemon, those that it does not get.
    pub fn dropped_bytes(&self) -> u64 {
        match &self.remote {
            Some(remote) => remote.dropped_bytes(),
            None => self.file.as_ref().map_or(0, FileSink::dropped_bytes),
        }
    }

    /// The descriptor that becomes readable when [`Self::settle`] has something to do, if it ever will.
    pub fn compression(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().and_then(FileSink::compression)
    }

    /// Names the file that was compressed, and goes on with the next.
    pub fn settle(&mut self) {
        if let Some(file) = &mut self.file {
            file.settle();
        }
    }

    /// Gives memory back that holds nothing: for a log that has been quiet.
    pub fn relax(&mut self) {
        if let Some(file) = &mut self.file {
            file.relax();
        }
        if let Some(remote) = &mut self.remote {
            remote.relax();
        }
        self.lines.iter_mut().for_each(|lines| lines.splitter.relax());
    }

    /// Writes what waits as far as that succeeds, and waits until every rotated file is compressed. A daemon that is there but
    /// slow is waited for, a little.
    ///
    /// # Errors
    /// As [`Self::flush`]; what could not be written is lost.
    pub fn close(mut self) -> Result<(), Error> {
        let now = Timestamp::now();
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.end(stream, now);
        }
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let result = loop {
            let result = self.flush();
            if result.is_ok() || !self.wait_until(deadline) {
                break result;
            }
        };
        if let Some(file) = &mut self.file {
            file.complete();
        }
        result
    }

    /// Waits for what [`Self::waits_for`] says: whether there is anything, and time left.
    fn wait_until(&self, deadline: Instant) -> bool {
        let Some((fd, interest)) = self.waits_for() else { return false };
        let left = deadline.saturating_duration_since(Instant::now());
        let flags = if interest == Interest::Readable { PollFlags::IN } else { PollFlags::OUT };
        let limit = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        !left.is_zero() && matches!(poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&limit)), Ok(1..))
    }
}

#[cfg(test)]
mod tests;
