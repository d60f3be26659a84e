//! An allocator for a process that lives long, works rarely and has one thread: small, and able to give everything back.
//!
//! glibc's keeps up to seven free chunks of each of 64 sizes for the next call, wherever they lie, and no call gives them back
//! (mallopt(3) has no word for it, and the variable `GLIBC_TUNABLES` comes from whoever starts the process): a process that
//! has done much for a while has up to 240 KiB of them for good. Here a free chunk joins its neighbours at once, and
//! [`release`] gives back each whole page that is free, wherever it lies.
//!
//! ```text
//!   base                                                     top          end
//!    │ head │ payload │ head │ next │ prev │ … │ size │ head │ never used  │
//!    └──── used ──────┴──────── free ─────────────────┴──────┘
//! ```
//! A head is the chunk's size in bytes, and two bits: whether it is used, and whether the one before is. A free chunk has its
//! links behind its head, and its size at its end, where the next one looks for it. Chunks of a size that are free form a
//! list; those larger than any request are in one list.
//!
//! Requests of more than [`MAX_BYTES`], and of more than 16 bytes' alignment, are the system allocator's, which returns
//! those by `malloc_trim`. So are all when the region is full or cannot be had.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

/// The largest request that is served here, in bytes; more than glibc keeps for itself (1,032).
const MAX_BYTES: usize = 1040;
/// The addresses that are set aside, in bytes.
const REGION_BYTES: usize = 64 << 20;
/// How much of them is made writable at once, in bytes; memory is taken page by page as it is used.
const GROWTH_BYTES: usize = 256 << 10;
const PAGE: usize = 4096;
const ALIGNMENT: usize = 16;
const WORD: usize = size_of::<u64>();
/// A head, two links and the size.
const MIN_CHUNK: usize = 4 * WORD;
const MAX_CHUNK: usize = MAX_BYTES + ALIGNMENT;
/// A list for each size, and one for larger chunks.
const BINS: usize = MAX_CHUNK / ALIGNMENT + 2;
const LARGE: usize = BINS - 1;

const USED: u64 = 1;
const USED_BEFORE: u64 = 2;
const FLAGS: u64 = USED | USED_BEFORE;
/// No chunk: the region's first word is in front of the first head, which makes payloads aligned.
const NONE: usize = 0;

/// Chunks in a region. Places are byte offsets in it, all checked against its size.
#[derive(Debug)]
struct Region {
    base: *mut u8,
    len: usize,
    /// Where the first chunk's head would be that was never made; the chunk before it is used.
    top: usize,
    /// What was used of it since it was last given back.
    high: usize,
    /// What may be written to: only that much counts where the system commits memory ahead (`vm.overcommit_memory=2`).
    writable: usize,
    reserved: bool,
    bins: [usize; BINS],
    /// Which lists have chunks.
    filled: u128,
}

impl Region {
    const fn new() -> Self {
        Region {
            base: std::ptr::null_mut(),
            len: 0,
            top: WORD,
            high: WORD,
            writable: 0,
            reserved: false,
            bins: [NONE; BINS],
            filled: 0,
        }
    }

    /// Sets addresses aside, once. Without, every request is refused.
    fn reserve(&mut self, len: usize) {
        self.reserved = true;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        if address != libc::MAP_FAILED {
            (self.base, self.len) = (address.cast(), len);
        }
    }

    /// Makes the region writable up to here.
    fn grow(&mut self, end: usize) -> Option<()> {
        let end = end.next_multiple_of(GROWTH_BYTES).min(self.len);
        let start = self.base.wrapping_add(self.writable);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: pages of the region that nobody has used.
        if unsafe { libc::mprotect(start.cast(), end - self.writable, protection) } != 0 {
            return None;
        }
        self.writable = end;
        Some(())
    }

    fn word(&self, at: usize) -> *mut u64 {
        if !at.is_multiple_of(WORD) || at >= self.writable {
            damaged(b"a chunk of the heap is damaged\n");
        }
        self.base.wrapping_add(at).cast()
    }

