//! One stream of output: from a pipe or a terminal's master to a FIFO, a log and attached clients.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use gantry_sys::path::FdPath;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read, write};
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};

use super::log::Log;
use super::{BUFFER_BYTES, Place};
use crate::streams::attach::{Client, frame};
use crate::streams::poller::{EventFlags, Part, Watched};
use crate::streams::queue::Queue;

/// What is read at once for a FIFO: as much as it holds.
const FIFO_BYTES: usize = 64 << 10;
/// The size of a pipe through which much comes.
const FLOODED_PIPE_BYTES: usize = 256 << 10;
/// How often a stream is read before the others have their turn.
const TURNS: usize = 4;

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There may be more to read.
    Ready,
    /// There was nothing to read.
    Empty,
    /// What was read has no place yet.
    Blocked,
    /// There will never be anything to read.
    Ended,
}

#[derive(Debug)]
pub(super) struct Output {
    number: usize,
    source: Option<Watched>,
    terminal: bool,
    fifo: Option<Watched>,
    /// The FIFO for reading, after the end.
    kept: Option<OwnedFd>,
    /// What was read for the FIFO and did not fit.
    pending: Queue,
    /// Whether the last read was of as much as there can be.
    flooded: bool,
    widened: bool,
    pub(super) state: State,
}

/// Whom output goes to beside the FIFO.
pub(super) struct Takers<'a> {
    pub(super) log: Option<&'a mut Log>,
    pub(super) clients: &'a mut [Option<Client>],
    /// Whether slow clients are waited for.
    pub(super) patient: bool,
}

impl Output {
    pub(super) fn new(
        number: usize,
        source: Option<Rc<OwnedFd>>,
        fifo: Option<Rc<OwnedFd>>,
        terminal: bool,
        place: &Place,
    ) -> Self {
        let part = number as u16;
        let state = if source.is_some() { State::Ready } else { State::Ended };
        Self {
            number,
            source: source.map(|fd| place.watch(fd, Part::Source(part))),
            terminal,
            fifo: fifo.map(|fd| place.watch(fd, Part::Fifo(part))),
            kept: None,
            pending: Queue::new(BUFFER_BYTES),
            flooded: false,
            widened: false,
            state,
        }
    }

    /// Whether the end was reached and everything has gone to the FIFO.
    pub(super) fn is_drained(&self) -> bool {
        self.state == State::Ended && self.pending.is_empty()
    }

    pub(super) fn backlog_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Leaves what there is where it is.
    pub(super) fn hold(&mut self) {
        if self.state != State::Ended {
            self.state = State::Blocked;
        }
        self.arm();
    }

    /// Moves what there is, as far as it has a place.
    pub(super) fn pump(&mut self, buffer: &mut [u8], takers: &mut Takers<'_>) {
        self.flush();
        for _ in 0..TURNS {
            let full = takers.patient
                && takers.clients.iter().flatten().any(|client| self.is_for(client) && client.is_full());
            let blocked = full || takers.log.as_ref().is_some_and(|log| log.is_blocked(self.number));
            if !self.pending.is_empty() || blocked {
                if self.state != State::Ended {
                    self.state = State::Blocked;
                }
                break;
            }
            match self.turn(buffer, takers) {
                Ok(true) => self.state = State::Ready,
                Ok(false) | Err(Errno::AGAIN) => {
                    self.state = if self.pending.is_empty() { State::Empty } else { State::Blocked };
                    break;
                }
                Err(Errno::INTR) => {}
                // The end of a pipe; of a terminal that nobody has open any more; or a broken one.
                Err(_) => {
                    self.end(takers);
                    break;
                }
            }
        }
        self.arm();
    }

