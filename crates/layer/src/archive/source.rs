use std::io::{self, Read};

use crate::Error;

/// As much as is read at once: small files are written straight from here.
const BUFFER_BYTES: usize = 256 << 10;
/// A file's piece is filled up to this before it is given out.
const PIECE_BYTES: usize = 64 << 10;

/// The reader of an archive and what was read of it ahead.
pub(super) struct Source<'a> {
    reader: &'a mut dyn Read,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes that were consumed.
    offset: u64,
    limit: u64,
    ended: bool,
}

impl<'a> Source<'a> {
    pub(super) fn new(reader: &'a mut dyn Read, limit: u64) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self { reader, buffer, start: 0, end: 0, offset: 0, limit, ended: false }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    fn read(&mut self) -> Result<(), Error> {
        let count = loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(Error::Read)?,
            }
        };
        self.end += count;
        self.ended = count == 0;
        if self.offset + (self.end - self.start) as u64 > self.limit {
            return Err(Error::Limit { what: "bytes", limit: self.limit });
        }
        Ok(())
    }

    /// The bytes that are there; at least `least` of them (which fit into the buffer) unless the archive ends.
    pub(super) fn peek(&mut self, least: usize) -> Result<&[u8], Error> {
        if self.end - self.start < least && !self.ended {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            while self.end < least && !self.ended {
                self.read()?;
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Moves past bytes that [`Source::peek`] showed.
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start, "only what was shown is consumed");
        self.start += count;
        self.offset += count as u64;
    }

    /// The next piece of `remaining` bytes, consumed; empty when the archive ended.
    pub(super) fn piece(&mut self, remaining: u64) -> Result<&[u8], Error> {
        let wanted = usize::try_from(remaining).unwrap_or(usize::MAX);
        let have = self.peek(wanted.min(PIECE_BYTES))?.len().min(wanted);
        let start = self.start;
        self.consume(have);
        Ok(&self.buffer[start..start + have])
    }

    /// Moves past `count` bytes; how many there were.
    pub(super) fn skip(&mut self, count: u64) -> Result<u64, Error> {
        let mut left = count;
        while left > 0 {
            let skipped = self.piece(left)?.len() as u64;
            if skipped == 0 {
                break;
            }
            left -= skipped;
        }
        Ok(count - left)
    }
}
