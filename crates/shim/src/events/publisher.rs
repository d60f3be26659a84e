use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gantry_proto_shim::forward::{FORWARD, ForwardRequest, SERVICE};
use gantry_sys::Errno;
use gantry_ttrpc::client::{Calls, Options};
use gantry_types::ErrorKind;
use rustix::event::epoll;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::watch::Watch;
use super::{Journal, JournalError};

/// How long the daemon may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a daemon is tried that does not answer.
const MAX_TRIES: u32 = 10;
/// The pause after the first failure; each one is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// How often to try when the kernel has no watch left for the socket's appearance.
const UNWATCHED_PAUSE: Duration = Duration::from_secs(60);
/// How many answers are taken at once: the loop has others to serve.
const ROUNDS: u32 = 32;
/// The key of an event's pod and number, by which a daemon can tell that it has seen it.
const METADATA: &str = "gantry-event";

/// Why a publisher cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublisherError {
    /// The kernel gave no descriptor.
    #[error("cannot make an epoll instance")]
    Epoll(#[source] Errno),
    /// The path is too long for a socket.
    #[error("{0} is no address of a socket")]
    Address(PathBuf),
}

impl PublisherError {
    /// What went wrong, in our words.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Epoll(_) => ErrorKind::ResourceExhausted,
            Self::Address(_) => ErrorKind::InvalidArgument,
        }
    }
}

/// Sends a journal's events to the daemon: one at a time, in order, until it answers.
///
/// What it waits for is behind one descriptor, an epoll of its own.
#[derive(Debug)]
pub struct Publisher {
    /// The pod's hash.
    pod: String,
    /// None if there is no daemon.
    daemon: Option<(PathBuf, SocketAddrUnix)>,
    epoll: OwnedFd,
    watch: Option<Watch>,
    state: State,
    /// Whether the descriptor was readable.
    is_ready: bool,
    /// Failures since the last answer.
    tries: u32,
    /// How often the event that is the next was refused.
    refusals: u32,
    refused: u64,
}

#[derive(Debug)]
enum State {
    /// Not connected, and free to try.
    Resting,
    Connected(Connection),
    /// Tries again at some time.
    Pausing(Instant),
    /// Tries no more by itself.
    Dormant,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    calls: Calls,
    /// The event on its way.
    sent: Option<Sent>,
    /// Whether the daemon has ever answered on it.
    is_proven: bool,
    /// Whether room for writing is waited for.
    is_full: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    stream: u32,
    sequence: u64,
    until: Instant,
}

/// How a connection went.
enum Outcome {
    /// It waits for the daemon, or for events.
    Waiting,
    /// It is of no use any more.
    Lost,
    /// The daemon answers, but does not take the event.
    Refused { sequence: u64, for_good: bool },
}

impl Publisher {
    /// A publisher that has not tried yet.
    ///
    /// # Errors
    /// When the path cannot be one of a socket, or the kernel has no descriptor.
    pub fn new(pod: String, daemon: Option<&Path>) -> Result<Self, PublisherError> {
        let address = |path: &Path| match SocketAddrUnix::new(path) {
            Ok(address) => Ok((path.to_owned(), address)),
            Err(_) => Err(PublisherError::Address(path.to_owned())),
        };
        Ok(Self {
            pod,
            daemon: daemon.map(address).transpose()?,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(PublisherError::Epoll)?,
            watch: None,
            state: State::Resting,
            is_ready: false,
            tries: 0,
            refusals: 0,
            refused: 0,
        })
    }

    /// The descriptor to watch for reading; always the same one.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Says that the descriptor is readable.
    pub fn ready(&mut self) {
        self.is_ready = true;
    }

    /// Says that there is one more event. A daemon that was given up is tried once.
    pub fn poke(&mut self) {
        if matches!(self.state, State::Dormant) {
            self.state = State::Resting;
            self.tries = MAX_TRIES - 1;
        }
    }

