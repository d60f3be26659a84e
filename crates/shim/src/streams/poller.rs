//! What a loop waits for: epoll(7).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

pub(super) use rustix::event::epoll::EventFlags;

/// Whose event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// A slot's number, or none.
    pub(super) slot: u32,
    /// What of it.
    pub(super) part: Part,
}

/// What becomes ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The connection to whoever gives orders.
    Control,
    /// The socket for new shims.
    Listener,
    /// The socket for attached clients.
    Attach,
    /// A client that has not said yet what it wants.
    Greeting(u16),
    /// Output of a container's process.
    Source(u16),
    /// A FIFO for output.
    Fifo(u16),
    /// A FIFO for input.
    StdinFifo,
    /// What takes a process's input.
    StdinSink,
    /// An attached client.
    Client(u16),
    /// A compression.
    Compression,
    /// The way to a daemon that takes a log.
    LogSocket,
    /// The connection to a log writer.
    Writer,
    /// The process of a log writer.
    WriterExit,
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, number) = match self.part {
            Part::Control => (0u64, 0),
            Part::Listener => (1, 0),
            Part::Attach => (2, 0),
            Part::Greeting(number) => (3, number),
            Part::Source(number) => (4, number),
            Part::Fifo(number) => (5, number),
            Part::StdinFifo => (6, 0),
            Part::StdinSink => (7, 0),
            Part::Client(number) => (8, number),
            Part::Compression => (9, 0),
            Part::Writer => (10, 0),
            Part::WriterExit => (11, 0),
            Part::LogSocket => (12, 0),
        };
        u64::from(self.slot) << 32 | kind << 16 | u64::from(number)
    }

    fn unpack(data: u64) -> Option<Self> {
        let number = data as u16;
        let part = match data >> 16 & 0xffff {
            0 => Part::Control,
            1 => Part::Listener,
            2 => Part::Attach,
            3 => Part::Greeting(number),
            4 => Part::Source(number),
            5 => Part::Fifo(number),
            6 => Part::StdinFifo,
            7 => Part::StdinSink,
            8 => Part::Client(number),
            9 => Part::Compression,
            10 => Part::Writer,
            11 => Part::WriterExit,
            12 => Part::LogSocket,
            _ => return None,
        };
        Some(Self { slot: (data >> 32) as u32, part })
    }
}

/// An epoll that everything watched shares.
#[derive(Debug, Clone)]
pub(super) struct Poller(Rc<OwnedFd>);

impl Poller {
    pub(super) fn new() -> Result<Self, Errno> {
        epoll::create(epoll::CreateFlags::CLOEXEC).map(|fd| Self(Rc::new(fd)))
    }

    /// Waits until something is ready, or for `limit`.
    pub(super) fn wait(&self, events: &mut Vec<epoll::Event>, limit: Option<Duration>) -> Result<(), Errno> {
        let limit = limit
            .map(|limit| Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() });
        events.clear();
        match epoll::wait(&*self.0, spare_capacity(events), limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

/// The events' tokens.
pub(super) fn tokens(events: &[epoll::Event]) -> Vec<Token> {
    events.iter().filter_map(|event| Token::unpack({ event.data }.u64())).collect()
}

/// A descriptor that is waited for, for as long as it is wanted.
#[derive(Debug)]
pub(super) struct Watched {
    fd: Rc<OwnedFd>,
    poller: Poller,
    token: Token,
    armed: EventFlags,
}

impl Watched {
    /// Waits for nothing yet.
    pub(super) fn new(poller: &Poller, fd: Rc<OwnedFd>, token: Token) -> Self {
        Self { fd, poller: poller.clone(), token, armed: EventFlags::empty() }
    }

    /// Waits for `flags` and no other. For none, the descriptor is taken out: a hang-up would be reported all the same.
    pub(super) fn arm(&mut self, flags: EventFlags) -> Result<(), Errno> {
        if flags == self.armed {
            return Ok(());
        }
        let data = epoll::EventData::new_u64(self.token.pack());
        if flags.is_empty() {
            epoll::delete(&*self.poller.0, &*self.fd)?;
        } else if self.armed.is_empty() {
            epoll::add(&*self.poller.0, &*self.fd, data, flags)?;
        } else {
            epoll::modify(&*self.poller.0, &*self.fd, data, flags)?;
        }
        self.armed = flags;
        Ok(())
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Others hold the same open file, for which epoll would go on reporting.
        let _ = self.arm(EventFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for part in
            [Part::Control, Part::Greeting(7), Part::Source(1), Part::Client(u16::MAX), Part::LogSocket]
        {
            for slot in [0, 3, u32::MAX] {
                let token = Token { slot, part };
                assert_eq!(Token::unpack(token.pack()), Some(token));
            }
        }
        assert_eq!(Token::unpack(99 << 16), None);
    }
}
