//! Giving memory back: madvise(2), malloc_trim(3).

use crate::seal::segments;
use crate::syscall::check;

/// Takes the pages of the program's code and constants out of this process's memory, and gives free heap back.
///
/// They stay in the page cache, from where they come again when they are used: for a process that is about to sleep for long.
/// Which of several processes of one program has them mapped makes no difference to the machine, but a process that sleeps is
/// not charged for pages that nobody else has mapped at the time.
pub fn release_idle() {
    let (loaded, _) = segments();
    for segment in loaded.iter().filter(|segment| !segment.is_writable()) {
        // SAFETY: the range is a segment of this program that is mapped privately from its file, was never written and
        // cannot be; a page that is dropped is read from the file again, with the same content (ETXTBSY, or a sealed
        // mount, keeps others from writing it).
        let _ = check(
            unsafe { libc::madvise(segment.start as *mut libc::c_void, segment.len, libc::MADV_DONTNEED) }
                .into(),
        );
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: has no precondition; it touches only what the allocator knows to be free.
    unsafe {
        libc::malloc_trim(0)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_kib() -> u64 {
        let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn the_program_goes_on_with_less() {
        let before = resident_kib();
        release_idle();
        let after = resident_kib();
        assert!(after < before, "{before} KiB, then {after} KiB");
        assert_eq!(format!("{:?}", [1, 2, 3]), "[1, 2, 3]");
    }
}
