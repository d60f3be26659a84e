//! Records that wait for write(2): whole ones, each of which ends with a line feed.

use gantry_sys::Errno;
use gantry_sys::buffer::Buffer;

use crate::driver::MAX_ATTRS_BYTES;
use crate::escape::Sink;
use crate::split::MAX_PIECE_BYTES;

/// What a log keeps for a file that cannot be written.
pub const MAX_BACKLOG_BYTES: usize = 1 << 20;
/// One record: a piece of the CRI's, or one of Docker's, six bytes for each, with the attributes, and the rest of it.
const MAX_RECORD_BYTES: usize = MAX_PIECE_BYTES + MAX_ATTRS_BYTES + 4096;
/// Beyond the backlog there is room for the record that filled it, the end of each stream (which may be cut in two) and
/// the notice of what was dropped.
const CAPACITY: usize = MAX_BACKLOG_BYTES + 6 * MAX_RECORD_BYTES;

/// A queue of records in memory that goes back to the kernel.
#[derive(Debug)]
pub(crate) struct Records {
    buffer: Buffer,
    start: usize,
    end: usize,
    touched: bool,
}

impl Records {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self { buffer: Buffer::new(CAPACITY)?, start: 0, end: 0, touched: false })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether nothing but what cannot be refused has a place any more.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= MAX_BACKLOG_BYTES
    }

    /// Whether a record of any length has a place.
    pub(crate) fn has_room(&self) -> bool {
        CAPACITY - self.len() >= MAX_RECORD_BYTES
    }

    /// Forgets the first `len` bytes.
    pub(crate) fn consume(&mut self, len: usize) {
        self.start += len.min(self.len());
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            // After a write that did not succeed, and then at most a backlog.
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    /// Gives memory back that holds nothing.
    pub(crate) fn relax(&mut self) {
        if self.len() == 0 && std::mem::take(&mut self.touched) {
            self.buffer.release();
        }
    }
}

impl Sink for Records {
    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        let end = self.end + bytes.len();
        self.buffer[self.end..end].copy_from_slice(bytes);
        self.end = end;
        self.touched = true;
    }
}
