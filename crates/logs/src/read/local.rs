//! Records of Docker's `local` driver: a length, a message of protobuf, the length again (moby `daemon/logger/local` at
//! v28.5.2 and `api/types/plugins/logdriver/entry.proto`).

use super::MAX_READ_LINE_BYTES;
use super::scan::{Cut, Form, Raw, Span};
use crate::local::LENGTH_BYTES;
use crate::{Ending, Stream, Timestamp};

pub(super) fn cut(kept: &[u8]) -> Cut {
    let Some(length) = length(kept) else { return Cut::Short };
    if length > MAX_READ_LINE_BYTES {
        return Cut::Broken;
    }
    let taken = length + 2 * LENGTH_BYTES;
    if kept.len() < taken {
        return Cut::Short;
    }
    let to = LENGTH_BYTES + length;
    if self::length(&kept[to..]) != Some(length) {
        return Cut::Broken;
    }
    Cut::Whole { body: Span { from: LENGTH_BYTES, to }, taken }
}

/// The length at the start of some bytes.
pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
    let bytes = bytes.first_chunk::<LENGTH_BYTES>()?;
    usize::try_from(u32::from_be_bytes(*bytes)).ok()
}

/// A field of a message of protobuf.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

pub(super) fn parse(buffer: &[u8], body: Span) -> Option<Raw> {
    let mut rest = &buffer[body.from..body.to];
    let (mut stream, mut nanoseconds, mut partial, mut last) = (None, 0, false, false);
    let mut content = Span { from: body.to, to: body.to };
    while !rest.is_empty() {
        let (number, value) = field(&mut rest)?;
        match (number, value) {
            (1, Value::Bytes(name)) => stream = Stream::from_name(name),
            (2, Value::Number(time)) => nanoseconds = time as i64,
            (3, Value::Bytes(line)) => {
                let to = body.to - rest.len();
                content = Span { from: to - line.len(), to };
            }
            (4, Value::Number(set)) => partial = set != 0,
            (5, Value::Bytes(mut metadata)) => {
                while !metadata.is_empty() {
                    if let (1, Value::Number(set)) = field(&mut metadata)? {
                        last = set != 0;
                    }
                }
            }
            _ => {}
        }
    }
    let (seconds, rest) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
    Some(Raw {
        time: Timestamp::new(seconds, rest as u32),
        stream: stream?,
        ending: if partial && !last { Ending::Cut } else { Ending::Line },
        content,
        form: Form::Plain,
        attrs: None,
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let key = varint(rest)?;
    let take = |rest: &mut &'a [u8], len: u64| {
        let (taken, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        *rest = after;
        Some(taken)
    };
    let value = match key & 7 {
        0 => Value::Number(varint(rest)?),
        1 => Value::Bytes(take(rest, 8)?),
        2 => {
            let len = varint(rest)?;
            Value::Bytes(take(rest, len)?)
        }
        5 => Value::Bytes(take(rest, 4)?),
        _ => return None,
    };
    Some((key >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
