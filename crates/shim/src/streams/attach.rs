//! Attached clients: one line of JSON each way, then frames.
//!
//! ```text
//! client ─► {"version":1,"id":ID,"exec":EXEC?,"stdin":BOOL,"stdout":BOOL,"stderr":BOOL}\n
//!        ◄─ {"version":1,"terminal":BOOL}\n  or  {"version":1,"error":TEXT}\n
//! then      u8 stream, u24 length (big endian), bytes
//!           0 input (length 0: its end)   1 output   2 error output
//!           3 the exit, {"exit_status":N}   4 resize, u16 columns, u16 rows
//! ```

use std::io::IoSlice;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::{Errno, read, writev};
use rustix::net::{RecvFlags, recv};
use serde::{Deserialize, Serialize};

use super::entry::BUFFER_BYTES;
use super::poller::{EventFlags, Watched};
use super::protocol::{Key, Wants};
use super::queue::Queue;

/// The version of the attach protocol.
const VERSION: u32 = 1;
/// What a client may leave unread before the process has to wait for it.
const FULL_BYTES: usize = 1 << 20;
/// What was read of each stream when it was not full yet, and the exit.
const MAX_BACKLOG_BYTES: usize = FULL_BYTES + 2 * BUFFER_BYTES + 4096;
/// How long the process waits for a client that reads nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest greeting.
const MAX_GREETING_BYTES: usize = 4096;
/// A frame's stream and length.
const HEADER_BYTES: usize = 4;

/// The streams of frames.
pub(super) mod frame {
    pub(in crate::streams) const STDIN: u8 = 0;
    pub(in crate::streams) const STDOUT: u8 = 1;
    pub(in crate::streams) const STDERR: u8 = 2;
    pub(in crate::streams) const EXIT: u8 = 3;
    pub(in crate::streams) const RESIZE: u8 = 4;
}

#[derive(Deserialize)]
struct Hello {
    version: u32,
    #[serde(flatten)]
    key: Key,
    #[serde(flatten)]
    wants: Wants,
}

#[derive(Serialize)]
struct Welcome<'a> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminal: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// A client that has not said what it wants.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) fd: Watched,
    text: Vec<u8>,
}

/// What came of reading a greeting.
pub(super) enum Greeted {
    /// More is to come.
    NotYet,
    /// This is wanted.
    Wants(Key, Wants),
    /// The client is gone, or is told why it has to go.
    Gone,
}

impl Greeting {
    pub(super) fn new(mut fd: Watched) -> Result<Self, Errno> {
        fd.arm(EventFlags::IN)?;
        Ok(Self { fd, text: Vec::new() })
    }

    /// Reads up to the end of the line and no further: what follows is for whoever serves the client.
    pub(super) fn read(&mut self) -> Greeted {
        let mut bytes = [0u8; MAX_GREETING_BYTES];
        let seen = match recv(&self.fd, &mut bytes, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => return Greeted::NotYet,
            Err(_) | Ok((0, _)) => return Greeted::Gone,
            Ok((len, _)) => &bytes[..len],
        };
        let end = seen.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(seen.len(), |at| at + 1);
        // The same bytes again, now for good.
        if !matches!(read(&self.fd, &mut bytes[..taken]), Ok(len) if len == taken) {
            return Greeted::Gone;
        }
        self.text.extend_from_slice(&bytes[..taken]);
        if self.text.len() > MAX_GREETING_BYTES {
            return self.refuse("the greeting is too long");
        }
        if end.is_none() {
            return Greeted::NotYet;
        }
        match serde_json::from_slice::<Hello>(&self.text) {
            Ok(hello) if hello.version != VERSION => self.refuse("this version is not served: 1 is"),
            Ok(hello) => Greeted::Wants(hello.key, hello.wants),
            Err(_) => self.refuse("the greeting is not understood"),
        }
    }

    fn refuse(&self, error: &str) -> Greeted {
        refuse(&self.fd, error);
        Greeted::Gone
    }
}

/// Tells a client why it is not served. It has read nothing yet, so there is room.
pub(super) fn refuse(client: &impl AsFd, error: &str) {
    let _ = welcome(client, None, Some(error));
}

