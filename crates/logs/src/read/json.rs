//! Records of json-file.
//!
//! Those that Docker and Gantry write have one shape, and are taken apart from both ends without looking at each byte; any
//! other goes through a parser of JSON.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memmem};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::scan::{Form, Raw, Span};
use crate::{Ending, Stream, Timestamp};

const LOG: &[u8] = b"{\"log\":\"";
const TIME: &[u8] = b",\"time\":\"";
const STREAM: &[u8] = b"\",\"stream\":\"";
const ATTRS: &[u8] = b",\"attrs\":";
/// The shortest and the longest time that is looked for, with what the line ends with.
const TIMES: std::ops::RangeInclusive<usize> = 20..=36;
/// The length of `stdout` and of `stderr`.
const NAME: usize = 6;

/// Reads a record of the usual shape.
#[inline]
pub(super) fn parse(buffer: &[u8], body: Span) -> Option<Raw> {
    let line = &buffer[body.from..body.to];
    let rest = line.strip_suffix(b"\"}")?.strip_prefix(LOG)?;
    // No time has a quotation mark in it.
    let near = rest.len().saturating_sub(*TIMES.end());
    let time_at = near + memchr::memrchr(b'"', &rest[near..])? + 1;
    let time = Timestamp::parse(&rest[time_at..])?;
    let rest = rest[..time_at].strip_suffix(TIME)?;
    let at = body.from + LOG.len();
    let (content, stream, attrs) = match tail(rest) {
        Some((content, stream)) => (content, stream, None),
        None => with_attrs(rest)?,
    };
    let attrs = attrs.map(|span| Span { from: at + span.from, to: at + span.to });
    let (content, ending) = feed(&rest[..content]);
    let form = if memchr(b'\\', content).is_some() { Form::Escaped } else { Form::Plain };
    let content = Span { from: at, to: at + content.len() };
    Some(Raw { time, stream, ending, content, form, attrs })
}

/// Without attributes the stream is at the end. A quotation mark within the content is never between a comma and a name: it
/// has a backslash before it.
#[inline]
fn tail(rest: &[u8]) -> Option<(usize, Stream)> {
    let rest = rest.strip_suffix(b"\"")?;
    let (before, name) = rest.split_at_checked(rest.len().checked_sub(NAME)?)?;
    let content = before.strip_suffix(STREAM)?;
    Some((content.len(), Stream::from_name(name)?))
}

/// With them, the end of the content is looked for.
fn with_attrs(rest: &[u8]) -> Option<(usize, Stream, Option<Span>)> {
    let mut end = 0;
    loop {
        let at = end + memchr2(b'"', b'\\', &rest[end..])?;
        if rest[at] == b'"' {
            end = at;
            break;
        }
        end = at + 2;
        if end > rest.len() {
            return None;
        }
    }
    let after = rest[end..].strip_prefix(STREAM)?;
    let (name, after) = after.split_at_checked(NAME)?;
    let attrs = after.strip_prefix(b"\"")?.strip_prefix(ATTRS)?;
    let whole = attrs.starts_with(b"{") && attrs.ends_with(b"}");
    let span = Span { from: rest.len() - attrs.len(), to: rest.len() };
    whole.then_some((end, Stream::from_name(name)?, Some(span)))
}

