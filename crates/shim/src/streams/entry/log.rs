//! The log of an entry.

use std::rc::Rc;
use std::time::{Duration, Instant};

use gantry_logs::{Driver, Error, Interest, LogWriter, Process, Stream, Timestamp};
use rustix::io::Errno;

use super::Place;
use crate::streams::poller::{EventFlags, Part, Watched};
use crate::streams::queue::Queue;

/// The first pause after a write that did not succeed; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// A log, and the output that a blocking one has not taken yet.
#[derive(Debug)]
pub(super) struct Log {
    writer: LogWriter,
    held: [Queue; 2],
    retry: Option<(Instant, Duration)>,
    compression: Option<Watched>,
    /// The way to another daemon, while it has no room.
    socket: Option<Watched>,
    place: Place,
}

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

impl Log {
    pub(super) fn open(driver: &Driver, place: &Place) -> Result<Self, Error> {
        let writer = LogWriter::open(driver, Process::SingleThreaded)?;
        let held = [(); 2].map(|()| Queue::new(super::BUFFER_BYTES));
        let mut log =
            Self { writer, held, retry: None, compression: None, socket: None, place: place.clone() };
        log.watch_compression();
        Ok(log)
    }

    /// Whether nothing of this stream may be read for now.
    pub(super) fn is_blocked(&self, stream: usize) -> bool {
        !self.held[stream].is_empty()
    }

    /// Takes output that was read when the stream was not blocked.
    pub(super) fn write(&mut self, stream: usize, bytes: &[u8]) {
        let taken = self.writer.write(STREAMS[stream], bytes, Timestamp::now());
        // As much was read as is held at most.
        let _ = self.held[stream].push(&bytes[taken..]);
    }

    /// The stream has ended.
    pub(super) fn end(&mut self, stream: usize) {
        self.writer.end(STREAMS[stream], Timestamp::now());
    }

    /// Writes what has come, unless that is waiting for better times.
    pub(super) fn flush(&mut self) {
        if self.retry.is_none() {
            if self.writer.flush().is_err() {
                self.retry = Some((Instant::now() + FIRST_PAUSE, FIRST_PAUSE));
                self.watch_socket();
            }
        } else {
            self.writer.flush_cache();
        }
        self.watch_compression();
    }

    /// Another daemon has room, or can be reached: the attempt is due now.
    pub(super) fn ready(&mut self) {
        self.socket = None;
        if self.retry.is_some() {
            self.retry = Some((Instant::now(), FIRST_PAUSE / 2));
            self.retry();
        }
    }

    /// When the next attempt is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retry.map(|(at, _)| at)
    }

    /// Makes the attempt that is due.
    pub(super) fn retry(&mut self) {
        let Some((at, pause)) = self.retry else { return };
        let now = Instant::now();
        if now < at {
            return;
        }
        let mut failed = self.writer.flush().is_err();
        for (held, stream) in self.held.iter_mut().zip(STREAMS) {
            while !failed && !held.is_empty() {
                let taken = self.writer.write(stream, held.bytes(), Timestamp::now());
                held.consume(taken);
                failed = self.writer.flush().is_err();
            }
        }
        let pause = (pause * 2).min(LAST_PAUSE);
        self.retry = failed.then(|| (now + pause, pause));
        self.watch_socket();
        self.watch_compression();
    }

    /// Whether every byte is in the file.
    pub(super) fn is_settled(&self) -> bool {
        self.retry.is_none() && self.held.iter().all(Queue::is_empty)
    }

    pub(super) fn reopen(&mut self) -> Result<(), Error> {
        self.writer.reopen()?;
        // Perhaps on another disk.
        if let Some((at, _)) = &mut self.retry {
            *at = Instant::now();
        }
        self.retry();
        Ok(())
    }

    /// A compression has ended.
    pub(super) fn settle(&mut self) {
        self.compression = None;
        self.writer.settle();
        self.watch_compression();
    }

    pub(super) fn backlog_bytes(&self) -> usize {
        self.writer.backlog_bytes() + self.held.iter().map(Queue::len).sum::<usize>()
    }

    pub(super) fn dropped_bytes(&self) -> u64 {
        self.writer.dropped_bytes()
    }

    pub(super) fn relax(&mut self) {
        self.writer.relax();
    }

    /// Writes what can be written, and ends.
    pub(super) fn close(mut self) {
        (self.compression, self.socket) = (None, None);
        for (held, stream) in self.held.iter().zip(STREAMS) {
            self.writer.write(stream, held.bytes(), Timestamp::now());
        }
        let _ = self.writer.close();
    }

    fn watch_socket(&mut self) {
        self.socket = None;
        let Some((fd, interest)) = self.writer.waits_for() else { return };
        let flags = if interest == Interest::Readable { EventFlags::IN } else { EventFlags::OUT };
        // Of one's own, since the writer closes the other when it gives the connection up.
        let watched = fd.try_clone_to_owned().map_err(|_| Errno::MFILE).and_then(|fd| {
            let mut watched = self.place.watch(Rc::new(fd), Part::LogSocket);
            watched.arm(flags).map(|()| watched)
        });
        // Without it, the attempt is made after its pause.
        self.socket = watched.ok();
    }

    fn watch_compression(&mut self) {
        if self.compression.is_some() {
            return;
        }
        let Some(pidfd) = self.writer.compression() else { return };
        let watched = pidfd.try_clone_to_owned().map_err(|_| Errno::MFILE).and_then(|pidfd| {
            let mut watched = self.place.watch(Rc::new(pidfd), Part::Compression);
            watched.arm(EventFlags::IN).map(|()| watched)
        });
        // Without it, the next rotation finds what has ended.
        self.compression = watched.ok();
    }
}
