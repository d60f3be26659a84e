//! The header of SQLite's log (sqlite.org/fileformat2.html, 4.1).
//!
//! SQLite passes a log by whose header is wrong, as if it were empty: what it holds would be lost without a word. A header
//! is written by one call, within a sector, and before anything else of its log, so that neither a kill nor a power cut leaves one
//! that is wrong. What comes after it may be: the last frames of a log are allowed to be.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use crate::Error;

const HEADER_BYTES: usize = 32;
/// Before its last bit, which is the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

/// Refuses a log whose header is wrong. One that is absent, or was never written to, is fine.
///
/// # Errors
/// DataLoss, and those of the file system.
pub(crate) fn check(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let mut header = [0; HEADER_BYTES];
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    match file.read_exact(&mut header) {
        Ok(()) if is_whole(&header) || header == [0; HEADER_BYTES] => Ok(()),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(()) => Err(Error::damaged("the header of its log (-wal) is wrong".to_owned())),
    }
}

fn is_whole(header: &[u8; HEADER_BYTES]) -> bool {
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if word(0) & !1 != MAGIC || word(4) != VERSION {
        return false;
    }
    let summed = |at: usize| if word(0) & 1 == 1 { word(at) } else { word(at).swap_bytes() };
    let (mut first, mut second) = (0_u32, 0_u32);
    for at in (0..24).step_by(8) {
        first = first.wrapping_add(summed(at)).wrapping_add(second);
        second = second.wrapping_add(summed(at + 4)).wrapping_add(first);
    }
    (word(24), word(28)) == (first, second)
}