fn welcome(client: &impl AsFd, terminal: Option<bool>, error: Option<&str>) -> Result<(), Errno> {
    let mut line = serde_json::to_vec(&Welcome { version: VERSION, terminal, error }).unwrap_or_default();
    line.push(b'\n');
    let written = rustix::io::write(client, &line)?;
    if written == line.len() { Ok(()) } else { Err(Errno::AGAIN) }
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent<'a> {
    /// Input.
    Stdin(&'a [u8]),
    /// The end of input.
    StdinEnd,
    /// A new size of the terminal.
    Resize {
        /// In characters.
        columns: u16,
        /// In characters.
        rows: u16,
    },
}

/// A client that is served.
#[derive(Debug)]
pub(super) struct Client {
    fd: Watched,
    pub(super) wants: Wants,
    frames: Frames,
    backlog: Queue,
    /// Since when it has read nothing, with a full backlog.
    stalled: Option<Instant>,
    /// Whether it is gone, or has to go.
    dead: bool,
    /// Whether it goes when it has read everything.
    finishing: bool,
}

impl Client {
    pub(super) fn new(mut fd: Watched, wants: Wants, terminal: bool) -> Result<Self, Errno> {
        welcome(&fd, Some(terminal), None)?;
        fd.arm(EventFlags::IN)?;
        let backlog = Queue::new(MAX_BACKLOG_BYTES);
        Ok(Self {
            fd,
            wants,
            frames: Frames::default(),
            backlog,
            stalled: None,
            dead: false,
            finishing: false,
        })
    }

    pub(super) fn is_gone(&self) -> bool {
        self.dead || self.finishing && self.backlog.is_empty()
    }

    pub(super) fn backlog_bytes(&self) -> usize {
        self.backlog.len()
    }

    /// Lets the client go when it has read what is on its way, or nothing for some time.
    pub(super) fn finish(&mut self) {
        self.finishing = true;
        self.stalled.get_or_insert_with(Instant::now);
    }

    /// Whether the process has to wait for the client.
    pub(super) fn is_full(&self) -> bool {
        !self.dead && self.backlog.len() >= FULL_BYTES
    }

    /// When the process has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.stalled.map(|since| since + PATIENCE)
    }

    /// Gives a client up for which the process has waited long enough.
    pub(super) fn cut_off(&mut self, now: Instant) {
        self.dead |= self.deadline().is_some_and(|at| at <= now);
    }

    /// Sends a frame, or keeps what does not fit in the socket.
    pub(super) fn send(&mut self, stream: u8, bytes: &[u8]) {
        let [_, high, middle, low] = (bytes.len() as u32).to_be_bytes();
        let header = [stream, high, middle, low];
        let mut sent = 0;
        if self.backlog.is_empty() {
            match writev(&self.fd, &[IoSlice::new(&header), IoSlice::new(bytes)]) {
                Ok(len) => sent = len,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return self.dead = true,
            }
        }
        let body = bytes.get(sent.saturating_sub(HEADER_BYTES)..).unwrap_or_default();
        let kept =
            self.backlog.push(header.get(sent..).unwrap_or_default()).and_then(|()| self.backlog.push(body));
        self.dead |= kept.is_err();
        if self.is_full() {
            self.stalled.get_or_insert_with(Instant::now);
        }
    }

    /// Writes what was kept.
    pub(super) fn flush(&mut self) {
        while !self.backlog.is_empty() {
            match rustix::io::write(&self.fd, self.backlog.bytes()) {
                Ok(len) => {
                    self.backlog.consume(len);
                    self.stalled = (self.is_full() || self.finishing).then(Instant::now);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return self.dead = true,
            }
        }
    }

    /// Reads once, and gives what was sent to `take`.
    pub(super) fn read(&mut self, buffer: &mut [u8], take: impl FnMut(Sent<'_>)) {
        match read(&self.fd, &mut *buffer) {
            Ok(0) => self.dead = true,
            Ok(len) => self.dead |= !self.frames.push(&buffer[..len], self.wants.stdin, take),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.dead = true,
        }
    }

    /// Goes on with a client whose entry is gone: whether it is to be waited for.
    pub(super) fn see_off(&mut self) -> bool {
        self.finish();
        self.flush();
        self.cut_off(Instant::now());
        let flags = if self.is_gone() { EventFlags::empty() } else { EventFlags::OUT };
        self.dead |= self.fd.arm(flags).is_err();
        !self.is_gone()
    }

    /// Waits for room if something waits for it, and for input unless the process takes none for now.
    pub(super) fn arm(&mut self, input_waits: bool) {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, !(input_waits && self.wants.stdin));
        flags.set(EventFlags::OUT, !self.backlog.is_empty());
        self.dead |= self.fd.arm(flags).is_err();
    }
}

/// The frames of a client, as far as they have come.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; HEADER_BYTES],
    /// How much of the header is known.
    known: usize,
    /// How much of the body is to come.
    left: usize,
    size: Vec<u8>,
}

impl Frames {
    /// Takes bytes apart; false for what a client may not send.
    fn push(&mut self, mut bytes: &[u8], writer: bool, mut take: impl FnMut(Sent<'_>)) -> bool {
        while !bytes.is_empty() {
            if self.known < HEADER_BYTES {
                let part = bytes.len().min(HEADER_BYTES - self.known);
                self.header[self.known..self.known + part].copy_from_slice(&bytes[..part]);
                self.known += part;
                bytes = &bytes[part..];
                if self.known < HEADER_BYTES {
                    return true;
                }
                let [stream, high, middle, low] = self.header;
                self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
                match (stream, self.left) {
                    (frame::STDIN, _) if !writer => return false,
                    (frame::STDIN, 0) => take(Sent::StdinEnd),
                    (frame::STDIN, _) | (frame::RESIZE, 4) => {}
                    _ => return false,
                }
            }
            let (body, rest) = bytes.split_at(bytes.len().min(self.left));
            self.left -= body.len();
            bytes = rest;
            if self.header[0] == frame::STDIN {
                if !body.is_empty() {
                    take(Sent::Stdin(body));
                }
            } else {
                self.size.extend_from_slice(body);
                if let [a, b, c, d] = self.size[..] {
                    let (columns, rows) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                    take(Sent::Resize { columns, rows });
                    self.size.clear();
                }
            }
            if self.left == 0 {
                self.known = 0;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_apart_wherever_they_are_cut() {
        let bytes = b"\0\0\0\x03abc\x04\0\0\x04\0\x50\0\x18\0\0\0\x01d\0\0\0\0";
        for step in 1..=bytes.len() {
            let (mut frames, mut input, mut events) = (Frames::default(), Vec::new(), Vec::new());
            for part in bytes.chunks(step) {
                assert!(frames.push(part, true, |sent| match sent {
                    Sent::Stdin(bytes) => input.extend_from_slice(bytes),
                    other => events.push(format!("{other:?}")),
                }));
            }
            assert_eq!(input, b"abcd");
            assert_eq!(events, ["Resize { columns: 80, rows: 24 }", "StdinEnd"]);
        }
    }

    #[test]
    fn what_a_client_may_not_send_is_refused() {
        for (bytes, writer) in [(b"\0\0\0\x01", false), (b"\x01\0\0\x01", true), (b"\x04\0\0\x05", true)] {
            assert!(!Frames::default().push(bytes, writer, |_| {}));
        }
    }
}
