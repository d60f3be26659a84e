//! Where the last records of a log begin, found from its end.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use memchr::{memchr_iter, memrchr_iter};
use rustix::fs::fstat;
use rustix::io::Errno;

use crate::local::LENGTH_BYTES;
use crate::read::files::Opened;
use crate::read::local::length;
use crate::read::source::Source;
use crate::read::{Format, MAX_READ_LINE_BYTES, is_damage};

/// What is read at once.
const STEP_BYTES: usize = 64 << 10;

/// A file of a log, and what is to be read of it.
pub(super) struct Part {
    pub(super) source: Source,
    /// How many records are passed over first.
    pub(super) skip: u64,
}

/// The parts of a log, from the oldest, that have its last `tail` records, or all of them. The log itself is always there.
pub(super) fn parts(
    files: VecDeque<Opened>,
    format: Format,
    tail: Option<u64>,
) -> io::Result<VecDeque<Part>> {
    let Some(mut wanted) = tail else {
        return Ok(files.into_iter().map(|opened| Part { source: Source::new(opened), skip: 0 }).collect());
    };
    let mut parts = VecDeque::new();
    for opened in files.into_iter().rev() {
        if wanted == 0 && !parts.is_empty() {
            break;
        }
        let part = if opened.is_compressed {
            let total = opened.peek(|source| count(source, format))?;
            let skip = total.saturating_sub(wanted);
            wanted -= total - skip;
            Part { source: Source::new(opened), skip }
        } else {
            let (offset, found) = start(&opened.file, format, wanted)?;
            wanted -= found;
            Part { source: Source::Plain { file: opened.file, offset }, skip: 0 }
        };
        parts.push_front(part);
    }
    Ok(parts)
}

/// How many records a compressed file has, as far as it can be decompressed.
fn count(source: &mut Source, format: Format) -> io::Result<u64> {
    let mut step = vec![0; STEP_BYTES];
    let mut total = 0;
    let mut frames = Frames::default();
    loop {
        match source.read(&mut step) {
            Ok(0) => break,
            Ok(len) if format == Format::Local => total += frames.count(&step[..len]),
            Ok(len) => total += memchr_iter(b'\n', &step[..len]).count() as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_damage(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

/// Counts records of the local driver in bytes that come in steps.
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    /// What is left of the present record, with the length after it.
    rest: usize,
}

impl Frames {
    fn count(&mut self, mut bytes: &[u8]) -> u64 {
        let mut total = 0;
        while !bytes.is_empty() {
            if self.rest > 0 {
                let taken = self.rest.min(bytes.len());
                self.rest -= taken;
                bytes = &bytes[taken..];
                total += u64::from(self.rest == 0);
                continue;
            }
            let taken = (LENGTH_BYTES - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let Some(length) = length(&self.head) {
                self.head.clear();
                self.rest = length + LENGTH_BYTES;
            }
        }
        total
    }
}

/// Where the last `wanted` whole records of a plain file begin, and how many there are.
fn start(file: &File, format: Format, wanted: u64) -> io::Result<(u64, u64)> {
    let size = fstat(file).map(|status| u64::try_from(status.st_size).unwrap_or(0))?;
    if format == Format::Local {
        return match frames_back(file, size, wanted)? {
            Some(found) => Ok(found),
            // It ends amid a record, or is damaged: from the front.
            None => frames_on(file, size, wanted),
        };
    }
    let mut step = vec![0; STEP_BYTES];
    // The feeds that were passed: the last one ends the last record, each other one the record before.
    let (mut feeds, mut after_last) = (0, 0);
    let mut at = size;
    while at > 0 {
        let len = at.min(STEP_BYTES as u64);
        at -= len;
        let step = &mut step[..len as usize];
        read_at(file, step, at)?;
        for place in memrchr_iter(b'\n', step) {
            let after = at + place as u64 + 1;
            if feeds == 0 {
                after_last = after;
            }
            if feeds == wanted {
                return Ok((after, wanted));
            }
            feeds += 1;
        }
    }
    Ok(if wanted == 0 { (after_last, 0) } else { (0, feeds) })
}

/// Where the last whole record of the local driver's ends.
pub(crate) fn framed_end(fd: &OwnedFd, size: u64) -> Result<u64, Errno> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let file = File::from(fd.try_clone().map_err(errno)?);
    let back = frames_back(&file, size, 0).map_err(errno)?;
    back.map_or_else(|| frames_on(&file, size, 0).map_err(errno), Ok).map(|(end, _)| end)
}

/// Goes back by the lengths after the records; nothing if one of them is not one.
fn frames_back(file: &File, size: u64, wanted: u64) -> io::Result<Option<(u64, u64)>> {
    let (mut at, mut found) = (size, 0);
    let mut window = Window::default();
    let around = 2 * LENGTH_BYTES as u64;
    // The last one is looked at in any case: it may be torn.
    while at > 0 && (found < wanted || found == 0) {
        if at < around {
            return Ok(None);
        }
        let Some(length) = window.length(file, at - LENGTH_BYTES as u64)? else { return Ok(None) };
        let whole = length as u64 + around;
        if length > MAX_READ_LINE_BYTES || whole > at || window.length(file, at - whole)? != Some(length) {
            return Ok(None);
        }
        if wanted == 0 {
            return Ok(Some((at, 0)));
        }
        at -= whole;
        found += 1;
    }
    Ok(Some((at, found)))
}

/// Some bytes of a file, so that not each length is a call.
#[derive(Default)]
struct Window {
    from: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The length at a place.
    fn length(&mut self, file: &File, at: u64) -> io::Result<Option<usize>> {
        let end = at + LENGTH_BYTES as u64;
        if at < self.from || end > self.from + self.bytes.len() as u64 {
            self.from = end.saturating_sub(STEP_BYTES as u64);
            self.bytes.resize((end - self.from) as usize, 0);
            read_at(file, &mut self.bytes, self.from)?;
        }
        Ok(length(&self.bytes[(at - self.from) as usize..]))
    }
}

/// Goes through all records, twice: how many there are, and then to the first that is wanted.
fn frames_on(file: &File, size: u64, wanted: u64) -> io::Result<(u64, u64)> {
    let walk = |most: u64| -> io::Result<(u64, u64)> {
        let (mut at, mut found) = (0, 0);
        let mut head = [0; LENGTH_BYTES];
        while found < most && at + LENGTH_BYTES as u64 <= size {
            read_at(file, &mut head, at)?;
            let whole = u64::from(u32::from_be_bytes(head)) + 2 * LENGTH_BYTES as u64;
            if at + whole > size {
                break;
            }
            at += whole;
            found += 1;
        }
        Ok((at, found))
    };
    let (_, total) = walk(u64::MAX)?;
    let found = wanted.min(total);
    Ok((walk(total - found)?.0, found))
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}
