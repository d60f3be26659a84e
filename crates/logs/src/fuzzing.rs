//! Entry points of the fuzz targets in `fuzz/`. Each panics where a promise is broken.

use std::io::Cursor;

use crate::escape::Sink;
use crate::split::{Rule, Splitter};
use crate::{Driver, Ending, Entry, Format, LogReader, Stream, Timestamp, cri, json, local};

const NOW: Timestamp = Timestamp::new(1_709_251_200, 123_456_000);

/// A URI of a log driver.
pub fn driver(text: &str) {
    if let Ok(driver) = text.parse::<Driver>()
        && let Some((path, _)) = driver.file()
    {
        let path = path.as_os_str().as_encoded_bytes();
        assert!(path.starts_with(b"/") && !path.contains(&0));
    }
}

/// The bytes of a log of any format, or of anything else. What is read from one can be written and read again.
pub fn log(bytes: &[u8]) {
    for format in [Format::JsonFile, Format::Cri, Format::Local] {
        for entry in read(bytes.to_vec(), format) {
            assert!(!entry.content.contains(&b'\n') || format != Format::Cri);
            assert_eq!(Timestamp::parse(entry.time.to_string().as_bytes()), Some(entry.time));
        }
    }
}

/// Output of a container, in steps: the first byte of each says how long it is and whose. What is written must be read back
/// as it was, but for what json-file replaces.
pub fn round_trip(bytes: &[u8]) {
    for (format, rule) in [
        (Format::JsonFile, Rule::Json),
        (Format::Local, Rule::Json),
        (Format::Cri, Rule::Cri(7)),
        (Format::Cri, Rule::Cri(16_384)),
    ] {
        let mut streams = [Stream::Stdout, Stream::Stderr].map(|stream| Written::new(stream, format, rule));
        let mut log = Vec::new();
        let mut rest = bytes;
        while let Some((&step, after)) = rest.split_first() {
            let (part, after) = after.split_at(after.len().min(usize::from(step >> 1) * 4));
            streams[usize::from(step & 1)].write(part, &mut log);
            rest = after;
        }
        streams.iter_mut().for_each(|stream| stream.end(&mut log));
        let entries = read(log, format);
        for stream in streams {
            stream.check(&entries, format);
        }
    }
}

enum Encoder {
    Json(json::Encoder),
    Local(local::Encoder),
    Cri(cri::Encoder),
}

impl Encoder {
    fn push(&mut self, log: &mut impl Sink, piece: &[u8], ending: Ending) {
        match self {
            Self::Json(json) => json.push(log, piece, ending, NOW),
            Self::Local(local) => local.push(log, piece, ending, NOW),
            Self::Cri(cri) => cri.push(log, piece, ending, NOW),
        }
    }
}

/// One stream, what was written to it, and what its records should give.
struct Written {
    stream: Stream,
    splitter: Splitter,
    encoder: Encoder,
    output: Vec<u8>,
    pieces: Vec<(Vec<u8>, Ending)>,
}

impl Written {
    fn new(stream: Stream, format: Format, rule: Rule) -> Self {
        let encoder = match format {
            Format::JsonFile => Encoder::Json(json::Encoder::new(stream, None)),
            Format::Local => Encoder::Local(local::Encoder::new(stream)),
            Format::Cri => Encoder::Cri(cri::Encoder::new(stream)),
        };
        Self { stream, splitter: Splitter::new(rule), encoder, output: Vec::new(), pieces: Vec::new() }
    }

    fn write(&mut self, part: &[u8], log: &mut Vec<u8>) {
        self.output.extend_from_slice(part);
        let (encoder, pieces) = (&mut self.encoder, &mut self.pieces);
        let taken = self.splitter.push(part, |piece, ending| {
            encoder.push(log, piece, ending);
            pieces.push((piece.to_vec(), ending));
            true
        });
        assert_eq!(taken, part.len());
    }

    fn end(&mut self, log: &mut Vec<u8>) {
        let (encoder, pieces) = (&mut self.encoder, &mut self.pieces);
        self.splitter.end(|piece, ending| {
            encoder.push(log, piece, ending);
            pieces.push((piece.to_vec(), ending));
        });
    }

    fn check(&self, entries: &[Entry], format: Format) {
        let mut found = entries.iter().filter(|entry| entry.stream == self.stream);
        let mut joined = Vec::new();
        for (piece, ending) in &self.pieces {
            let entry = found.next().expect("a record of each piece");
            let expected = if format == Format::JsonFile { replaced(piece) } else { piece.clone() };
            assert_eq!((&entry.content, entry.ending), (&expected, *ending));
            joined.extend_from_slice(piece);
            joined.extend((*ending == Ending::Line).then_some(b'\n'));
        }
        assert!(found.next().is_none());
        if format != Format::Cri {
            assert_eq!(joined, self.output);
        } else {
            let unix: Vec<u8> = self.output.split(|&byte| byte == b'\n').fold(Vec::new(), |mut all, line| {
                all.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
                all.push(b'\n');
                all
            });
            // The end of the output is no line's end.
            let tail = if self.output.last() == Some(&b'\r') { &b"\r"[..] } else { b"" };
            assert_eq!([&joined[..], b"\n"].concat(), [&unix[..unix.len() - 1], tail, b"\n"].concat());
        }
    }
}

/// What Go makes of bytes that are not UTF-8: one replacement character for each.
fn replaced(piece: &[u8]) -> Vec<u8> {
    let mut text = String::new();
    for chunk in piece.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
    }
    text.into_bytes()
}

fn read(log: Vec<u8>, format: Format) -> Vec<Entry> {
    LogReader::new(Cursor::new(log), format).map(|entry| entry.expect("memory can be read")).collect()
}
