//! Records on their way to another daemon: syslog's, or systemd's journal.
//!
//! Nothing here waits: neither for a name to be resolved, which a child does, nor for a connection, nor for a peer that reads
//! slowly. What cannot be sent yet is kept, as much as for a file that cannot be written; then a container waits, or what
//! comes is dropped, counted, and named in the log.

mod journald;
mod resolve;
mod syslog;
mod transport;

use std::os::fd::BorrowedFd;

use gantry_sys::Errno;

use crate::compress::Process;
use crate::driver::{Journald, Mode, Syslog};
use crate::escape::Sink;
use crate::local::Pieces;
use crate::records::Records;
use crate::{Ending, Error, Stream, Timestamp};
pub use transport::Interest;
use transport::Transport;

/// As much is sent before more is taken.
const SEND_BYTES: usize = 128 << 10;
/// A message's length, before it in the queue.
const LENGTH_BYTES: usize = 4;

/// What is known of a piece of output.
#[derive(Debug, Clone, Copy)]
struct Piece<'a> {
    stream: Stream,
    content: &'a [u8],
    ending: Ending,
    time: Timestamp,
    /// What the pieces of its line have in common.
    pieces: Option<&'a Pieces>,
}

#[derive(Debug)]
enum Encoder {
    Syslog(syslog::Encoder),
    Journald(journald::Encoder),
}

/// The messages that wait for a peer, and the way to it.
#[derive(Debug)]
pub(crate) struct Remote {
    encoder: Encoder,
    mode: Mode,
    queue: Records,
    message: Vec<u8>,
    /// How much of the first message a stream has taken.
    sent: usize,
    transport: Transport,
    failure: Option<Errno>,
    pieces: [Option<Pieces>; 2],
    dropped: u64,
    /// Of those, the ones that the log does not tell of yet.
    untold: u64,
}

impl Remote {
    pub(crate) fn syslog(driver: &Syslog, process: Process) -> Result<Self, Error> {
        let transport = Transport::syslog(&driver.address, process);
        Self::new(Encoder::Syslog(syslog::Encoder::new(driver)), driver.mode, transport)
    }

    pub(crate) fn journald(driver: &Journald) -> Result<Self, Error> {
        let transport = Transport::journal(&driver.socket);
        Self::new(Encoder::Journald(journald::Encoder::new(driver)), driver.mode, transport)
    }

    fn new(encoder: Encoder, mode: Mode, transport: Transport) -> Result<Self, Error> {
        Ok(Self {
            encoder,
            mode,
            queue: Records::new().map_err(Error::Memory)?,
            message: Vec::new(),
            sent: 0,
            transport,
            failure: None,
            pieces: [None; 2],
            dropped: 0,
            untold: 0,
        })
    }

    /// Takes a piece, unless it is for the container to wait.
    pub(crate) fn push(&mut self, stream: Stream, content: &[u8], ending: Ending, now: Timestamp) -> bool {
        if self.queue.len() >= SEND_BYTES && self.failure.is_none() {
            self.send();
        }
        if self.queue.is_full() && self.mode == Mode::Blocking {
            return false;
        }
        self.push_last(stream, content, ending, now);
        true
    }

    /// Takes a piece, or drops it.
    pub(crate) fn push_last(&mut self, stream: Stream, content: &[u8], ending: Ending, now: Timestamp) {
        let pieces = Pieces::next(self.pieces[stream as usize], ending, now);
        self.pieces[stream as usize] = pieces.filter(|_| ending == Ending::Cut);
        let has_room =
            if self.mode == Mode::Blocking { self.queue.has_room() } else { !self.queue.is_full() };
        if !has_room {
            let bytes = content.len() as u64 + u64::from(ending == Ending::Line);
            self.dropped += bytes;
            self.untold += bytes;
            return;
        }
        let time = pieces.map_or(now, |pieces| pieces.since);
        self.enqueue(&Piece { stream, content, ending, time, pieces: pieces.as_ref() });
    }

    fn enqueue(&mut self, piece: &Piece<'_>) {
        self.message.clear();
        match &mut self.encoder {
            Encoder::Syslog(encoder) => encoder.encode(piece, &mut self.message),
            Encoder::Journald(encoder) => encoder.encode(piece, &mut self.message),
        }
        // Records of the queue are far shorter.
        self.queue.push(&(self.message.len() as u32).to_ne_bytes());
        self.queue.push(&self.message);
    }

    /// Sends what waits, as far as that goes at once.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.failure = None;
        self.send();
        if self.untold > 0 && self.failure.is_none() {
            let count = std::mem::take(&mut self.untold);
            let text = crate::writer::told(count);
            let now = Timestamp::now();
            let content = text.as_bytes();
            self.enqueue(&Piece {
                stream: Stream::Stderr,
                content,
                ending: Ending::Line,
                time: now,
                pieces: None,
            });
            self.send();
        }
        let address = || self.transport.to_string();
        self.failure.map_or(Ok(()), |errno| Err(Error::Remote { address: address(), errno }))
    }

    fn send(&mut self) {
        let queue = self.queue.bytes();
        let mut at = 0;
        while let Some(length) = queue[at..].first_chunk::<LENGTH_BYTES>() {
            let from = at + LENGTH_BYTES;
            let to = from + u32::from_ne_bytes(*length) as usize;
            match self.transport.send(&queue[from + self.sent..to], self.sent == 0) {
                Ok(sent) if from + self.sent + sent < to => self.sent += sent,
                Ok(_) => {
                    at = to;
                    self.sent = 0;
                }
                // No peer takes it, however often it is sent.
                Err(Errno::MSGSIZE) => {
                    self.dropped += (to - from) as u64;
                    self.untold += (to - from) as u64;
                    at = to;
                }
                Err(errno) => {
                    if !self.transport.is_connected() {
                        // The next peer gets the message from its start.
                        self.sent = 0;
                    }
                    self.failure = Some(errno);
                    break;
                }
            }
        }
        if at > 0 {
            self.queue.consume(at);
        }
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failure.is_some()
    }

    /// Whether it is for the container to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.is_failing() && self.mode == Mode::Blocking && self.queue.is_full()
    }

    pub(crate) fn backlog_bytes(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn dropped_bytes(&self) -> u64 {
        self.dropped
    }

    /// What to wait for before the next attempt, if waiting helps.
    pub(crate) fn waits_for(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        self.failure.and_then(|_| self.transport.waits_for())
    }

    pub(crate) fn relax(&mut self) {
        self.queue.relax();
        self.message = Vec::new();
    }
}

#[cfg(test)]
mod tests;
