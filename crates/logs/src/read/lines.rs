//! Lines of bounded length.

use std::io::{self, BufRead};

use memchr::memchr;

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its line feed.
    Whole,
    /// One that is longer than the limit; it was read to its end.
    TooLong,
    /// The end of the file amid a line.
    Torn,
    /// The end of the file.
    End,
}

/// Reads one line into `line`.
pub(super) fn next_line(source: &mut dyn BufRead, line: &mut Vec<u8>, limit: usize) -> io::Result<Line> {
    line.clear();
    let mut len = 0usize;
    loop {
        let bytes = match source.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if bytes.is_empty() {
            return Ok(if len == 0 { Line::End } else { Line::Torn });
        }
        let end = memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        len = len.saturating_add(part.len());
        if len <= limit {
            line.extend_from_slice(part);
        } else {
            *line = Vec::new();
        }
        let taken = part.len() + usize::from(end.is_some());
        source.consume(taken);
        if end.is_some() {
            return Ok(if len <= limit { Line::Whole } else { Line::TooLong });
        }
        // Of a file that ends after an empty part nothing is torn.
        len = len.max(1);
    }
}
