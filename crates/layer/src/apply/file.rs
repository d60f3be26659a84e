//! Regular files: made, filled straight from the reader's buffer, and given their attributes through their descriptor.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown, ftruncate, futimens, openat};
use rustix::io::Errno;

use super::entry::Applier;
use crate::Error;
use crate::archive::{Archive, Entry, Part};
use crate::attributes::timestamps;

const NEW: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Applier<'_> {
    pub(super) fn file(
        &mut self,
        entry: &Entry,
        name: &[u8],
        archive: &mut Archive<'_>,
    ) -> Result<(), Error> {
        let path = &entry.path;
        let fd = self.replacing(name, "open", |dir| openat(dir, name, NEW, Mode::RUSR | Mode::WUSR))?;
        let failed = |operation| move |errno| Error::system(operation, path, errno);
        match &entry.sparse {
            None => write_all(fd.as_fd(), entry, archive)?,
            Some(parts) => write_parts(fd.as_fd(), entry, parts, archive)?,
        }
        if let Some((uid, gid)) = self.new_owner(entry, path)? {
            fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(failed("chown"))?;
        }
        // After the owner, whose change drops capabilities; the mode after it, too, for its set-id bits.
        if !entry.xattrs.is_empty() {
            self.xattrs(entry, fd.as_fd(), path)?;
        }
        fchmod(&fd, Mode::from_raw_mode(entry.mode)).map_err(failed("chmod"))?;
        futimens(&fd, &timestamps(entry.mtime, entry.atime)).map_err(failed("utimensat"))
    }
}

fn write_all(fd: BorrowedFd<'_>, entry: &Entry, archive: &mut Archive<'_>) -> Result<(), Error> {
    loop {
        let mut piece = archive.piece()?;
        if piece.is_empty() {
            return Ok(());
        }
        while !piece.is_empty() {
            match rustix::io::write(fd, piece) {
                Ok(count) => piece = &piece[count..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system("write", &entry.path, errno)),
            }
        }
    }
}

/// Writes the parts where they belong; what is between them stays a hole.
fn write_parts(
    fd: BorrowedFd<'_>,
    entry: &Entry,
    parts: &[Part],
    archive: &mut Archive<'_>,
) -> Result<(), Error> {
    let failed = |operation| move |errno| Error::system(operation, &entry.path, errno);
    for part in parts {
        let (mut offset, mut left) = (part.offset, part.length);
        while left > 0 {
            let mut piece = archive.piece_of(left)?;
            left -= piece.len() as u64;
            while !piece.is_empty() {
                match rustix::io::pwrite(fd, piece, offset) {
                    Ok(count) => {
                        piece = &piece[count..];
                        offset += count as u64;
                    }
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(failed("write")(errno)),
                }
            }
        }
    }
    ftruncate(fd, entry.size).map_err(failed("truncate"))
}