    fn read(&self, at: usize) -> u64 {
        // SAFETY: the word is in the region, which is mapped, aligned, and zero before its first use; heads, links and sizes are
        // no part of any payload.
        unsafe { self.word(at).read() }
    }

    fn write(&mut self, at: usize, value: u64) {
        // SAFETY: as for reading.
        unsafe { self.word(at).write(value) }
    }

    fn size(&self, chunk: usize) -> usize {
        (self.read(chunk) & !FLAGS) as usize
    }

    fn bin(size: usize) -> usize {
        (size / ALIGNMENT).min(LARGE)
    }

    /// Puts a free chunk into its list, and its size at its end.
    fn insert(&mut self, chunk: usize, size: usize) {
        let bin = Self::bin(size);
        let next = self.bins[bin];
        self.write(chunk, size as u64 | USED_BEFORE);
        self.write(chunk + WORD, next as u64);
        self.write(chunk + 2 * WORD, NONE as u64);
        self.write(chunk + size - WORD, size as u64);
        if next != NONE {
            self.write(next + 2 * WORD, chunk as u64);
        }
        self.bins[bin] = chunk;
        self.filled |= 1 << bin;
    }

    fn remove(&mut self, chunk: usize, size: usize) {
        let bin = Self::bin(size);
        let (next, prev) = (self.read(chunk + WORD) as usize, self.read(chunk + 2 * WORD) as usize);
        if next != NONE {
            self.write(next + 2 * WORD, prev as u64);
        }
        if prev != NONE {
            return self.write(prev + WORD, next as u64);
        }
        self.bins[bin] = next;
        if next == NONE {
            self.filled &= !(1 << bin);
        }
    }

    /// The payload of a chunk for `bytes`: the smallest that is free, or new.
    fn allocate(&mut self, bytes: usize) -> Option<*mut u8> {
        let size = chunk_size(bytes);
        let fitting = self.filled & (u128::MAX << Self::bin(size));
        let chunk = if fitting == 0 {
            self.extend(size)?
        } else {
            self.take(fitting.trailing_zeros() as usize, size)
        };
        Some(self.base.wrapping_add(chunk + WORD))
    }

    /// A new chunk at the end.
    fn extend(&mut self, size: usize) -> Option<usize> {
        let chunk = self.top;
        let end = chunk + size;
        if end > self.len {
            return None;
        }
        if end > self.writable {
            self.grow(end)?;
        }
        self.top = end;
        self.high = self.high.max(self.top);
        self.write(chunk, size as u64 | USED | USED_BEFORE);
        Some(chunk)
    }

    /// The first `size` bytes of a list's first chunk; the rest stays free.
    fn take(&mut self, bin: usize, size: usize) -> usize {
        let chunk = self.bins[bin];
        let whole = self.size(chunk);
        self.remove(chunk, whole);
        if whole - size >= MIN_CHUNK {
            self.write(chunk, size as u64 | USED | USED_BEFORE);
            self.insert(chunk + size, whole - size);
        } else {
            self.write(chunk, whole as u64 | USED | USED_BEFORE);
            self.mark_before(chunk + whole, USED_BEFORE);
        }
        chunk
    }

    /// Tells the chunk that begins here whether the one before it is used.
    fn mark_before(&mut self, chunk: usize, flag: u64) {
        if chunk < self.top {
            let head = self.read(chunk);
            self.write(chunk, head & !USED_BEFORE | flag);
        }
    }

    /// Joins a chunk that is not used any more with its neighbours.
    fn free(&mut self, payload: *mut u8) {
        let mut chunk = payload.addr() - self.base.addr() - WORD;
        let head = self.read(chunk);
        if head & USED == 0 {
            damaged(b"memory is freed twice\n");
        }
        let mut size = (head & !FLAGS) as usize;
        let next = chunk + size;
        if next < self.top && self.read(next) & USED == 0 {
            let more = self.size(next);
            self.remove(next, more);
            size += more;
        }
        if head & USED_BEFORE == 0 {
            let before = self.read(chunk - WORD) as usize;
            chunk -= before;
            self.remove(chunk, before);
            size += before;
        }
        if chunk + size == self.top {
            self.top = chunk;
        } else {
            self.insert(chunk, size);
            self.mark_before(chunk + size, 0);
        }
    }