/// Takes the line feed off.
#[inline]
fn feed(content: &[u8]) -> (&[u8], Ending) {
    let Some(before) = content.strip_suffix(b"\\n") else { return (content, Ending::Cut) };
    // A backslash before it may be the first half of one, or the second.
    let odd = before.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1;
    if odd { (content, Ending::Cut) } else { (before, Ending::Line) }
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

/// Reads a record of any shape.
#[cold]
pub(super) fn parse_any(buffer: &[u8], body: Span, scratch: &mut Vec<u8>) -> Option<Raw> {
    let line = &buffer[body.from..body.to];
    let record: Json<'_> = serde_json::from_slice(line).ok()?;
    let (content, ending) = match record.log.strip_suffix('\n') {
        Some(content) => (content, Ending::Line),
        None => (&*record.log, Ending::Cut),
    };
    scratch.clear();
    scratch.extend_from_slice(content.as_bytes());
    let attrs = record.attrs.and_then(|attrs| {
        let text = attrs.get().as_bytes();
        // Where it is in the line, which has it as it is.
        let from = body.from + memmem::find(line, text)?;
        Some(Span { from, to: from + text.len() })
    });
    Some(Raw {
        time: Timestamp::parse(record.time.as_bytes())?,
        stream: Stream::from_name(record.stream.as_bytes())?,
        ending,
        content: Span { from: 0, to: scratch.len() },
        form: Form::Scratch,
        attrs,
    })
}

/// Appends text without JSON's escapes. One that is none stays as it is; half a pair of surrogates becomes U+FFFD, as in Go.
pub(super) fn unescape(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr(b'\\', text) {
        out.extend_from_slice(&text[..at]);
        text = &text[at..];
        let taken = match text.get(1) {
            Some(b'u') => unicode(text, out),
            Some(&byte) => simple(byte).map(|byte| {
                out.push(byte);
                2
            }),
            None => None,
        };
        let taken = taken.unwrap_or_else(|| {
            out.push(b'\\');
            1
        });
        text = &text[taken..];
    }
    out.extend_from_slice(text);
}

fn simple(byte: u8) -> Option<u8> {
    Some(match byte {
        b'"' | b'\\' | b'/' => byte,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        _ => return None,
    })
}

/// One of `\uXXXX`, or a pair: how many bytes it takes.
fn unicode(text: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let first = hex(text.get(2..6)?)?;
    let (code, taken) = match (first, text.get(6..12)) {
        (0xd800..0xdc00, Some([b'\\', b'u', digits @ ..])) => match hex(digits) {
            Some(second @ 0xdc00..0xe000) => (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12),
            _ => (first, 6),
        },
        _ => (first, 6),
    };
    if code < 0x80 {
        out.push(code as u8);
        return Some(taken);
    }
    let found = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes());
    Some(taken)
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |sum, &digit| Some(sum << 4 | char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(text: &str) -> String {
        let mut out = Vec::new();
        unescape(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_become_what_they_stand_for() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            (r#"a\"b\\c\nd\re\u0009f\/\b\f"#, "a\"b\\c\nd\re\tf/\u{8}\u{c}"),
            (r"\u003ca\u003e\u0026\ufffd\u00e9", "<a>&\u{fffd}é"),
            (r"\ud83e\udd80", "🦀"),
            (r"\ud83e\u0041\udd80", "\u{fffd}A\u{fffd}"),
            (r"\u12\x\", r"\u12\x\"),
        ] {
            assert_eq!(unescaped(text), expected, "{text}");
        }
    }

    #[test]
    fn the_usual_shape_gives_what_json_gives() {
        let time = "2024-03-01T00:00:00.5Z";
        for log in [
            "",
            "a",
            r"a\n",
            r"a\\n",
            r"a\\\n",
            r#"\",\"stream\":\"stdout\",\"time\":\""#,
            "\\\\",
            r"é\u003c\n",
        ] {
            for attrs in ["", r#","attrs":{"a":"b\"}c"}"#] {
                let line = format!(r#"{{"log":"{log}","stream":"stderr"{attrs},"time":"{time}"}}"#);
                let body = Span { from: 0, to: line.len() };
                let fast = parse(line.as_bytes(), body).unwrap();
                let mut scratch = Vec::new();
                let any = parse_any(line.as_bytes(), body, &mut scratch).unwrap();
                let mut content = Vec::new();
                unescape(&line.as_bytes()[fast.content.from..fast.content.to], &mut content);
                assert_eq!((content, fast.ending, fast.stream), (scratch, any.ending, any.stream), "{line}");
                assert_eq!((fast.attrs, fast.time), (any.attrs, any.time), "{line}");
            }
        }
    }
}
