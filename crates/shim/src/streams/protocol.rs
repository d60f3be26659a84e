//! What the shim and the streams process say to each other.
//!
//! One JSON message per packet of a `SOCK_SEQPACKET` socket, with descriptors beside it (`SCM_RIGHTS`). The shim has one end
//! of a socket pair from the start; a later shim connects to `streams` in the pod's directory, which ends the
//! connection of the one before. Only root and the process's own user are served.
//!
//! ```text
//! shim                                  streams
//!   Hello {version}                ─►                         first, on every connection
//!   Add {key, kind, log, roles} +fds ─►
//!                                  ◄─   Ack {seq}             the log is open, the streams are served
//!   Ended {key, exit_status}       ─►                         attached clients are told
//!                                  ◄─   Drained {key}         at the end of the output, before or after Ended
//!   Remove {key}                   ─►
//!   List                           ─►
//!                                  ◄─   Ack {seq, entries}, then each Entry +fds
//! ```
//!
//! Each request gets an `Ack` or a `Failed` with its number; those for a container with a log come from its log writer,
//! in order for one container, but after others if its disk is slow: wait for none. A shim that leaves so many messages
//! unread that the socket is full is disconnected; what it missed is in `List`.

use std::os::fd::{BorrowedFd, OwnedFd};

use gantry_sys::fdpass;
use gantry_types::ErrorKind;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The version of the protocol.
pub const VERSION: u32 = 1;
/// The longest message: a log's URI may have long attributes.
pub const MAX_MESSAGE_BYTES: usize = 192 << 10;

/// Whose streams they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The container.
    pub id: String,
    /// Its exec; none for its first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<String>,
}

/// What a descriptor is for. Those of pipes and FIFOs have no other reader or writer of the same open file that minds
/// `O_NONBLOCK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The terminal's master.
    Master,
    /// The read end of the process's standard output.
    Stdout,
    /// The read end of its error output.
    Stderr,
    /// The write end of its standard input.
    Stdin,
    /// The client's FIFO for output, open for reading and writing, so that the client may go and come back.
    StdoutFifo,
    /// The same for error output.
    StderrFifo,
    /// The client's FIFO for input, open for reading.
    StdinFifo,
    /// The same, open for writing: there is no end of input before `CloseStdin`.
    StdinHold,
    /// Held and given back, nothing else.
    Held,
}

/// What becomes of an entry's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `Master`; the FIFOs as there are.
    Terminal,
    /// From `Stdout` and `Stderr` to their FIFOs, and from `StdinFifo` to `Stdin`. Output without a FIFO is for attached
    /// clients, and dropped when there is none.
    Pipes,
    /// Nothing is read: the descriptors are kept for the next shim.
    Held,
}

/// An entry to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Add {
    /// Whose.
    pub key: Key,
    /// How.
    pub kind: Kind,
    /// The log's driver, as a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// What the message's descriptors are, in order.
    pub roles: Vec<Role>,
}

/// A request of the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The number of the answer, below 2^32. Those of a former shim are not confused with these.
    pub seq: u64,
    /// What is wanted.
    pub op: Op,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// The first request.
    Hello {
        /// The shim's version of the protocol.
        version: u32,
    },
    /// Serve these streams.
    Add(Add),
    /// There is no more input.
    CloseStdin(Key),
    /// Open the log's path anew.
    Reopen(Key),
    /// The process has ended. What it wrote is still to be read.
    Ended {
        /// Whose.
        key: Key,
        /// Its status.
        exit_status: i32,
    },
    /// Forget the entry: what can be written at once is, and what is in pipes is lost.
    Remove(Key),
    /// Tell every entry, with its descriptors.
    List,
    /// Tell every entry's counters.
    Report,
    /// End.
    Quit,
    /// A client that attaches to a log writer's entry; from the hub alone.
    Attach {
        /// Whose.
        key: Key,
        /// What it wants.
        wants: Wants,
    },
}

/// What an attached client wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wants {
    /// To write.
    #[serde(default)]
    pub stdin: bool,
    /// To read output.
    #[serde(default)]
    pub stdout: bool,
    /// To read error output.
    #[serde(default)]
    pub stderr: bool,
}

