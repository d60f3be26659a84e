//! Bytes that wait for a peer who is slow.

use gantry_sys::Errno;
use gantry_sys::buffer::Buffer;

/// A queue of at most a fixed number of bytes, without memory while it is empty.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, buffer: None, start: 0, end: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[self.start..self.end])
    }

    /// Appends bytes: all of them, or none.
    ///
    /// # Errors
    /// `ENOBUFS` for more than fit; `ENOMEM`.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.len() > self.capacity - self.len() {
            return Err(Errno::NOBUFS);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let buffer = match &mut self.buffer {
            Some(buffer) => buffer,
            none => none.insert(Buffer::new(self.capacity)?),
        };
        if bytes.len() > self.capacity - self.end {
            buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        buffer[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
        Ok(())
    }

    /// Forgets the first `len` bytes.
    pub(super) fn consume(&mut self, len: usize) {
        self.start += len.min(self.len());
        if self.is_empty() {
            self.clear();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
        self.buffer = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_memory_goes() {
        let mut queue = Queue::new(10);
        queue.push(b"abcdefgh").unwrap();
        queue.consume(6);
        queue.push(b"ijklmno").unwrap();
        assert_eq!(queue.bytes(), b"ghijklmno");
        assert_eq!(queue.push(b"pq"), Err(Errno::NOBUFS));
        queue.consume(9);
        assert!(queue.is_empty() && queue.buffer.is_none());
    }
}
