//! Records of the CRI's format: `TIME STREAM F|P CONTENT`.

use std::io::Write;

use crate::escape::Sink;
use crate::{Ending, Stream, Timestamp};

/// Writes one stream's records.
#[derive(Debug)]
pub(crate) struct Encoder {
    stream: Stream,
    head: Vec<u8>,
    head_time: Option<Timestamp>,
}

impl Encoder {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, head: Vec::new(), head_time: None }
    }

    pub(crate) fn push(&mut self, sink: &mut impl Sink, content: &[u8], ending: Ending, now: Timestamp) {
        if self.head_time != Some(now) {
            self.head.clear();
            // A vector takes whatever is written to it.
            let _ = write!(self.head, "{now} {} ", self.stream.name());
            self.head_time = Some(now);
        }
        sink.push(&self.head);
        sink.push(if ending == Ending::Line { b"F " } else { b"P " });
        sink.push(content);
        sink.push(b"\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_kubelets_format() {
        let mut encoder = Encoder::new(Stream::Stdout);
        let mut sink = Vec::new();
        encoder.push(&mut sink, b"a<\xff", Ending::Cut, Timestamp::new(1, 500_000_000));
        encoder.push(&mut sink, b"", Ending::Line, Timestamp::new(2, 0));
        assert_eq!(sink, b"1970-01-01T00:00:01.5Z stdout P a<\xff\n1970-01-01T00:00:02Z stdout F \n");
    }
}