    /// Gives back the pages that are free as a whole.
    fn release(&mut self) {
        // Nothing behind the last chunk is used.
        self.discard(self.top, self.high.next_multiple_of(PAGE));
        self.high = self.top;
        let mut chunk = self.bins[LARGE];
        while chunk != NONE {
            // Its head, links and size stay.
            self.discard(chunk + 3 * WORD, chunk + self.size(chunk) - WORD);
            chunk = self.read(chunk + WORD) as usize;
        }
    }

    /// Gives back the whole pages between two places.
    fn discard(&self, from: usize, to: usize) {
        let (from, to) = (from.next_multiple_of(PAGE), to / PAGE * PAGE);
        if from < to {
            let start = self.base.wrapping_add(from);
            // SAFETY: the pages are in the region, and nothing that is read again is on them: they are zero afterwards.
            unsafe { libc::madvise(start.cast(), to - from, libc::MADV_DONTNEED) };
        }
    }

    fn contains(&self, pointer: *mut u8) -> bool {
        pointer.addr().wrapping_sub(self.base.addr()) < self.len
    }
}

/// A chunk's size for a request.
fn chunk_size(bytes: usize) -> usize {
    (bytes + WORD).next_multiple_of(ALIGNMENT).max(MIN_CHUNK)
}

/// Ends the process: going on would make it worse, and words that are put together need memory.
fn damaged(words: &[u8]) -> ! {
    let _ = rustix::io::write(rustix::stdio::stderr(), words);
    std::process::abort()
}

/// The process's one region.
struct Shared {
    region: UnsafeCell<Region>,
    taken: AtomicBool,
}

// SAFETY: the region is reached under the lock alone.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared { region: UnsafeCell::new(Region::new()), taken: AtomicBool::new(false) };

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut Region) -> T) -> T {
        // A process of one thread never waits here.
        while self.taken.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
        // SAFETY: whoever has the lock is the only one, and nothing that is called below takes it again.
        let result = work(unsafe { &mut *self.region.get() });
        self.taken.store(false, Ordering::Release);
        result
    }
}

/// The allocator, for `#[global_allocator]`.
#[derive(Debug)]
pub struct Heap;

fn is_small(bytes: usize, alignment: usize) -> bool {
    bytes <= MAX_BYTES && alignment <= ALIGNMENT
}

fn is_ours(pointer: *mut u8) -> bool {
    SHARED.with(|region| region.contains(pointer))
}

// SAFETY: chunks of a region do not overlap and are as large and as aligned as was asked for; every pointer goes back to
// the allocator that it came from, which its address tells.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_small(layout.size(), layout.align()) {
            let chunk = SHARED.with(|region| {
                if !region.reserved {
                    region.reserve(REGION_BYTES);
                }
                region.allocate(layout.size())
            });
            if let Some(chunk) = chunk {
                return chunk;
            }
        }
        // SAFETY: the caller's obligation.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let ours = SHARED.with(|region| {
            let ours = region.contains(pointer);
            if ours {
                region.free(pointer);
            }
            ours
        });
        if !ours {
            // SAFETY: the caller's obligation.
            unsafe { System.dealloc(pointer, layout) };
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let small = is_small(new_size, layout.align());
        let ours = is_ours(pointer);
        if ours && small && chunk_size(new_size) == chunk_size(layout.size()) {
            return pointer;
        }
        if !ours && !small {
            // SAFETY: the caller's obligation.
            return unsafe { System.realloc(pointer, layout, new_size) };
        }
        // SAFETY: the caller has checked the size with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: the caller's obligation: the size is not 0.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            let len = layout.size().min(new_size);
            // SAFETY: both are live, at least that long, and do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(pointer, moved, len) };
            // SAFETY: the caller's obligation.
            unsafe { self.dealloc(pointer, layout) };
        }
        moved
    }
}

/// Gives back every whole page that is free: madvise(2). Where the program has another allocator, there is nothing to give.
pub fn release() {
    SHARED.with(Region::release);
}

#[cfg(test)]
mod tests;
