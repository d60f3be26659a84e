use std::time::Duration;

use prost::Message;

use crate::frame::{Decoded, Decoder, HEADER_BYTES, Header, Kind, MAX_MESSAGE_BYTES};
use crate::message::{KeyValue, Request, Response};
use crate::output::{Output, TooLong};
use crate::{Code, Status};

/// How many calls of a connection may wait for their answers. A daemon waits for each process of a pod at once.
pub const MAX_CALLS: usize = 16 * 1024;
/// With this much unread, a client is not listened to; see [`Connection::accepts_input`].
pub const PAUSE_BYTES: usize = 256 * 1024;
/// With this much unread, a client is given up; see [`Connection::is_overrun`].
pub const MAX_OUTPUT_BYTES: usize = 16 << 20;

/// A call that waits for its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Where the answer goes, for [`Connection::respond`].
    pub stream: u32,
    /// The full name of the service.
    pub service: String,
    /// The name of the method.
    pub method: String,
    /// The method's message.
    pub payload: Vec<u8>,
    /// After what time the caller gives up.
    pub timeout: Option<Duration>,
    /// What goes with the call beside its message.
    pub metadata: Vec<KeyValue>,
}

impl Call {
    /// The method's message.
    ///
    /// # Errors
    /// The status that Go's server has for one that cannot be decoded.
    pub fn message<M: Message + Default>(&self) -> Result<M, Status> {
        let broken = |error| Status::new(Code::Internal, format!("error unmarshalling payload: {error}"));
        M::decode(&*self.payload).map_err(broken)
    }

    /// The first value of a key of the metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str())
    }

    /// The status for a service that is not here.
    pub fn unknown_service(&self) -> Status {
        Status::new(Code::Unimplemented, format!("service {}", self.service))
    }

    /// The status for a method that the service lacks.
    pub fn unknown_method(&self) -> Status {
        Status::new(Code::Unimplemented, format!("method {}", self.method))
    }
}

/// A connection between two programs that serve it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspended {
    /// The stream of the client's last call.
    pub last_stream: u32,
    /// The streams of the calls that have no answer yet.
    pub waiting: Vec<u32>,
}

/// One client's connection, without its socket.
///
/// Whoever owns the socket gives what he reads to [`receive`](Self::receive), and writes [`output`](Self::output).
#[derive(Debug, Default)]
pub struct Connection {
    decoder: Decoder,
    /// Calls without an answer; they come in growing order.
    waiting: Vec<u32>,
    last_stream: u32,
    output: Output,
}

impl Connection {
    /// A connection at its start.
    pub fn new() -> Self {
        Self::default()
    }

    /// What another program needs to go on with the connection; nothing while a frame is on its way in or out.
    pub fn suspend(&self) -> Option<Suspended> {
        let still = !self.decoder.is_within_frame() && self.output.bytes().is_empty();
        still.then(|| Suspended { last_stream: self.last_stream, waiting: self.waiting.clone() })
    }

    /// Goes on with a connection that another program had.
    pub fn resume(suspended: Suspended) -> Self {
        let Suspended { last_stream, mut waiting } = suspended;
        waiting.sort_unstable();
        Self { last_stream, waiting, ..Self::default() }
    }

    /// Takes bytes from the front of `input` up to the end of a call; nothing if all were taken and none is complete.
    ///
    /// What breaks the protocol is answered here. Frames of kinds that this version has not are ignored.
    pub fn receive(&mut self, input: &mut &[u8]) -> Option<Call> {
        while let Some(decoded) = self.decoder.decode(input) {
            let accepted = match &decoded {
                Decoded::Frame(header, payload) => self.accept(*header, payload),
                Decoded::Oversized(header) => Err(oversized(header.length as usize)),
            };
            let (Decoded::Frame(header, _) | Decoded::Oversized(header)) = decoded;
            match accepted {
                Ok(Some(call)) => return Some(call),
                Ok(None) => {}
                Err(status) => self.refuse(header.stream, &status),
            }
        }
        None
    }

