//! Records of Docker's json-file: `{"log":"…\n","stream":"stdout","attrs":{…},"time":"…"}`.

use std::io::Write;

use crate::escape::{self, Sink};
use crate::{Ending, Stream, Timestamp};

/// Writes one stream's records.
#[derive(Debug)]
pub(crate) struct Encoder {
    stream: Stream,
    attrs: Option<String>,
    /// The time of the first piece of a line that goes on, which its other pieces get, too.
    cut_since: Option<Timestamp>,
    /// What follows the content of every record of `tail_time`, from the line feed.
    tail: Vec<u8>,
    tail_time: Option<Timestamp>,
}

impl Encoder {
    pub(crate) fn new(stream: Stream, attrs: Option<String>) -> Self {
        Self { stream, attrs, cut_since: None, tail: Vec::new(), tail_time: None }
    }

    pub(crate) fn push(&mut self, sink: &mut impl Sink, content: &[u8], ending: Ending, now: Timestamp) {
        let time = self.cut_since.unwrap_or(now);
        self.cut_since = (ending == Ending::Cut).then_some(time);
        if self.tail_time != Some(time) {
            self.set_time(time);
        }
        // Docker leaves an empty one out, but has none: a piece without its line's end is not empty.
        sink.push(b"{\"log\":\"");
        escape::push(sink, content);
        let feed = if ending == Ending::Line { 0 } else { LINE_FEED.len() };
        sink.push(&self.tail[feed..]);
    }

    fn set_time(&mut self, time: Timestamp) {
        let attrs = self.attrs.as_deref();
        let (name, value) = attrs.map_or(("", ""), |attrs| (",\"attrs\":", attrs));
        let stream = self.stream.name();
        self.tail.clear();
        // A vector takes whatever is written to it.
        let _ =
            writeln!(self.tail, "{LINE_FEED}\",\"stream\":\"{stream}\"{name}{value},\"time\":\"{time}\"}}");
        self.tail_time = Some(time);
    }
}

/// A line feed in JSON.
const LINE_FEED: &str = "\\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_dockers_bytes() {
        let now = Timestamp::new(1_709_251_200, 5_000);
        let mut encoder = Encoder::new(Stream::Stderr, Some(r#"{"a":"b"}"#.into()));
        let mut sink = Vec::new();
        encoder.push(&mut sink, b"<\"x\">", Ending::Line, now);
        encoder.push(&mut sink, b"", Ending::Line, now);
        let rest =
            "\",\"stream\":\"stderr\",\"attrs\":{\"a\":\"b\"},\"time\":\"2024-03-01T00:00:00.000005Z\"}\n";
        let expected = format!("{{\"log\":\"\\u003c\\\"x\\\"\\u003e\\n{rest}{{\"log\":\"\\n{rest}");
        assert_eq!(String::from_utf8(sink).unwrap(), expected);
    }

    #[test]
    fn pieces_of_a_line_have_its_first_time() {
        let mut encoder = Encoder::new(Stream::Stdout, None);
        let mut sink = Vec::new();
        encoder.push(&mut sink, b"a", Ending::Cut, Timestamp::new(1, 0));
        encoder.push(&mut sink, b"b", Ending::Line, Timestamp::new(2, 0));
        encoder.push(&mut sink, b"c", Ending::Line, Timestamp::new(3, 0));
        let expected = concat!(
            "{\"log\":\"a\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:01Z\"}\n",
            "{\"log\":\"b\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:01Z\"}\n",
            "{\"log\":\"c\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:03Z\"}\n",
        );
        assert_eq!(String::from_utf8(sink).unwrap(), expected);
    }
}
