//! Reading an archive: v7, ustar, pax, GNU and star headers, one pass, nothing kept.
//!
//! Where readers differ, this one does as Go's archive/tar, by which most layers are read: global pax headers do nothing,
//! links and directories have no data whatever their size says, and an archive may lack its end. The size that counts for
//! an entry's data is the one of its pax header (CVE-2025-62518); an extended header's own is the one in its own block.

mod header;
mod pax;
mod source;
mod sparse;

use std::io::Read;

use header::{BLOCK, Header};
use pax::{Extensions, Refused};
use source::Source;
pub use sparse::Part;

use crate::{Error, Limits};

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// And nanoseconds, always forward.
    pub nanoseconds: u32,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where its first header begins in the archive.
    pub offset: u64,
    /// What it is.
    pub kind: EntryKind,
    /// Its name as it stands. It has no NUL, and may be anything else.
    pub path: Vec<u8>,
    /// What it links to.
    pub link: Vec<u8>,
    /// Its size, holes included.
    pub size: u64,
    /// Its permissions, set-id and sticky bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When it was changed.
    pub mtime: Time,
    /// When it was read.
    pub atime: Option<Time>,
    /// The numbers of a device.
    pub device: (u32, u32),
    /// Its extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The parts of a sparse file, in order; what [`Archive::piece`] gives is these one after another.
    pub sparse: Option<Vec<Part>>,
}

/// A reader of an archive.
pub struct Archive<'a> {
    source: Source<'a>,
    limits: Limits,
    /// Bytes of the current entry's data that were not read.
    data: u64,
    /// Bytes between the data and the next header.
    padding: u64,
    done: bool,
}

impl std::fmt::Debug for Archive<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("offset", &self.source.offset()).finish_non_exhaustive()
    }
}

/// The headers that say something of the next entry.
#[derive(Default)]
struct Ahead {
    extensions: Extensions,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

fn malformed(offset: u64, refused: impl Into<Refused>) -> Error {
    match refused.into() {
        Refused::Malformed(reason) => Error::Malformed { offset, reason },
        Refused::Limit(error) => error,
    }
}

const EARLY: &str = "it ends early";

impl<'a> Archive<'a> {
    /// Reads the uncompressed archive that `reader` gives.
    pub fn new(reader: &'a mut dyn Read, limits: &Limits) -> Self {
        let source = Source::new(reader, limits.archive_bytes);
        Self { source, limits: *limits, data: 0, padding: 0, done: false }
    }

    /// Bytes that were read of the archive.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// The next entry; `None` at the end. What is left of the current one's data is skipped.
    ///
    /// # Errors
    /// InvalidArgument if it is malformed or ends within an entry; ResourceExhausted for a limit; the reader's.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.skip_rest()?;
        let offset = self.source.offset();
        let mut ahead = Ahead::default();
        let mut alone = true;
        while let Some(block) = self.block(offset)? {
            let header = header::parse(&block).map_err(|reason| malformed(offset, reason))?;
            match header.flag {
                b'x' | b'X' => {
                    let records = self.extended(header.size, offset)?;
                    ahead.extensions = Extensions::parse(&records, &self.limits)
                        .map_err(|refused| malformed(offset, refused))?;
                }
                b'L' => ahead.long_path = Some(self.long_name(header.size, offset)?),
                b'K' => ahead.long_link = Some(self.long_name(header.size, offset)?),
                // A label of a volume, and what is said of all entries: neither says anything here.
                b'g' | b'V' => {
                    self.data_follows(header.size);
                    self.skip_rest()?;
                    continue;
                }
                _ => return self.entry(offset, &block, header, ahead).map(Some),
            }
            alone = false;
        }
        if alone { Ok(None) } else { Err(malformed(offset, "an extended header without an entry")) }
    }

