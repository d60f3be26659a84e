use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, key_len};

use crate::frame::{HEADER_BYTES, Header, Kind, MAX_MESSAGE_BYTES};

/// Bytes that wait to be written; none of it is kept once they are.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    written: usize,
}

/// A message that is longer than a frame may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong(pub(crate) usize);

impl Output {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        let Self { mut bytes, written } = std::mem::take(self);
        bytes.drain(..written);
        bytes
    }

    /// # Panics
    /// When there are not as many.
    pub(crate) fn consume(&mut self, length: usize) {
        assert!(length <= self.bytes().len(), "no more is written than there is");
        self.written += length;
        if self.bytes().is_empty() {
            *self = Self::default();
        }
    }

    /// Appends a frame with a message.
    pub(crate) fn message(&mut self, stream: u32, kind: Kind, message: &impl Message) -> Result<(), TooLong> {
        self.frame(stream, kind, message.encoded_len(), |bytes| {
            message.encode(bytes).expect("a Vec has room for everything");
        })
    }

    /// Appends a response without a status: its payload is the field 2, and goes straight to its place.
    pub(crate) fn payload(
        &mut self,
        stream: u32,
        length: usize,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), TooLong> {
        const FIELD: u32 = 2;
        if length == 0 {
            return self.frame(stream, Kind::Response, 0, |_| {});
        }
        let whole = key_len(FIELD) + prost::length_delimiter_len(length) + length;
        self.frame(stream, Kind::Response, whole, |bytes| {
            encode_key(FIELD, WireType::LengthDelimited, bytes);
            encode_varint(length as u64, bytes);
            encode(bytes);
        })
    }

    fn frame(
        &mut self,
        stream: u32,
        kind: Kind,
        length: usize,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), TooLong> {
        if length > MAX_MESSAGE_BYTES {
            return Err(TooLong(length));
        }
        self.bytes.drain(..std::mem::take(&mut self.written));
        self.bytes.reserve(HEADER_BYTES + length);
        let header = Header { length: length as u32, stream, kind, flags: 0 };
        self.bytes.extend_from_slice(&header.to_bytes());
        let begin = self.bytes.len();
        encode(&mut self.bytes);
        assert_eq!(self.bytes.len() - begin, length, "a message is as long as it says");
        Ok(())
    }
}
