//! From bytes to records, which stay where they were read to.

use std::io::{self, Read};

use super::{Format, MAX_READ_LINE_BYTES, cri, json, local};
use crate::{Ending, Stream, Timestamp};

/// The first buffer; it grows while reads fill it.
const FIRST_BYTES: usize = 32 << 10;
/// What is read at once at most, unless a record is longer.
const MOST_BYTES: usize = 256 << 10;

/// A part of the scanner's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// How a record's content is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is, in the buffer.
    Plain,
    /// With JSON's escapes, in the buffer.
    Escaped,
    /// As it is, in the scratch memory.
    Scratch,
}

/// A record, whose parts are found in the scanner until it is asked for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) time: Timestamp,
    pub(crate) stream: Stream,
    pub(crate) ending: Ending,
    pub(crate) content: Span,
    pub(crate) form: Form,
    /// JSON, in the buffer.
    pub(crate) attrs: Option<Span>,
}

/// What a scanner found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    Record(Raw),
    /// The source has nothing more for now; the beginning of a record may be kept.
    Dry,
}

/// Where the first record of some bytes ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The record, and how many bytes it takes with what is around it.
    Whole { body: Span, taken: usize },
    /// More bytes have to be seen.
    Short,
    /// It is longer than any may be.
    TooLong,
    /// Nothing can be found after this.
    Broken,
}

/// Finds records in what a source gives.
#[derive(Debug)]
pub(crate) struct Scanner {
    format: Format,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How much of what is kept was looked at for the record's end.
    looked_at: usize,
    scratch: Vec<u8>,
    state: State,
    damaged: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Records,
    /// Amid a line that is too long.
    LongLine,
    /// In a file whose records cannot be told apart any more.
    Lost,
}

impl Scanner {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            looked_at: 0,
            scratch: Vec::new(),
            state: State::Records,
            damaged: 0,
        }
    }

    /// How many records were passed over.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The next record.
    pub(crate) fn next(&mut self, source: &mut dyn Read) -> io::Result<Scan> {
        loop {
            if let Some(raw) = self.cut() {
                return Ok(Scan::Record(raw));
            }
            if self.fill(source)? == 0 {
                return Ok(Scan::Dry);
            }
        }
    }

    /// The next source follows: what is kept of the last one was torn.
    pub(crate) fn end_source(&mut self) {
        self.damaged += u64::from(self.start < self.end && self.state != State::Lost);
        self.restart();
    }

    /// The source begins anew.
    pub(crate) fn restart(&mut self) {
        (self.start, self.end, self.looked_at, self.state) = (0, 0, 0, State::Records);
    }

    /// Counts what could not be read as one record.
    pub(crate) fn damage(&mut self) {
        self.damaged += 1;
        self.restart();
    }

    /// Gives memory back, as far as nothing is in it.
    pub(crate) fn relax(&mut self) {
        self.scratch = Vec::new();
        if self.start == self.end {
            self.buffer = Vec::new();
            (self.start, self.end, self.looked_at) = (0, 0, 0);
        }
    }

    /// What a record's content is, without JSON's escapes.
    pub(crate) fn content(&mut self, raw: &Raw) -> &[u8] {
        if raw.form == Form::Escaped {
            self.scratch.clear();
            json::unescape(&self.buffer[raw.content.from..raw.content.to], &mut self.scratch);
            return &self.scratch;
        }
        self.content_again(raw)
    }

    /// The same once more.
    pub(crate) fn content_again(&self, raw: &Raw) -> &[u8] {
        let whole = if raw.form == Form::Plain { &self.buffer } else { &self.scratch };
        let span = if raw.form == Form::Escaped { Span { from: 0, to: whole.len() } } else { raw.content };
        &whole[span.from..span.to]
    }

    /// Appends the content to `out`.
    #[inline]
    pub(crate) fn push_content(&self, raw: &Raw, out: &mut Vec<u8>) {
        let Span { from, to } = raw.content;
        match raw.form {
            Form::Plain => out.extend_from_slice(&self.buffer[from..to]),
            Form::Escaped => json::unescape(&self.buffer[from..to], out),
            Form::Scratch => out.extend_from_slice(&self.scratch[from..to]),
        }
    }

    /// JSON of the record's attributes.
    pub(crate) fn attrs(&self, raw: &Raw) -> Option<&[u8]> {
        raw.attrs.map(|span| &self.buffer[span.from..span.to])
    }

    /// The first record of what is kept that is one.
    #[inline]
    fn cut(&mut self) -> Option<Raw> {
        loop {
            if self.state != State::Records {
                self.skip();
                if self.state != State::Records {
                    return None;
                }
            }
            let kept = &self.buffer[self.start..self.end];
            let cut = match self.format {
                Format::Local => local::cut(kept),
                Format::JsonFile | Format::Cri => line(kept, self.looked_at),
            };
            match cut {
                Cut::Whole { body, taken } => {
                    let body = Span { from: self.start + body.from, to: self.start + body.to };
                    self.start += taken;
                    self.looked_at = 0;
                    match self.parse(body) {
                        Some(raw) => return Some(raw),
                        None => self.damaged += 1,
                    }
                }
                Cut::Short => {
                    self.looked_at = kept.len();
                    return None;
                }
                Cut::TooLong | Cut::Broken => {
                    self.damaged += 1;
                    self.state = if cut == Cut::TooLong { State::LongLine } else { State::Lost };
                }
            }
        }
    }

    /// Drops what belongs to no record.
    fn skip(&mut self) {
        let kept = &self.buffer[self.start..self.end];
        let end = if self.state == State::LongLine { memchr::memchr(b'\n', kept) } else { None };
        self.looked_at = 0;
        match end {
            Some(at) => {
                self.start += at + 1;
                self.state = State::Records;
            }
            None => {
                self.start = self.end;
                if self.buffer.len() > MOST_BYTES {
                    self.buffer = Vec::new();
                    (self.start, self.end) = (0, 0);
                }
            }
        }
    }

    #[inline]
    fn parse(&mut self, mut body: Span) -> Option<Raw> {
        if self.format == Format::Local {
            return local::parse(&self.buffer, body);
        }
        // After a crash of the machine, the end of a file may be zeros, and the next record follows them.
        while self.buffer[body.from..body.to].first() == Some(&0) {
            body.from += 1;
        }
        match self.format {
            Format::JsonFile => json::parse(&self.buffer, body)
                .or_else(|| json::parse_any(&self.buffer, body, &mut self.scratch)),
            _ => cri::parse(&self.buffer, body),
        }
    }

    /// Reads more: how much.
    fn fill(&mut self, source: &mut dyn Read) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end, self.looked_at) = (0, 0, 0);
        } else if self.start > 0 {
            // Less than a record.
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let len = self.buffer.len();
        if self.end == len {
            self.buffer.resize((2 * len).max(FIRST_BYTES), 0);
        }
        let room = self.buffer.len() - self.end;
        let read = loop {
            match source.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.end += read;
        if read == room && self.buffer.len() < MOST_BYTES {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        Ok(read)
    }
}

/// Cuts a line, of whose bytes the first `looked_at` have no end.
#[inline]
fn line(kept: &[u8], looked_at: usize) -> Cut {
    match memchr::memchr(b'\n', &kept[looked_at..]) {
        Some(at) if looked_at + at <= MAX_READ_LINE_BYTES => {
            let to = looked_at + at;
            Cut::Whole { body: Span { from: 0, to }, taken: to + 1 }
        }
        None if kept.len() <= MAX_READ_LINE_BYTES => Cut::Short,
        _ => Cut::TooLong,
    }
}
