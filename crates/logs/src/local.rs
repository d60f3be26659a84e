//! Records of Docker's `local` driver: `length, message, length`, where the lengths are 32 bits, big endian, and the message
//! is protobuf's (moby `daemon/logger/local` at v20.10.24 and v28.5.2, `api/types/plugins/logdriver/entry.proto`):
//!
//! ```text
//! LogEntry { 1 source: string, 2 time_nano: int64, 3 line: bytes, 4 partial: bool, 5 partial_log_metadata }
//! PartialLogEntryMetadata { 1 last: bool, 2 id: string, 3 ordinal: int32 }
//! ```

use rustix::rand::{GetRandomFlags, getrandom};

use crate::escape::Sink;
use crate::{Ending, Stream, Timestamp};

/// A record's length, before and after it.
pub(crate) const LENGTH_BYTES: usize = 4;
/// The bytes of the name that the pieces of a line have in common, which is written in hexadecimal digits.
const ID_BYTES: usize = 32;

/// A line that goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pieces {
    pub(crate) id: [u8; 2 * ID_BYTES],
    pub(crate) ordinal: u32,
    /// The time of the first piece, which the others get, too.
    pub(crate) since: Timestamp,
}

impl Pieces {
    /// What a piece belongs to, given what the one before it did; a line in one piece belongs to nothing.
    pub(crate) fn next(last: Option<Self>, ending: Ending, now: Timestamp) -> Option<Self> {
        match last {
            Some(last) => Some(Self { ordinal: last.ordinal.saturating_add(1), ..last }),
            None if ending == Ending::Cut => Some(Self { id: new_id(), ordinal: 1, since: now }),
            None => None,
        }
    }
}

fn new_id() -> [u8; 2 * ID_BYTES] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = [0; ID_BYTES];
    // So few bytes are given whole, once the kernel is up. Without them, the name is not unique, and nothing worse.
    let _ = getrandom(&mut bytes, GetRandomFlags::NONBLOCK);
    let mut id = [0; 2 * ID_BYTES];
    for (digits, byte) in id.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]];
    }
    id
}

/// Writes one stream's records.
#[derive(Debug)]
pub(crate) struct Encoder {
    stream: Stream,
    pieces: Option<Pieces>,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, pieces: None, head: Vec::new(), tail: Vec::new() }
    }

    pub(crate) fn push(&mut self, sink: &mut impl Sink, content: &[u8], ending: Ending, now: Timestamp) {
        let pieces = Pieces::next(self.pieces, ending, now);
        self.pieces = pieces.filter(|_| ending == Ending::Cut);
        let time = pieces.map_or(now, |pieces| pieces.since);
        let (seconds, nanoseconds) = time.parts();
        let time = seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.into());

        self.head.clear();
        push_bytes(&mut self.head, 1, self.stream.name().as_bytes());
        push_number(&mut self.head, 2, time as u64);
        // What is empty or zero is left out.
        if !content.is_empty() {
            push_key(&mut self.head, 3, 2);
            push_varint(&mut self.head, content.len() as u64);
        }
        self.tail.clear();
        if let Some(pieces) = pieces {
            let mut metadata = Vec::with_capacity(80);
            if ending == Ending::Line {
                push_number(&mut metadata, 1, 1);
            }
            push_bytes(&mut metadata, 2, &pieces.id);
            push_number(&mut metadata, 3, pieces.ordinal.into());
            push_number(&mut self.tail, 4, 1);
            push_bytes(&mut self.tail, 5, &metadata);
        }
        // A piece is at most a megabyte.
        let length = (self.head.len() + content.len() + self.tail.len()) as u32;
        sink.push(&length.to_be_bytes());
        sink.push(&self.head);
        sink.push(content);
        sink.push(&self.tail);
        sink.push(&length.to_be_bytes());
    }
}

fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn push_key(out: &mut Vec<u8>, field: u64, kind: u64) {
    push_varint(out, field << 3 | kind);
}

fn push_number(out: &mut Vec<u8>, field: u64, number: u64) {
    push_key(out, field, 0);
    push_varint(out, number);
}

fn push_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    push_key(out, field, 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How many of these bytes are whole records.
pub(crate) fn whole_len(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some(next) =
        record_len(&bytes[whole..]).map(|len| whole + len).filter(|next| *next <= bytes.len())
    {
        whole = next;
    }
    whole
}

/// How long the first record is, as far as it can be told.
pub(crate) fn record_len(bytes: &[u8]) -> Option<usize> {
    let length = bytes.first_chunk::<LENGTH_BYTES>()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()?.checked_add(2 * LENGTH_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that dockerd 20.10 and 28.5 write for the same.
    #[test]
    fn records_have_dockers_bytes() {
        let mut encoder = Encoder::new(Stream::Stdout);
        let mut sink = Vec::new();
        let now = Timestamp::new(1_795_958_723, 139_839_333);
        encoder.push(&mut sink, b"out", Ending::Line, now);
        encoder.push(&mut sink, b"", Ending::Line, now);
        let time = b"\x10\xe5\xca\x8e\xe0\x97\xde\xa1\xf6\x18";
        let record = |rest: &[u8]| {
            let body = [b"\n\x06stdout", &time[..], rest].concat();
            let length = (body.len() as u32).to_be_bytes();
            [&length[..], &body, &length].concat()
        };
        assert_eq!(sink, [record(b"\x1a\x03out"), record(b"")].concat());

        sink.clear();
        encoder.push(&mut sink, b"a", Ending::Cut, now);
        encoder.push(&mut sink, b"b", Ending::Line, Timestamp::new(1_795_958_724, 0));
        let at = sink.iter().position(|byte| *byte == b'@').unwrap() + 1;
        let id = sink[at..at + 64].to_vec();
        assert!(id.iter().all(u8::is_ascii_hexdigit));
        let first = record(&[b"\x1a\x01a \x01*D\x12@", &id[..], b"\x18\x01"].concat());
        let second = record(&[b"\x1a\x01b \x01*F\x08\x01\x12@", &id[..], b"\x18\x02"].concat());
        assert_eq!(sink, [&first[..], &second].concat());
        assert_eq!(whole_len(&sink), sink.len());
        assert_eq!(whole_len(&sink[..sink.len() - 1]), first.len());
    }
}