    /// Reads once: whether there may be more. `EIO` at the end.
    fn turn(&mut self, buffer: &mut [u8], takers: &mut Takers<'_>) -> Result<bool, Errno> {
        let Some(source) = &self.source else { return Err(Errno::IO) };
        let alone =
            takers.log.is_none() && !takers.clients.iter().flatten().any(|client| self.is_for(client));
        if self.flooded
            && alone
            && let Some(fifo) = &self.fifo
        {
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            // Whichever of the two has no room or no bytes is found out by reading.
            self.flooded = matches!(splice(source, None, fifo, None, FLOODED_PIPE_BYTES, flags), Ok(1..));
            return Ok(true);
        }
        let limit = if self.fifo.is_some() { FIFO_BYTES } else { buffer.len() };
        let (len, end) = if self.terminal {
            // A terminal gives little at a time.
            read_much(source, &mut buffer[..limit])
        } else {
            match read(source, &mut buffer[..limit])? {
                0 => (0, Some(Errno::IO)),
                len => (len, None),
            }
        };
        self.give(&buffer[..len], takers);
        self.flooded = !self.terminal && len >= FIFO_BYTES;
        if self.flooded && !self.widened {
            self.widen();
        }
        match end {
            Some(errno) => Err(errno),
            // A pipe that gave less is empty.
            None => Ok(len == limit),
        }
    }

    fn is_for(&self, client: &Client) -> bool {
        if self.number == 0 { client.wants.stdout } else { client.wants.stderr }
    }

    fn give(&mut self, bytes: &[u8], takers: &mut Takers<'_>) {
        if bytes.is_empty() {
            return;
        }
        if let Some(log) = &mut takers.log {
            log.write(self.number, bytes);
        }
        let stream = if self.number == 0 { frame::STDOUT } else { frame::STDERR };
        for client in takers.clients.iter_mut().flatten() {
            if self.is_for(client) {
                client.send(stream, bytes);
            }
        }
        if self.fifo.is_some() {
            // The queue is empty, and as long as what is read.
            let _ = self.pending.push(bytes);
            self.flush();
        }
    }

    /// Writes what waits for the FIFO.
    fn flush(&mut self) {
        while !self.pending.is_empty() {
            let Some(fifo) = &self.fifo else { return self.pending.clear() };
            match write(fifo, self.pending.bytes()) {
                Ok(len) => self.pending.consume(len),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // Nobody will read it.
                Err(_) => self.fifo = None,
            }
        }
    }

    fn end(&mut self, takers: &mut Takers<'_>) {
        if self.state != State::Ended
            && let Some(log) = &mut takers.log
        {
            log.end(self.number);
        }
        self.source = None;
        self.state = State::Ended;
    }

    fn arm(&mut self) {
        let blocked = self.state == State::Blocked;
        let reads = if blocked { EventFlags::empty() } else { EventFlags::IN };
        let writes = if self.pending.is_empty() { EventFlags::empty() } else { EventFlags::OUT };
        if let Some(source) = &mut self.source {
            let _ = source.arm(reads);
        }
        if self.is_drained()
            && let Some(fifo) = self.fifo.take()
        {
            // A client sees the end when nobody has it open for writing any more; one who comes late finds what is in it
            // as long as somebody has it open.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            self.kept = openat(CWD, FdPath::new(fifo.as_fd()).as_cstr(), flags, Mode::empty()).ok();
        }
        if let Some(fifo) = &mut self.fifo {
            let _ = fifo.arm(writes);
        }
    }

    /// Gives a pipe more room, so that it takes fewer turns. There is a limit for users without privileges.
    fn widen(&mut self) {
        self.widened = true;
        for fd in [self.source.as_ref(), self.fifo.as_ref()].into_iter().flatten() {
            let _ = fcntl_setpipe_size(fd, FLOODED_PIPE_BYTES);
        }
    }
}

/// Reads until there is nothing left: how much, and the end if it was reached.
fn read_much(source: &Watched, buffer: &mut [u8]) -> (usize, Option<Errno>) {
    let mut len = 0;
    while len < buffer.len() {
        match read(source, &mut buffer[len..]) {
            Ok(0) => return (len, Some(Errno::IO)),
            Ok(more) => len += more,
            Err(Errno::INTR) => {}
            Err(errno) => return (len, Some(errno)),
        }
    }
    (len, None)
}
