use proptest::prelude::*;

use super::*;

const LEN: usize = 1 << 20;

/// A region of the test's own.
struct Own(Region);

impl Own {
    fn new() -> Self {
        let mut region = Region::new();
        region.reserve(LEN);
        assert_eq!(region.len, LEN);
        Own(region)
    }

    fn allocate(&mut self, len: usize, byte: u8) -> Piece {
        let start = self.0.allocate(len).expect("there is room");
        assert_eq!(start.addr() % ALIGNMENT, 0);
        // SAFETY: the chunk is ours and as long as was asked for.
        unsafe { start.write_bytes(byte, len) };
        Piece { start, len, byte }
    }

    fn free(&mut self, piece: Piece) {
        piece.check();
        self.0.free(piece.start);
    }

    fn resident_pages(&self) -> usize {
        let mut pages = [0u8; LEN / PAGE];
        // SAFETY: the region is mapped, and there is a byte for each of its pages.
        assert_eq!(unsafe { libc::mincore(self.0.base.cast(), LEN, pages.as_mut_ptr()) }, 0);
        pages.iter().filter(|page| **page & 1 != 0).count()
    }

    /// Every chunk from the first to the last agrees with its neighbours and with the lists.
    fn check(&self) {
        let (mut chunk, mut before_used, mut free) = (WORD, true, Vec::new());
        while chunk < self.0.top {
            let (head, size) = (self.0.read(chunk), self.0.size(chunk));
            assert!(size >= MIN_CHUNK && size % ALIGNMENT == 0, "{size} bytes at {chunk}");
            assert_eq!(head & USED_BEFORE != 0, before_used, "at {chunk}");
            let used = head & USED != 0;
            assert!(used || before_used, "two free chunks in a row at {chunk}");
            if !used {
                assert_eq!(self.0.read(chunk + size - WORD), size as u64);
                free.push(chunk);
            }
            (chunk, before_used) = (chunk + size, used);
        }
        assert_eq!(chunk, self.0.top);
        assert!(before_used || self.0.top == WORD, "the last chunk is free");
        let mut listed = Vec::new();
        for bin in 0..BINS {
            assert_eq!(self.0.filled >> bin & 1 != 0, self.0.bins[bin] != NONE, "list {bin}");
            let mut chunk = self.0.bins[bin];
            while chunk != NONE {
                assert_eq!(Region::bin(self.0.size(chunk)), bin);
                listed.push(chunk);
                chunk = self.0.read(chunk + WORD) as usize;
            }
        }
        listed.sort_unstable();
        assert_eq!(listed, free);
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // SAFETY: the mapping is the test's.
        unsafe { libc::munmap(self.0.base.cast(), LEN) };
    }
}

/// What was allocated, and what it is filled with.
#[derive(Debug)]
struct Piece {
    start: *mut u8,
    len: usize,
    byte: u8,
}

impl Piece {
    fn check(&self) {
        // SAFETY: the piece was not freed, and was filled when it was made.
        let bytes = unsafe { std::slice::from_raw_parts(self.start, self.len) };
        assert!(bytes.iter().all(|byte| *byte == self.byte), "somebody has written to {self:?}");
    }
}

#[test]
fn what_is_freed_is_one_again() {
    let mut own = Own::new();
    let pieces: Vec<_> = (1..=MAX_BYTES).map(|len| own.allocate(len, len as u8)).collect();
    own.check();
    let (odd, even): (Vec<_>, Vec<_>) = pieces.into_iter().partition(|piece| piece.len % 2 == 1);
    odd.into_iter().for_each(|piece| own.free(piece));
    own.check();
    even.into_iter().rev().for_each(|piece| own.free(piece));
    own.check();
    assert_eq!(own.0.top, WORD);
}

#[test]
fn free_pages_are_given_back_wherever_they_lie() {
    let mut own = Own::new();
    let mut pieces: Vec<_> = (0..512).map(|number| own.allocate(1000, number as u8)).collect();
    assert!(own.resident_pages() > 120);
    let kept = [pieces.swap_remove(300), pieces.swap_remove(100)];
    pieces.into_iter().for_each(|piece| own.free(piece));
    own.0.release();
    own.check();
    assert!(own.resident_pages() <= 6, "{} pages", own.resident_pages());
    kept.into_iter().for_each(|piece| own.free(piece));
    own.0.release();
    assert!(own.resident_pages() <= 1, "{} pages", own.resident_pages());
}

#[test]
fn a_full_region_refuses() {
    let mut own = Own::new();
    let mut pieces = Vec::new();
    while let Some(start) = own.0.allocate(1000) {
        pieces.push(start);
    }
    assert!(pieces.len() > LEN / 1100);
    pieces.into_iter().for_each(|start| own.0.free(start));
    own.check();
    let piece = own.allocate(1, 1);
    own.free(piece);
    let mut none = Region::new();
    assert!(none.allocate(1).is_none());
}

#[test]
fn an_allocator_moves_between_sizes() {
    let heap = Heap;
    let mut layout = Layout::from_size_align(10, 8).unwrap();
    // SAFETY: the size is not 0.
    let mut pointer = unsafe { heap.alloc(layout) };
    // SAFETY: ten bytes were asked for.
    unsafe { pointer.write_bytes(7, 10) };
    for size in [12, 900, 5000, 1_000_000, 2000, 1041, 1040, 20, 100_000, 10] {
        // SAFETY: the pointer is the allocator's, with this layout.
        pointer = unsafe { heap.realloc(pointer, layout, size) };
        layout = Layout::from_size_align(size, 8).unwrap();
        assert_eq!(is_ours(pointer), size <= MAX_BYTES, "{size} bytes");
        // SAFETY: ten bytes were written and copied.
        assert_eq!(unsafe { std::slice::from_raw_parts(pointer, 10) }, [7; 10]);
    }
    // SAFETY: the pointer is the allocator's, with this layout.
    unsafe { heap.dealloc(pointer, layout) };
    let aligned = Layout::from_size_align(64, 64).unwrap();
    // SAFETY: the size is not 0.
    let pointer = unsafe { heap.alloc(aligned) };
    assert!(pointer.addr() % 64 == 0 && !is_ours(pointer));
    // SAFETY: the pointer is the allocator's, with this layout.
    unsafe { heap.dealloc(pointer, aligned) };
    release();
}

proptest! {
    #[test]
    fn pieces_keep_what_is_in_them(
        steps in prop::collection::vec((any::<bool>(), 1..=MAX_BYTES, any::<prop::sample::Index>()), 1..400)
    ) {
        let mut own = Own::new();
        let mut pieces = Vec::new();
        for (number, (add, len, index)) in steps.into_iter().enumerate() {
            if add || pieces.is_empty() {
                pieces.push(own.allocate(len, number as u8));
            } else {
                let piece: Piece = pieces.swap_remove(index.index(pieces.len()));
                own.free(piece);
            }
            if number % 16 == 0 {
                own.0.release();
                own.check();
            }
        }
        pieces.iter().for_each(Piece::check);
        pieces.into_iter().for_each(|piece| own.free(piece));
        own.check();
        prop_assert_eq!(own.0.top, WORD);
    }
}
