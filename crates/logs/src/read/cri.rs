//! Records of the CRI's format.

use memchr::memchr;

use super::scan::{Form, Raw, Span};
use crate::{Ending, Stream, Timestamp};

pub(super) fn parse(buffer: &[u8], body: Span) -> Option<Raw> {
    let line = &buffer[body.from..body.to];
    let (time, rest) = word(line)?;
    let (stream, rest) = word(rest)?;
    // Tags are separated by colons; the first says whether the line goes on.
    let (tags, content) = word(rest)?;
    let ending = match tags.split(|&byte| byte == b':').next() {
        Some(b"F") => Ending::Line,
        Some(b"P") => Ending::Cut,
        _ => return None,
    };
    Some(Raw {
        time: Timestamp::parse(time)?,
        stream: Stream::from_name(stream)?,
        ending,
        content: Span { from: body.to - content.len(), to: body.to },
        form: Form::Plain,
        attrs: None,
    })
}

fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b' ', line)?;
    Some((&line[..end], &line[end + 1..]))
}
