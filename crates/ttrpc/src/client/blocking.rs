use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use gantry_types::ErrorKind;
use prost::Message;

use super::{Calls, Options, RequestError};
use crate::{Code, Status};

/// How long a server may take to read a request. Past it, the connection ends: a part of it may be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The server refused.
    #[error("{service}/{method}")]
    Status {
        /// The service called.
        service: String,
        /// The method called.
        method: String,
        /// What the server said.
        source: Status,
    },
    /// The call was not sent.
    #[error("cannot call {method}")]
    Request {
        /// The method called.
        method: String,
        /// What is wrong with it.
        source: RequestError,
    },
    /// The request could not be written.
    #[error("cannot write the call of {method}")]
    Write {
        /// The method called.
        method: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection ended before the answer came.
    #[error("the connection ended before the answer to {method}")]
    Closed {
        /// The method called.
        method: String,
    },
    /// The caller's time limit passed.
    #[error("no answer to {method} within {timeout:?}")]
    Timeout {
        /// The method called.
        method: String,
        /// The limit.
        timeout: Duration,
    },
    /// The answer is not the method's message.
    #[error("unreadable answer to {method}")]
    Answer {
        /// The method called.
        method: String,
        /// What is wrong with it.
        source: prost::DecodeError,
    },
}

impl CallError {
    /// What went wrong, in our words.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Status { source, .. } => source.kind(),
            Self::Request { source, .. } => source.kind(),
            Self::Write { .. } | Self::Closed { .. } => ErrorKind::Unavailable,
            Self::Timeout { .. } => ErrorKind::DeadlineExceeded,
            Self::Answer { .. } => ErrorKind::Internal,
        }
    }

    /// What the server said, if it was the server that refused.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Status { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A connection to a server. Its clones share it, and any of their threads may call at the same time; the last one ends it.
#[derive(Debug, Clone)]
pub struct Client {
    end: Arc<End>,
}

/// Ends the connection, which ends the thread that reads.
#[derive(Debug)]
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[derive(Debug)]
struct Shared {
    stream: UnixStream,
    state: Mutex<State>,
    /// Held from the choice of a stream until the request is written: streams must reach the server in their order. It is
    /// taken before `state`, which nobody holds while he writes, so that answers are read meanwhile.
    writing: Mutex<()>,
}

type Outcome = Result<Vec<u8>, Status>;

#[derive(Debug, Default)]
struct State {
    calls: Calls,
    callers: HashMap<u32, SyncSender<Outcome>>,
    ended: bool,
}

impl Client {
    /// Connects to a socket.
    ///
    /// # Errors
    /// When nobody serves it.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Self::new(UnixStream::connect(path)?)
    }

    /// A client on a connection.
    ///
    /// # Errors
    /// When the thread that reads from it cannot be made.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let shared = Arc::new(Shared { stream, state: Mutex::default(), writing: Mutex::default() });
        let reader = Arc::clone(&shared);
        thread::Builder::new().name("ttrpc-client".into()).spawn(move || reader.read())?;
        Ok(Self { end: Arc::new(End(shared)) })
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    /// When the server refuses or the connection ends.
    pub fn call<A, B>(&self, service: &str, method: &str, request: &A) -> Result<B, CallError>
    where
        A: Message,
        B: Message + Default,
    {
        self.call_with(service, method, request, &Options::default())
    }

    /// The same with a time limit and metadata.
    ///
    /// # Errors
    /// When the server refuses, the connection ends, or the limit passes.
    pub fn call_with<A, B>(
        &self,
        service: &str,
        method: &str,
        request: &A,
        options: &Options,
    ) -> Result<B, CallError>
    where
        A: Message,
        B: Message + Default,
    {
        let answer = self.call_encoded(service, method, request.encode_to_vec(), options)?;
        B::decode(&*answer).map_err(|source| CallError::Answer { method: method.to_owned(), source })
    }

    /// The same with messages in their encoding.
    ///
    /// # Errors
    /// When the server refuses, the connection ends, or the limit passes.
    pub fn call_encoded(
        &self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
        options: &Options,
    ) -> Result<Vec<u8>, CallError> {
        let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let (sender, receiver) = sync_channel(1);
        let shared = &self.end.0;
        let stream = shared.send(service, method, payload, options, sender)?;
        let ended = |_| CallError::Closed { method: method.to_owned() };
        let outcome = match deadline {
            None => receiver.recv().map_err(ended)?,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                receiver.recv_timeout(left).map_err(|error| match error {
                    RecvTimeoutError::Disconnected => CallError::Closed { method: method.to_owned() },
                    RecvTimeoutError::Timeout => {
                        shared.give_up(stream);
                        let timeout = options.timeout.unwrap_or_default();
                        CallError::Timeout { method: method.to_owned(), timeout }
                    }
                })?
            }
        };
        outcome.map_err(|source| CallError::Status {
            service: service.to_owned(),
            method: method.to_owned(),
            source,
        })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(
        &self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
        options: &Options,
        caller: SyncSender<Outcome>,
    ) -> Result<u32, CallError> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        if state.ended {
            return Err(CallError::Closed { method: method.to_owned() });
        }
        let stream = state
            .calls
            .call_encoded(service, method, payload, options)
            .map_err(|source| CallError::Request { method: method.to_owned(), source })?;
        state.callers.insert(stream, caller);
        let request = state.calls.take_output();
        drop(state);
        let written = (&self.stream).write_all(&request);
        drop(writing);
        if let Err(source) = written {
            self.end();
            let method = method.to_owned();
            // The server may have ended the connection after its last answer: the reader is who knows.
            return Err(match source.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => CallError::Closed { method },
                _ => CallError::Write { method, source },
            });
        }
        Ok(stream)
    }

    fn give_up(&self, stream: u32) {
        let mut state = self.state();
        state.calls.forget(stream);
        state.callers.remove(&stream);
    }

    fn end(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        let mut state = self.state();
        state.ended = true;
        // Who waits sees that nobody will answer.
        state.callers.clear();
    }

    fn read(&self) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = match (&self.stream).read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => 0,
            };
            if length == 0 {
                return self.end();
            }
            let mut input = &buffer[..length];
            let mut state = self.state();
            while let Some(answer) = state.calls.receive(&mut input) {
                if let Some(caller) = state.callers.remove(&answer.stream) {
                    // He may have given up just now.
                    let _ = caller.try_send(answer.result);
                }
            }
        }
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Status { source, .. } => source,
            other => Self::new(Code::from(other.kind()), other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