    /// Says that the daemon may be there. It is tried at once, and as often as at first.
    pub fn kick(&mut self) {
        self.tries = 0;
        if matches!(self.state, State::Pausing(_) | State::Dormant) {
            self.state = State::Resting;
        }
    }

    /// When to drive again though nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Pausing(until) => Some(*until),
            State::Connected(Connection { sent: Some(sent), .. }) => Some(sent.until),
            State::Connected(_) | State::Resting | State::Dormant => None,
        }
    }

    /// Whether nobody takes events.
    pub fn has_given_up(&self) -> bool {
        self.daemon.is_none() || matches!(self.state, State::Dormant)
    }

    /// How many events the daemon refused for good.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Sends what can be sent now, and takes the answers that are there.
    ///
    /// # Errors
    /// When the journal fails.
    pub fn drive(&mut self, journal: &mut Journal, now: Instant) -> Result<(), JournalError> {
        let is_ready = std::mem::take(&mut self.is_ready);
        if is_ready && self.watch.as_mut().is_some_and(Watch::fired) {
            self.kick();
        }
        loop {
            match &mut self.state {
                State::Dormant => return Ok(()),
                State::Pausing(until) if now < *until => return Ok(()),
                State::Connected(connection) if !is_ready && !connection.has_work(journal, now) => {
                    return Ok(());
                }
                State::Connected(_) => match self.converse(journal, now)? {
                    Outcome::Waiting => return Ok(()),
                    outcome => self.lost(outcome, journal, now)?,
                },
                State::Resting | State::Pausing(_) if journal.waiting() == 0 => {
                    self.rest();
                    return Ok(());
                }
                State::Resting | State::Pausing(_) => self.connect(now),
            }
        }
    }

    fn connect(&mut self, now: Instant) {
        let Some((_, address)) = &self.daemon else {
            self.state = State::Dormant;
            return;
        };
        match connect(address) {
            Ok(socket) => {
                let data = epoll::EventData::new_u64(0);
                if epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN).is_ok() {
                    self.state = State::Connected(Connection::new(socket));
                } else {
                    self.fail(now);
                }
            }
            Err(_) => self.fail(now),
        }
    }

    fn converse(&mut self, journal: &mut Journal, now: Instant) -> Result<Outcome, JournalError> {
        let State::Connected(connection) = &mut self.state else { return Ok(Outcome::Lost) };
        for _ in 0..ROUNDS {
            let answered = match connection.receive() {
                Ok(answered) => answered,
                Err(outcome) => return Ok(outcome),
            };
            if let Some(sequence) = answered {
                (self.refusals, self.tries) = (0, 0);
                connection.is_proven = true;
                disarm(&self.epoll, &mut self.watch);
                journal.acknowledge(sequence)?;
            }
            if connection.send_next(&self.pod, journal, now)?.is_none() {
                return Ok(Outcome::Lost);
            }
            if answered.is_none() {
                break;
            }
        }
        if connection.sent.is_some_and(|sent| sent.until <= now) {
            return Ok(Outcome::Lost);
        }
        connection.watch_for_room(&self.epoll);
        Ok(Outcome::Waiting)
    }

    /// Ends the connection, and thinks about what its end means.
    fn lost(&mut self, outcome: Outcome, journal: &mut Journal, now: Instant) -> Result<(), JournalError> {
        let State::Connected(connection) = std::mem::replace(&mut self.state, State::Resting) else {
            return Ok(());
        };
        // A worker may hold it for a moment longer than we do: closing alone would leave it in the epoll.
        let _ = epoll::delete(&self.epoll, &connection.socket);
        if let Outcome::Refused { sequence, for_good } = outcome {
            self.refusals += 1;
            if for_good || self.refusals >= MAX_TRIES {
                self.refused += 1;
                (self.refusals, self.tries) = (0, 0);
                return journal.acknowledge(sequence);
            }
        }
        // A daemon that ends while nothing is asked of it is no failure.
        if connection.sent.is_some() || !connection.is_proven || self.refusals > 0 {
            self.fail(now);
        }
        Ok(())
    }

    fn fail(&mut self, now: Instant) {
        self.tries += 1;
        if self.watch.is_none() {
            self.arm();
        }
        self.state = match self.watch {
            _ if self.tries < MAX_TRIES => {
                let pause = FIRST_PAUSE.saturating_mul(1 << (self.tries - 1).min(16));
                State::Pausing(now + pause.min(LAST_PAUSE))
            }
            Some(_) => State::Dormant,
            None => State::Pausing(now + UNWATCHED_PAUSE),
        };
    }

    fn arm(&mut self) {
        let Some((path, _)) = &self.daemon else { return };
        // There may be none left on this machine: then we try from time to time.
        let Ok(watch) = Watch::new(path) else { return };
        let data = epoll::EventData::new_u64(1);
        if epoll::add(&self.epoll, &watch, data, epoll::EventFlags::IN).is_ok() {
            self.watch = Some(watch);
        }
    }

    fn rest(&mut self) {
        self.state = State::Resting;
        self.tries = 0;
        disarm(&self.epoll, &mut self.watch);
    }
}

