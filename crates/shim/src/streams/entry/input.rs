//! Input: from a FIFO and an attached client to a pipe or a terminal's master.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::io::{Errno, read, write};

use super::{BUFFER_BYTES, Place};
use crate::streams::poller::{EventFlags, Part, Watched};
use crate::streams::queue::Queue;

/// What is read at once.
const READ_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Input {
    fifo: Option<Watched>,
    /// The other end of the FIFO, as long as there may be another client.
    hold: Option<Rc<OwnedFd>>,
    sink: Option<Watched>,
    terminal: bool,
    pending: Queue,
    /// Whether the sink is closed when everything is written.
    ending: bool,
    /// Whether it was closed since anybody asked.
    closed: bool,
}

impl Input {
    pub(super) fn new(
        fifo: Option<Rc<OwnedFd>>,
        hold: Option<Rc<OwnedFd>>,
        sink: Option<Rc<OwnedFd>>,
        terminal: bool,
        place: &Place,
    ) -> Self {
        let mut input = Self {
            fifo: fifo.map(|fd| place.watch(fd, Part::StdinFifo)),
            hold,
            sink: sink.map(|fd| place.watch(fd, Part::StdinSink)),
            terminal,
            pending: Queue::new(BUFFER_BYTES),
            ending: false,
            closed: false,
        };
        input.arm();
        input
    }

    /// What takes the input.
    pub(super) fn sink(&self) -> Option<BorrowedFd<'_>> {
        self.sink.as_ref().map(AsFd::as_fd)
    }

    /// Whether something waits for the process to read.
    pub(super) fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether the sink was closed since the last call.
    pub(super) fn take_closed(&mut self) -> bool {
        std::mem::take(&mut self.closed)
    }

    pub(super) fn backlog_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Moves what there is in the FIFO.
    pub(super) fn pump(&mut self, buffer: &mut [u8]) {
        self.flush();
        if self.pending.is_empty()
            && let Some(fifo) = &self.fifo
        {
            match read(fifo, &mut buffer[..READ_BYTES]) {
                // Every client and the holder are gone.
                Ok(0) => {
                    self.fifo = None;
                    self.end();
                }
                Ok(len) => self.write(&buffer[..len]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.fifo = None,
            }
        }
        self.arm();
    }

    /// Takes input, which waits if the process does not read.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if self.sink.is_some() && self.pending.push(bytes).is_ok() {
            self.flush();
        }
        self.arm();
    }

    /// No further client: what is in the FIFO still goes its way.
    pub(super) fn close(&mut self) {
        self.hold = None;
        if self.fifo.is_none() {
            self.end();
        }
        self.arm();
    }

    /// Ends the input when everything is written. A terminal has no end.
    pub(super) fn end(&mut self) {
        if !self.terminal {
            self.ending = true;
            self.flush();
            self.arm();
        }
    }

    fn flush(&mut self) {
        while !self.pending.is_empty() {
            let Some(sink) = &self.sink else { return self.pending.clear() };
            match write(sink, self.pending.bytes()) {
                Ok(len) => self.pending.consume(len),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The process takes no more: neither should its clients.
                Err(_) => self.shut(),
            }
        }
        if self.ending {
            self.shut();
        }
    }

    fn shut(&mut self) {
        self.closed |= self.sink.is_some();
        (self.sink, self.fifo, self.hold) = (None, None, None);
        self.pending.clear();
    }

    fn arm(&mut self) {
        let waits = self.waits();
        let flags = |wanted: bool, flags| if wanted { flags } else { EventFlags::empty() };
        if let Some(fifo) = &mut self.fifo {
            let _ = fifo.arm(flags(!waits, EventFlags::IN));
        }
        if let Some(sink) = &mut self.sink {
            let _ = sink.arm(flags(waits, EventFlags::OUT));
        }
    }
}
