//! Records as bytes for Docker's clients: each a frame of a multiplexed stream, or as it is for a terminal.

use std::collections::BTreeMap;

use super::{Found, LogCursor};
use crate::{Ending, Error, Timestamp};

/// What is before each frame: the stream, three zeros, and the length.
const HEADER_BYTES: usize = 8;

/// How streams are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `[1 or 2, 0, 0, 0, length of 32 bits, big endian]` before each record.
    Multiplexed,
    /// Not at all.
    Raw,
}

/// How records are written for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frames {
    /// How streams are told apart.
    pub framing: Framing,
    /// Whether the time is before each record, with nine decimals.
    pub timestamps: bool,
    /// Whether the attributes are, as Docker has them: sorted, encoded as in a query.
    pub details: bool,
}

/// How far [`LogCursor::fill`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// As many bytes were asked for.
    Full,
    /// There is nothing more for now: [`LogCursor::wait`] says what to wait for.
    Wait,
    /// There is nothing more.
    End,
}

impl LogCursor {
    /// Appends records to `out` until it has `at_least` bytes. It gets whole ones, so the last may make it longer.
    ///
    /// # Errors
    /// As [`LogCursor::next_step`]; what was appended before is right.
    pub fn fill(&mut self, frames: Frames, out: &mut Vec<u8>, at_least: usize) -> Result<Progress, Error> {
        while out.len() < at_least {
            let raw = match self.find()? {
                Found::Record(raw) => raw,
                Found::Wait => return Ok(Progress::Wait),
                Found::End => return Ok(Progress::End),
            };
            let start = out.len();
            if frames.framing == Framing::Multiplexed {
                out.extend_from_slice(&[raw.stream as u8 + 1, 0, 0, 0, 0, 0, 0, 0]);
            }
            if frames.timestamps {
                self.stamp.push_time(raw.time, out);
            }
            if frames.details {
                self.stamp.push_attrs(self.scanner.attrs(&raw), out);
            }
            self.scanner.push_content(&raw, out);
            if raw.ending == Ending::Line {
                out.push(b'\n');
            }
            if frames.framing == Framing::Multiplexed {
                // No record is as long as that.
                let length = (out.len() - start - HEADER_BYTES) as u32;
                out[start + 4..start + HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
            }
        }
        Ok(Progress::Full)
    }
}

/// What records begin with, of which much is the same for the next.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    seconds: Option<i64>,
    second: Vec<u8>,
    attrs: Vec<u8>,
    details: Vec<u8>,
}

impl Stamp {
    fn push_time(&mut self, time: Timestamp, out: &mut Vec<u8>) {
        let (seconds, nanoseconds) = time.parts();
        if self.seconds != Some(seconds) {
            let text = Timestamp::new(seconds, 0).to_string();
            self.second = text.trim_end_matches('Z').as_bytes().to_vec();
            self.seconds = Some(seconds);
        }
        out.extend_from_slice(&self.second);
        let mut decimals = *b".000000000Z ";
        let mut rest = nanoseconds;
        for digit in decimals[1..10].iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&decimals);
    }

    fn push_attrs(&mut self, attrs: Option<&[u8]>, out: &mut Vec<u8>) {
        let attrs = attrs.unwrap_or_default();
        if self.attrs != attrs {
            self.attrs = attrs.to_vec();
            self.details = encoded(attrs);
        }
        out.extend_from_slice(&self.details);
        out.push(b' ');
    }
}

fn encoded(attrs: &[u8]) -> Vec<u8> {
    let attrs: BTreeMap<String, String> = serde_json::from_slice(attrs).unwrap_or_default();
    let mut text = Vec::new();
    for (name, value) in &attrs {
        if !text.is_empty() {
            text.push(b',');
        }
        escape(name, &mut text);
        text.push(b'=');
        escape(value, &mut text);
    }
    text
}

/// Go's `url.QueryEscape`.
fn escape(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]),
        }
    }
}
