//! Giving memory back: madvise(2), malloc_trim(3).

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use crate::seal::segments;

/// How much of the stack below the caller is given back, in bytes: more than calls have ever used. The kernel keeps 1 MiB
/// below a stack free of other mappings (`stack_guard_gap`, Linux 4.12).
const STACK: usize = 512 << 10;
/// What is left alone of it: the frames of the calls that give it back, and the red zone.
const STACK_MARGIN: usize = 4 << 10;
const PAGE: usize = 4096;
/// The program's segments, the largest of them in two parts, and the stack.
const MAX_RANGES: usize = 12;

/// Memory for madvise(2): the assembler knows this layout.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Range {
    start: usize,
    len: usize,
}

impl Range {
    fn between(start: usize, end: usize) -> Self {
        Range { start, len: end.saturating_sub(start) }
    }
}

/// Sleeps until `fd` is readable or `timeout` has passed, without the memory that a process needs only when it works:
/// free heap and stack, and the pages of the program's code and constants.
///
/// Those stay in the page cache, from where they come again when they are used. A process that is alone with its program is
/// charged for them as long as it has them mapped; and mapping one maps the 15 around it, so the few functions of an
/// event loop are enough for half a megabyte. That is why the last calls are made by one function whose page stays.
///
/// A signal ends the sleep, too.
pub fn sleep_released(fd: impl AsFd, timeout: Option<Duration>) {
    crate::heap::release();
    #[cfg(target_env = "gnu")]
    // SAFETY: has no precondition; it touches only what the allocator knows to be free.
    unsafe {
        libc::malloc_trim(0)
    };
    // A millisecond more, so as not to wake up just before the time.
    let timeout =
        timeout.map_or(-1, |time| time.as_millis().saturating_add(1).try_into().unwrap_or(i32::MAX));
    let mut poll = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let ranges = ranges((&raw const poll).addr());
    // SAFETY: each range is either a segment of this program that is mapped privately from its file, was never written and
    // cannot be (a page that is dropped is read from the file again, with the same content: ETXTBSY, or a sealed mount,
    // keeps others from writing it), or stack below the frames that are in use. The pointers are to locals that live on.
    unsafe { arch::release_and_poll(ranges.as_ptr(), ranges.len(), &raw mut poll, timeout.into()) };
}

/// What is given back. `frame` is where the caller's frame is.
fn ranges(frame: usize) -> [Range; MAX_RANGES] {
    let mut ranges = [Range::default(); MAX_RANGES];
    let (loaded, _) = segments();
    let kept = arch::page();
    let constant = loaded.iter().filter(|segment| !segment.is_writable());
    let parts = constant.flat_map(|segment| {
        let end = segment.start + segment.len;
        match kept {
            Some(page) if (segment.start..end).contains(&page) => {
                [Range::between(segment.start, page), Range::between(page + PAGE, end)]
            }
            _ => [Range::between(segment.start, end), Range::default()],
        }
    });
    let top = (frame - STACK_MARGIN) / PAGE * PAGE;
    let stack = kept.map(|_| Range::between(top - STACK, top));
    let parts = parts.chain(stack).filter(|range| range.len > 0);
    ranges.iter_mut().zip(parts).for_each(|(range, part)| *range = part);
    ranges
}

#[cfg(target_arch = "x86_64")]
mod arch {
    use super::{PAGE, Range};

    // rdi, rsi: the ranges; rdx: the pollfd; rcx: the timeout. Shorter than its alignment, so on one page.
    core::arch::global_asm!(
        ".balign 128",
        ".global gantry_release_and_poll",
        "gantry_release_and_poll:",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "mov rbx, rdi",
        "mov r12, rsi",
        "mov r13, rdx",
        "mov r14, rcx",
        "2:",
        "test r12, r12",
        "jz 3f",
        "mov rdi, [rbx]",
        "mov rsi, [rbx + 8]",
        "mov edx, 4",  // MADV_DONTNEED; of an empty range it is nothing
        "mov eax, 28", // madvise
        "syscall",
        "add rbx, 16",
        "dec r12",
        "jmp 2b",
        "3:",
        "mov rdi, r13",
        "mov esi, 1",
        "mov rdx, r14",
        "mov eax, 7", // poll
        "syscall",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "ret",
    );

    unsafe extern "C" {
        fn gantry_release_and_poll(ranges: *const Range, count: usize, poll: *mut libc::pollfd, timeout: i64);
    }

    /// Calls madvise(2) for each range, then poll(2).
    ///
    /// # Safety
    /// Nothing but what is read from a file again may be lost with the ranges; the pointers must be to live values.
    pub(super) unsafe fn release_and_poll(
        ranges: *const Range,
        count: usize,
        poll: *mut libc::pollfd,
        timeout: i64,
    ) {
        // SAFETY: the caller's obligation; the function keeps to the C calling convention.
        unsafe { gantry_release_and_poll(ranges, count, poll, timeout) };
    }

    /// The page that the calls are made from.
    pub(super) fn page() -> Option<usize> {
        let function = gantry_release_and_poll as *const ();
        Some(function.addr() / PAGE * PAGE)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod arch {
    use super::Range;

    /// Calls madvise(2) for each range, then poll(2), from the C library: more of the program stays.
    ///
    /// # Safety
    /// Nothing but what is read from a file again may be lost with the ranges; the pointers must be to live values.
    pub(super) unsafe fn release_and_poll(
        ranges: *const Range,
        count: usize,
        poll: *mut libc::pollfd,
        timeout: i64,
    ) {
        for index in 0..count {
            // SAFETY: the caller's array has `count` ranges.
            let Range { start, len } = unsafe { ranges.add(index).read() };
            // SAFETY: the caller's obligation.
            unsafe { libc::madvise(start as *mut libc::c_void, len, libc::MADV_DONTNEED) };
        }
        // SAFETY: one live structure.
        unsafe { libc::poll(poll, 1, timeout as libc::c_int) };
    }

    /// There is no function of which the place is known; then the stack is kept, too.
    pub(super) fn page() -> Option<usize> {
        None
    }
}