/// What the streams process says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Ack {
        /// The request's.
        seq: u64,
        /// Of `List` and `Report`: how many messages follow at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entries: Option<u32>,
    },
    /// It is not done.
    Failed {
        /// The request's.
        seq: u64,
        /// The kind, as [`Failure`] names it.
        kind: Failure,
        /// For a person.
        error: String,
    },
    /// Of `List`: an entry, with its descriptors.
    Entry {
        /// As it was added, without descriptors that were closed since.
        add: Add,
        /// Whether its output has reached its end.
        drained: bool,
        /// The status, once it has ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<i32>,
    },
    /// Of `Report`.
    Counters {
        /// The request's.
        seq: u64,
        /// Whose.
        key: Key,
        /// The bytes that wait for a FIFO, a log or a client.
        backlog_bytes: u64,
        /// The bytes that the log could not take.
        dropped_bytes: u64,
        /// Attached clients.
        clients: u32,
    },
    /// The output has reached its end, and every byte of it its place.
    Drained(Key),
    /// An attached client has ended the input.
    StdinClosed(Key),
    /// A log writer died again and again. The entry is gone.
    Lost {
        /// Whose.
        key: Key,
        /// For a person.
        error: String,
    },
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Failure {
    NotFound,
    AlreadyExists,
    InvalidArgument,
    FailedPrecondition,
    PermissionDenied,
    Unimplemented,
    ResourceExhausted,
    Internal,
}

impl From<ErrorKind> for Failure {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::AlreadyExists => Self::AlreadyExists,
            ErrorKind::InvalidArgument => Self::InvalidArgument,
            ErrorKind::FailedPrecondition => Self::FailedPrecondition,
            ErrorKind::PermissionDenied => Self::PermissionDenied,
            ErrorKind::Unimplemented => Self::Unimplemented,
            ErrorKind::ResourceExhausted => Self::ResourceExhausted,
            _ => Self::Internal,
        }
    }
}

impl From<Failure> for ErrorKind {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound => Self::NotFound,
            Failure::AlreadyExists => Self::AlreadyExists,
            Failure::InvalidArgument => Self::InvalidArgument,
            Failure::FailedPrecondition => Self::FailedPrecondition,
            Failure::PermissionDenied => Self::PermissionDenied,
            Failure::Unimplemented => Self::Unimplemented,
            Failure::ResourceExhausted => Self::ResourceExhausted,
            Failure::Internal => Self::Internal,
        }
    }
}

/// A message that could not be sent or received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The socket. `EAGAIN` when it is non-blocking and there is nothing, or no room.
    #[error("the socket of the streams process")]
    Socket(#[source] Errno),
    /// Not a message of this protocol.
    #[error("a message to or from the streams process")]
    Message(#[source] serde_json::Error),
}

impl ProtocolError {
    /// The error in the words of every door.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Socket(_) => ErrorKind::Unavailable,
            Self::Message(_) => ErrorKind::Internal,
        }
    }
}

/// Sends a [`Request`] or a [`Reply`] with descriptors.
///
/// # Errors
/// See [`ProtocolError`].
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> Result<(), ProtocolError> {
    let bytes = serde_json::to_vec(message).map_err(ProtocolError::Message)?;
    fdpass::send(socket, &bytes, fds).map_err(ProtocolError::Socket)
}

/// Receives a [`Request`] or a [`Reply`] with descriptors; `None` when the peer is gone.
///
/// # Errors
/// See [`ProtocolError`].
pub fn receive<T: for<'de> Deserialize<'de>>(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<Option<(T, Vec<OwnedFd>)>, ProtocolError> {
    let (len, fds) = match fdpass::receive_all(socket, buffer) {
        Err(Errno::CONNRESET) => return Ok(None),
        result => result.map_err(ProtocolError::Socket)?,
    };
    if len == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(&buffer[..len]).map_err(ProtocolError::Message)?;
    Ok(Some((message, fds)))
}