impl Connection {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, calls: Calls::new(), sent: None, is_proven: false, is_full: false }
    }

    fn has_work(&self, journal: &Journal, now: Instant) -> bool {
        match self.sent {
            None => journal.waiting() > 0,
            Some(sent) => sent.until <= now,
        }
    }

    /// Takes one answer, if it is there: the event that is acknowledged.
    fn receive(&mut self) -> Result<Option<u64>, Outcome> {
        let mut buffer = [0; 4096];
        loop {
            let length = match rustix::net::recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Outcome::Lost),
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(None),
                Err(_) => return Err(Outcome::Lost),
            };
            let mut input = &buffer[..length];
            let mut acknowledged = None;
            while let Some(answer) = self.calls.receive(&mut input) {
                let Some(sent) = self.sent.take_if(|sent| sent.stream == answer.stream) else { continue };
                match answer.result {
                    Ok(_) => acknowledged = Some(sent.sequence),
                    Err(status) => {
                        let for_good = status.kind() == ErrorKind::InvalidArgument;
                        return Err(Outcome::Refused { sequence: sent.sequence, for_good });
                    }
                }
            }
            if acknowledged.is_some() {
                return Ok(acknowledged);
            }
        }
    }

    /// Sends the next event if none is on its way, and what is left of the last one. None when the connection is broken.
    fn send_next(&mut self, pod: &str, journal: &Journal, now: Instant) -> Result<Option<()>, JournalError> {
        if self.sent.is_none()
            && let Some(event) = journal.first()?
        {
            let sequence = event.sequence;
            let options =
                Options::default().timeout(ANSWER_TIMEOUT).metadata(METADATA, format!("{pod}/{sequence}"));
            let request = ForwardRequest::around(&event.envelope);
            let Ok(stream) = self.calls.call_encoded(SERVICE, FORWARD, request, &options) else {
                // A connection has two thousand million calls.
                return Ok(None);
            };
            self.sent = Some(Sent { stream, sequence, until: now + ANSWER_TIMEOUT });
        }
        while !self.calls.output().is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, self.calls.output(), flags) {
                Ok(length) => self.calls.consume(length),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(()))
    }

    fn watch_for_room(&mut self, epoll: &OwnedFd) {
        let is_full = !self.calls.output().is_empty();
        if is_full != self.is_full {
            let room = if is_full { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(0);
            // The answer's time limit ends a connection that is not heard of.
            let _ = epoll::modify(epoll, &self.socket, data, epoll::EventFlags::IN | room);
            self.is_full = is_full;
        }
    }
}

fn disarm(epoll: &OwnedFd, watch: &mut Option<Watch>) {
    if let Some(watch) = watch.take() {
        // As with a connection, closing alone may be too late.
        let _ = epoll::delete(epoll, &watch);
    }
}

/// A connection, without waiting: connect(2) on a local socket succeeds or fails at once, `EAGAIN` being a full queue.
fn connect(address: &SocketAddrUnix) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