    /// The next header block; `None` at the end of the archive, with or without its two blocks of zeros.
    fn block(&mut self, offset: u64) -> Result<Option<[u8; BLOCK]>, Error> {
        if self.done {
            return Ok(None);
        }
        let Some(block) = self.take_block(offset)? else {
            self.done = true;
            return Ok(None);
        };
        if !header::is_zero(&block) {
            return Ok(Some(block));
        }
        self.done = true;
        match self.take_block(offset)? {
            Some(second) if !header::is_zero(&second) => Err(malformed(offset, "a lone block of zeros")),
            _ => Ok(None),
        }
    }

    fn take_block(&mut self, offset: u64) -> Result<Option<[u8; BLOCK]>, Error> {
        let bytes = self.source.peek(BLOCK)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let block = *bytes.first_chunk().ok_or_else(|| malformed(offset, EARLY))?;
        self.source.consume(BLOCK);
        Ok(Some(block))
    }

    fn data_follows(&mut self, size: u64) {
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn skip_rest(&mut self) -> Result<(), Error> {
        let data = std::mem::take(&mut self.data);
        if self.source.skip(data)? < data {
            return Err(malformed(self.source.offset(), EARLY));
        }
        let padding = std::mem::take(&mut self.padding);
        self.source.skip(padding)?;
        Ok(())
    }

    /// The next piece of the current entry's data, empty after the last.
    ///
    /// # Errors
    /// InvalidArgument if the archive ends within it; the reader's.
    pub fn piece(&mut self) -> Result<&[u8], Error> {
        self.piece_of(u64::MAX)
    }

    /// The next piece, of at most `most` bytes.
    pub(crate) fn piece_of(&mut self, most: u64) -> Result<&[u8], Error> {
        let (wanted, offset) = (self.data.min(most), self.source.offset());
        let piece = self.source.piece(wanted)?;
        self.data -= piece.len() as u64;
        if piece.is_empty() && wanted > 0 {
            return Err(malformed(offset, EARLY));
        }
        Ok(piece)
    }

    /// Reads what follows the end of the archive, so that the reader is at its own end.
    ///
    /// # Errors
    /// As [`Archive::next_entry`].
    pub fn drain(&mut self) -> Result<(), Error> {
        self.skip_rest()?;
        self.source.skip(u64::MAX).map(drop)
    }

    /// The whole data of an extended header.
    fn extended(&mut self, size: u64, offset: u64) -> Result<Vec<u8>, Error> {
        let limit = self.limits.pax_bytes;
        if size > limit {
            return Err(Error::Limit { what: "bytes of an extended header", limit });
        }
        self.data_follows(size);
        let mut bytes = Vec::new();
        while self.data > 0 {
            bytes.extend_from_slice(self.piece()?);
        }
        if bytes.len() as u64 != size {
            return Err(malformed(offset, EARLY));
        }
        self.skip_rest()?;
        Ok(bytes)
    }

    fn long_name(&mut self, size: u64, offset: u64) -> Result<Vec<u8>, Error> {
        let bytes = self.extended(size, offset)?;
        Ok(header::text(&bytes).to_vec())
    }

    fn entry(
        &mut self,
        offset: u64,
        block: &[u8; BLOCK],
        header: Header,
        ahead: Ahead,
    ) -> Result<Entry, Error> {
        let extensions = ahead.extensions;
        let stored = extensions.size.unwrap_or(header.size);
        let path =
            extensions.sparse.name.clone().or(ahead.long_path).or(extensions.path).unwrap_or(header.path);
        let kind =
            kind_of(header.flag, &path).ok_or_else(|| Error::invalid(&path, "unknown type of entry"))?;
        self.data_follows(if kind == EntryKind::File { stored } else { 0 });
        let (size, sparse) = self.layout(offset, block, header.flag, kind, stored, extensions.sparse)?;
        let id = |id: i64| match u32::try_from(id) {
            // The last one means "as it is" to chown(2).
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(Error::invalid(&path, "owner out of range")),
        };
        let number =
            |number: i64| u32::try_from(number).map_err(|_| Error::invalid(&path, "device out of range"));
        let device = match kind {
            EntryKind::CharDevice | EntryKind::BlockDevice => {
                (number(header.device.0)?, number(header.device.1)?)
            }
            _ => (0, 0),
        };
        Ok(Entry {
            offset,
            kind,
            link: ahead.long_link.or(extensions.link).unwrap_or(header.link),
            size,
            mode: header.mode,
            uid: id(extensions.uid.unwrap_or(header.uid))?,
            gid: id(extensions.gid.unwrap_or(header.gid))?,
            mtime: extensions.mtime.unwrap_or(header.mtime),
            atime: extensions.atime,
            device,
            xattrs: extensions.xattrs,
            sparse,
            path,
        })
    }

    /// The size with holes, and where the stored data belongs.
    fn layout(
        &mut self,
        offset: u64,
        block: &[u8; BLOCK],
        flag: u8,
        kind: EntryKind,
        stored: u64,
        pax: sparse::PaxSparse,
    ) -> Result<(u64, Option<Vec<Part>>), Error> {
        let (size, parts) = match kind {
            EntryKind::File if flag == b'S' => self.gnu_map(offset, block)?,
            EntryKind::File if pax.is_in_data() => (
                pax.size.ok_or_else(|| malformed(offset, "sparse file without a size"))?,
                self.data_map(offset)?,
            ),
            EntryKind::File if pax.is_sparse() => {
                (pax.size.ok_or_else(|| malformed(offset, "sparse file without a size"))?, pax.parts)
            }
            EntryKind::File => return self.check_size(stored).map(|()| (stored, None)),
            _ => return Ok((0, None)),
        };
        self.check_size(size)?;
        sparse::check(&parts, size, self.data).map_err(|reason| malformed(offset, reason))?;
        Ok((size, Some(parts)))
    }

    fn check_size(&self, size: u64) -> Result<(), Error> {
        let limit = self.limits.file_bytes;
        if size <= limit { Ok(()) } else { Err(Error::Limit { what: "bytes of a file", limit }) }
    }

    fn gnu_map(&mut self, offset: u64, block: &[u8; BLOCK]) -> Result<(u64, Vec<Part>), Error> {
        let bad = |reason| malformed(offset, reason);
        let mut map = header::gnu_sparse(block).map_err(bad)?;
        while map.more {
            sparse::check_count(map.parts.len(), &self.limits)?;
            let next = self.take_block(offset)?.ok_or_else(|| bad(EARLY))?;
            map.more = header::gnu_sparse_more(&next, &mut map.parts).map_err(bad)?;
        }
        let positive = |number: i64| u64::try_from(number).map_err(|_| bad("bad sparse map"));
        let part = |&(at, length): &(i64, i64)| Ok(Part { offset: positive(at)?, length: positive(length)? });
        let parts = map.parts.iter().map(part).collect::<Result<Vec<_>, Error>>()?;
        Ok((positive(map.size)?, parts))
    }

    /// The map at the beginning of the data, which is padded to whole blocks.
    fn data_map(&mut self, offset: u64) -> Result<Vec<Part>, Error> {
        let mut map = sparse::MapReader::default();
        let mut length = 0u64;
        loop {
            let limits = self.limits;
            let piece = self.piece_of(BLOCK as u64)?;
            if piece.is_empty() {
                return Err(malformed(offset, "bad sparse map"));
            }
            length += piece.len() as u64;
            if map.feed(piece, &limits).map_err(|refused| malformed(offset, refused))?.is_some() {
                break;
            }
        }
        let padding = length.wrapping_neg() % BLOCK as u64;
        if padding > self.data {
            return Err(malformed(offset, "bad sparse map"));
        }
        self.data -= padding;
        self.source.skip(padding)?;
        Ok(map.parts)
    }
}

/// The kind that a type flag means. Before ustar, a directory was a file whose name ends with a slash.
fn kind_of(flag: u8, path: &[u8]) -> Option<EntryKind> {
    Some(match flag {
        0 if path.ends_with(b"/") => EntryKind::Directory,
        // The last is a "contiguous" file, which is a file everywhere.
        0 | b'0' | b'S' | b'7' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        _ => return None,
    })
}
