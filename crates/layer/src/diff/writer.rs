//! Archives as they are written here: ustar headers, and a pax header where one does not hold it.

use std::io::{BufWriter, Write};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::DiffSummary;
use crate::Error;
use crate::error::text;

const BLOCK: usize = 512;
/// Copied at once.
const BUFFER_BYTES: usize = 256 << 10;
/// What octal digits hold: of sizes and times, and of ids and device numbers.
const MAX_LONG: u64 = 0o77_777_777_777;
const MAX_SHORT: u64 = 0o7_777_777;
/// What the name fields hold.
const MAX_NAME: usize = 100;

/// What becomes of a file that is shorter by now than its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Short {
    /// It is an error: a layer is of a tree that nobody changes.
    Refuse,
    /// Zeros take the place of what is not there, as with GNU tar.
    Fill,
}

/// A header to write.
#[derive(Debug, Default)]
pub(crate) struct Head<'a> {
    pub(crate) flag: u8,
    /// A directory's ends with a slash.
    pub(crate) path: &'a [u8],
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

pub(crate) struct Writer<'a> {
    out: BufWriter<&'a mut dyn Write>,
    buffer: Vec<u8>,
    pub(crate) summary: DiffSummary,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        let out = BufWriter::with_capacity(BUFFER_BYTES, out);
        Self { out, buffer: vec![0; BUFFER_BYTES], summary: DiffSummary::default() }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::Write)?;
        self.summary.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes a header; `size` bytes of data follow.
    pub(crate) fn head(&mut self, head: &Head<'_>) -> Result<(), Error> {
        self.summary.entries += 1;
        let records = records(head);
        if !records.is_empty() {
            let name = [
                b"PaxHeaders.0/",
                crate::apply::name::split(head.path.strip_suffix(b"/").unwrap_or(head.path)).1,
            ]
            .concat();
            let pax =
                Head { flag: b'x', path: &name, mode: 0o644, size: records.len() as u64, ..Head::default() };
            self.write(&block(&pax))?;
            self.write(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.write(&block(head))
    }

    /// Writes the data of a file of `size` bytes.
    pub(crate) fn data(
        &mut self,
        file: BorrowedFd<'_>,
        size: u64,
        path: &[u8],
        short: Short,
    ) -> Result<(), Error> {
        let mut left = size;
        while left > 0 {
            let wanted = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = match rustix::io::read(file, &mut self.buffer[..wanted]) {
                Ok(0) if short == Short::Fill => {
                    self.buffer[..wanted].fill(0);
                    wanted
                }
                Ok(0) => return Err(Error::Changed { path: text(path) }),
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::system("read", path, errno)),
            };
            self.out.write_all(&self.buffer[..count]).map_err(Error::Write)?;
            self.summary.bytes += count as u64;
            left -= count as u64;
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let padding = (size.wrapping_neg() % BLOCK as u64) as usize;
        self.write(&[0; BLOCK][..padding])
    }

    pub(crate) fn finish(mut self) -> Result<DiffSummary, Error> {
        self.write(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(Error::Write)?;
        Ok(self.summary)
    }
}

/// What the header block cannot say, in a fixed order.
fn records(head: &Head<'_>) -> Vec<u8> {
    let mut records = Vec::new();
    for (key, number) in [("gid", head.gid), ("uid", head.uid)] {
        if u64::from(number) > MAX_SHORT {
            record(&mut records, key.as_bytes(), number.to_string().as_bytes());
        }
    }
    if head.link.len() > MAX_NAME {
        record(&mut records, b"linkpath", head.link);
    }
    if u64::try_from(head.mtime).map_or(true, |mtime| mtime > MAX_LONG) {
        record(&mut records, b"mtime", head.mtime.to_string().as_bytes());
    }
    if head.path.len() > MAX_NAME {
        record(&mut records, b"path", head.path);
    }
    if head.size > MAX_LONG {
        record(&mut records, b"size", head.size.to_string().as_bytes());
    }
    for (name, value) in head.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    records
}

/// A record's length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

fn block(head: &Head<'_>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut name = |at: usize, name: &[u8]| {
        let name = &name[..name.len().min(MAX_NAME)];
        block[at..at + name.len()].copy_from_slice(name);
    };
    name(0, head.path);
    name(157, head.link);
    let mut octal = |at: usize, width: usize, number: u64| {
        block[at..at + width].copy_from_slice(format!("{number:0width$o}").as_bytes());
    };
    let short = |number: u32| if u64::from(number) > MAX_SHORT { 0 } else { u64::from(number) };
    let long = |number: u64| if number > MAX_LONG { 0 } else { number };
    octal(100, 7, u64::from(head.mode & 0o7777));
    octal(108, 7, short(head.uid));
    octal(116, 7, short(head.gid));
    octal(124, 11, long(head.size));
    octal(136, 11, long(u64::try_from(head.mtime).unwrap_or(0)));
    octal(329, 7, short(head.device.0));
    octal(337, 7, short(head.device.1));
    block[156] = head.flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    block[154] = 0;
    block
}