    fn accept(&mut self, header: Header, payload: &[u8]) -> Result<Option<Call>, Status> {
        let invalid = |text: &str| Err(Status::new(Code::InvalidArgument, text));
        let stream = header.stream;
        if stream.is_multiple_of(2) {
            return invalid("StreamID must be odd for client initiated streams");
        }
        match header.kind {
            Kind::Request if stream <= self.last_stream => {
                invalid("StreamID cannot be re-used and must increment")
            }
            Kind::Request => {
                self.last_stream = stream;
                let request = Request::decode(payload).map_err(|error| {
                    Status::new(Code::InvalidArgument, format!("unmarshal request error: {error}"))
                })?;
                if self.waiting.len() >= MAX_CALLS {
                    let text = format!("more than {MAX_CALLS} calls at a time");
                    return Err(Status::new(Code::ResourceExhausted, text));
                }
                self.waiting.push(stream);
                Ok(Some(call(stream, request)))
            }
            // No method here has a stream: the call's answer is its end.
            Kind::Data if self.waiting.binary_search(&stream).is_ok() => Ok(None),
            Kind::Data => invalid("StreamID is no longer active"),
            Kind::Response | Kind::Unknown(_) => Ok(None),
        }
    }

    /// Answers on a stream that has no call, so that its sender sees which it was. A call's answer is never taken away.
    fn refuse(&mut self, stream: u32, status: &Status) {
        if self.waiting.binary_search(&stream).is_err() {
            self.fail(stream, status);
        }
    }

    /// Answers a call. A stream without a call, or with an answer, is left as it is.
    ///
    /// Bytes that are encoded already go through [`respond_encoded`](Self::respond_encoded): to prost, a `Vec<u8>` is
    /// another message.
    pub fn respond<M: Message>(&mut self, stream: u32, answer: Result<M, Status>) {
        if !self.settle(stream) {
            return;
        }
        let sent = match answer {
            Ok(message) => self.output.payload(stream, message.encoded_len(), |bytes| {
                message.encode(bytes).expect("a Vec has room for everything");
            }),
            Err(status) => return self.fail(stream, &status),
        };
        self.or_too_long(stream, sent);
    }

    /// Answers a call with a message that is encoded already.
    pub fn respond_encoded(&mut self, stream: u32, answer: Result<&[u8], Status>) {
        if !self.settle(stream) {
            return;
        }
        let sent = match answer {
            Ok(payload) => {
                self.output.payload(stream, payload.len(), |bytes| bytes.extend_from_slice(payload))
            }
            Err(status) => return self.fail(stream, &status),
        };
        self.or_too_long(stream, sent);
    }

    /// Whether the stream waits for an answer, and one can be given; it waits no longer.
    fn settle(&mut self, stream: u32) -> bool {
        let Ok(index) = self.waiting.binary_search(&stream) else { return false };
        self.waiting.remove(index);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
        !self.is_overrun()
    }

    fn fail(&mut self, stream: u32, status: &Status) {
        let response = Response { status: Some(status.clone()), payload: Vec::new() };
        let sent = self.output.message(stream, Kind::Response, &response);
        self.or_too_long(stream, sent);
    }

    fn or_too_long(&mut self, stream: u32, sent: Result<(), TooLong>) {
        if let Err(TooLong(length)) = sent {
            let response = Response { status: Some(oversized(length)), payload: Vec::new() };
            let sent = self.output.message(stream, Kind::Response, &response);
            sent.expect("a short message fits");
        }
    }

    /// How many calls wait for their answers.
    pub fn calls(&self) -> usize {
        self.waiting.len()
    }

    /// Whether to read from the socket: not while the client reads nothing itself.
    pub fn accepts_input(&self) -> bool {
        self.output.bytes().len() < PAUSE_BYTES
    }

    /// Whether the client left so much unread that answers are dropped; the connection is to be closed.
    pub fn is_overrun(&self) -> bool {
        self.output.bytes().len() > MAX_OUTPUT_BYTES
    }

    /// What is to be written to the socket.
    pub fn output(&self) -> &[u8] {
        self.output.bytes()
    }

    /// Says that so many bytes of [`output`](Self::output) were written. The last of them frees the buffer.
    ///
    /// # Panics
    /// When there are not as many.
    pub fn consume(&mut self, length: usize) {
        self.output.consume(length);
    }

    /// The most bytes that a call takes on the wire: no input buffer need be longer.
    pub const MAX_FRAME_BYTES: usize = HEADER_BYTES + MAX_MESSAGE_BYTES;
}

fn call(stream: u32, request: Request) -> Call {
    let Request { service, method, payload, timeout_nano, metadata } = request;
    // A time that has passed is none, and no time is for ever.
    let timeout = (timeout_nano != 0).then(|| Duration::from_nanos(timeout_nano.max(0).cast_unsigned()));
    Call { stream, service, method, payload, timeout, metadata }
}

fn oversized(length: usize) -> Status {
    let text = format!("message length {length} exceed maximum message size of {MAX_MESSAGE_BYTES}");
    Status::new(Code::ResourceExhausted, text)
}

#[cfg(test)]
mod tests;
