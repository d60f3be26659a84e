use std::time::Duration;

use gantry_types::ErrorKind;
use prost::Message;

use crate::frame::{Decoded, Decoder, Header, Kind, MAX_MESSAGE_BYTES};
use crate::message::{KeyValue, Request, Response};
use crate::output::{Output, TooLong};
use crate::{Code, Status};

/// What goes with a call beside its message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// After what time the caller gives up.
    pub timeout: Option<Duration>,
    /// Keys and their values.
    pub metadata: Vec<KeyValue>,
}

impl Options {
    /// The same with a time limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The same with one more value of metadata.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push(KeyValue { key: key.into(), value: value.into() });
        self
    }
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Whose answer it is.
    pub stream: u32,
    /// The method's message, or why there is none.
    pub result: Result<Vec<u8>, Status>,
}

/// Why a call was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request is longer than a frame may be.
    #[error("request of {0} bytes is longer than {MAX_MESSAGE_BYTES}")]
    TooLong(usize),
    /// The connection has had all the calls that it can have; another one is needed.
    #[error("no stream is left on this connection")]
    NoStream,
}

impl RequestError {
    /// What went wrong, in our words.
    pub fn kind(self) -> ErrorKind {
        match self {
            Self::TooLong(_) => ErrorKind::ResourceExhausted,
            Self::NoStream => ErrorKind::Unavailable,
        }
    }
}

/// The calls of one connection, without its socket.
///
/// Whoever owns the socket writes [`output`](Self::output), and gives what he reads to [`receive`](Self::receive).
#[derive(Debug, Default)]
pub struct Calls {
    decoder: Decoder,
    /// Calls without an answer, in growing order.
    waiting: Vec<u32>,
    /// The last stream that was used; 0 for none.
    last_stream: u32,
    output: Output,
}

impl Calls {
    /// A connection at its start.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a call to the output, and tells which answer will be its own.
    ///
    /// # Errors
    /// When the request is too long, or the connection is used up; nothing is sent then.
    pub fn call<M: Message>(
        &mut self,
        service: &str,
        method: &str,
        message: &M,
        options: &Options,
    ) -> Result<u32, RequestError> {
        self.call_encoded(service, method, message.encode_to_vec(), options)
    }

    /// The same with a message that is encoded already.
    ///
    /// # Errors
    /// As those of [`call`](Self::call).
    pub fn call_encoded(
        &mut self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
        options: &Options,
    ) -> Result<u32, RequestError> {
        let stream = match self.last_stream {
            0 => 1,
            last => last.checked_add(2).ok_or(RequestError::NoStream)?,
        };
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload,
            timeout_nano: options.timeout.map_or(0, nanoseconds),
            metadata: options.metadata.clone(),
        };
        let sent = self.output.message(stream, Kind::Request, &request);
        sent.map_err(|TooLong(length)| RequestError::TooLong(length))?;
        self.last_stream = stream;
        self.waiting.push(stream);
        Ok(stream)
    }

    /// Takes bytes from the front of `input` up to the end of an answer; nothing if all were taken and none is complete.
    ///
    /// Frames that belong to no call are ignored: their caller has given up.
    pub fn receive(&mut self, input: &mut &[u8]) -> Option<Answer> {
        while let Some(decoded) = self.decoder.decode(input) {
            let (header, result) = match decoded {
                Decoded::Frame(header, payload) => (header, answer(header, &payload)),
                Decoded::Oversized(header) => {
                    let text =
                        format!("answer of {} bytes is longer than {MAX_MESSAGE_BYTES}", header.length);
                    (header, Err(Status::new(Code::ResourceExhausted, text)))
                }
            };
            if !matches!(header.kind, Kind::Unknown(_)) && self.forget(header.stream) {
                return Some(Answer { stream: header.stream, result });
            }
        }
        None
    }

    /// Gives a call up; whether it waited.
    pub fn forget(&mut self, stream: u32) -> bool {
        let Ok(index) = self.waiting.binary_search(&stream) else { return false };
        self.waiting.remove(index);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
        true
    }

    /// How many calls wait for their answers.
    pub fn calls(&self) -> usize {
        self.waiting.len()
    }

    /// What is to be written to the socket.
    pub fn output(&self) -> &[u8] {
        self.output.bytes()
    }

    /// Takes what is to be written to the socket.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.output.take()
    }

    /// Says that so many bytes of [`output`](Self::output) were written. The last of them frees the buffer.
    ///
    /// # Panics
    /// When there are not as many.
    pub fn consume(&mut self, length: usize) {
        self.output.consume(length);
    }
}

fn answer(header: Header, payload: &[u8]) -> Result<Vec<u8>, Status> {
    if header.kind != Kind::Response {
        return Err(Status::new(Code::Internal, format!("unexpected frame: {:?}", header.kind)));
    }
    let response = Response::decode(payload)
        .map_err(|error| Status::new(Code::Internal, format!("unreadable response: {error}")))?;
    match response.status {
        Some(status) if status.code != Code::Ok as i32 => Err(status),
        _ => Ok(response.payload),
    }
}

fn nanoseconds(timeout: Duration) -> i64 {
    // 0 would be for ever.
    i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX).max(1)
}
