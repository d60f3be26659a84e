//! One line to one record.

use std::borrow::Cow;

use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Entry, Format};
use crate::{Ending, Stream, Timestamp};

pub(super) fn parse(format: Format, line: &[u8]) -> Option<Entry> {
    // After a crash of the machine, the end of a file may be zeros, and the next record follows them.
    let zeros = line.iter().take_while(|&&byte| byte == 0).count();
    match format {
        Format::JsonFile => json(&line[zeros..]),
        Format::Cri => cri(&line[zeros..]),
    }
}

#[derive(Deserialize)]
struct Json<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow, default)]
    attrs: Option<&'a RawValue>,
}

fn json(line: &[u8]) -> Option<Entry> {
    let record: Json<'_> = serde_json::from_slice(line).ok()?;
    let (content, ending) = match record.log.strip_suffix('\n') {
        Some(content) => (content, Ending::Line),
        None => (&*record.log, Ending::Cut),
    };
    Some(Entry {
        time: Timestamp::parse(record.time.as_bytes())?,
        stream: Stream::from_name(record.stream.as_bytes())?,
        content: content.as_bytes().to_vec(),
        ending,
        attrs: record.attrs.map(|attrs| attrs.get().to_owned()),
    })
}

fn cri(line: &[u8]) -> Option<Entry> {
    let (time, rest) = word(line)?;
    let (stream, rest) = word(rest)?;
    // Tags are separated by colons; the first says whether the line goes on.
    let (tags, content) = word(rest)?;
    let ending = match tags.split(|&byte| byte == b':').next() {
        Some(b"F") => Ending::Line,
        Some(b"P") => Ending::Cut,
        _ => return None,
    };
    Some(Entry {
        time: Timestamp::parse(time)?,
        stream: Stream::from_name(stream)?,
        content: content.to_vec(),
        ending,
        attrs: None,
    })
}

fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b' ', line)?;
    Some((&line[..end], &line[end + 1..]))
}
