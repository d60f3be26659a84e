//! Frames: a header of ten bytes, and a payload.
use std::borrow::Cow;

/// The longest payload, as every implementation has it.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// The length of a header.
pub const HEADER_BYTES: usize = 10;
/// How much is set aside for a payload before its bytes come: a header alone shall cost nothing.
const FIRST_BYTES: usize = 4096;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one frame of a client's in a call.
    Request,
    /// The one frame of a server's in a call.
    Response,
    /// A part of a stream.
    Data,
    /// Of a later version: to be ignored.
    Unknown(u8),
}

impl From<u8> for Kind {
    fn from(byte: u8) -> Self {
        match byte {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Data,
            other => Self::Unknown(other),
        }
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Request => 1,
            Kind::Response => 2,
            Kind::Data => 3,
            Kind::Unknown(other) => other,
        }
    }
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The payload's length in bytes.
    pub length: u32,
    /// The call that it belongs to.
    pub stream: u32,
    /// What it is.
    pub kind: Kind,
    /// Bits of streaming methods.
    pub flags: u8,
}

impl Header {
    /// The header as it is sent.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.length.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.stream.to_be_bytes());
        bytes[8] = self.kind.into();
        bytes[9] = self.flags;
        bytes
    }

    /// The header that was sent.
    pub fn from_bytes(bytes: [u8; HEADER_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, kind, flags] = bytes;
        let (length, stream) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        Self { length, stream, kind: kind.into(), flags }
    }

    fn is_oversized(self) -> bool {
        self.length as usize > MAX_MESSAGE_BYTES
    }
}

/// What a [`Decoder`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole frame.
    Frame(Header, Cow<'a, [u8]>),
    /// The header of a frame that is too long; its payload is skipped as it comes.
    Oversized(Header),
}

/// Cuts bytes into frames. Holds one incomplete frame at most, and nothing between two.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
}

#[derive(Debug)]
enum State {
    Header { bytes: [u8; HEADER_BYTES], filled: usize },
    Payload { header: Header, bytes: Vec<u8> },
    Skipping { left: usize },
}

impl Default for State {
    fn default() -> Self {
        Self::Header { bytes: [0; HEADER_BYTES], filled: 0 }
    }
}

impl Decoder {
    /// A decoder at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a frame has begun that is not complete.
    pub fn is_within_frame(&self) -> bool {
        !matches!(self.state, State::Header { filled: 0, .. })
    }

    /// Takes bytes from the front of `input` up to the end of a frame; nothing if all were taken and none is complete.
    ///
    /// A frame that lies in `input` as a whole is not copied.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Option<Decoded<'a>> {
        loop {
            match &mut self.state {
                State::Header { bytes, filled } => {
                    let part = take(input, HEADER_BYTES - *filled);
                    bytes[*filled..*filled + part.len()].copy_from_slice(part);
                    *filled += part.len();
                    if *filled < HEADER_BYTES {
                        return None;
                    }
                    let header = Header::from_bytes(*bytes);
                    if let Some(decoded) = self.begin(header, input) {
                        return Some(decoded);
                    }
                }
                State::Payload { header, bytes } => {
                    bytes.extend_from_slice(take(input, header.length as usize - bytes.len()));
                    if bytes.len() < header.length as usize {
                        return None;
                    }
                    let frame = Decoded::Frame(*header, Cow::Owned(std::mem::take(bytes)));
                    self.state = State::default();
                    return Some(frame);
                }
                State::Skipping { left } => {
                    *left -= take(input, *left).len();
                    if *left > 0 {
                        return None;
                    }
                    self.state = State::default();
                }
            }
        }
    }

    fn begin<'a>(&mut self, header: Header, input: &mut &'a [u8]) -> Option<Decoded<'a>> {
        let length = header.length as usize;
        if header.is_oversized() {
            self.state = State::Skipping { left: length };
            return Some(Decoded::Oversized(header));
        }
        if input.len() >= length {
            self.state = State::default();
            return Some(Decoded::Frame(header, Cow::Borrowed(take(input, length))));
        }
        self.state = State::Payload { header, bytes: Vec::with_capacity(length.min(FIRST_BYTES)) };
        None
    }
}

/// At most `length` bytes from the front.
fn take<'a>(input: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (part, rest) = input.split_at(length.min(input.len()));
    *input = rest;
    part
}

#[cfg(test)]
mod tests;
