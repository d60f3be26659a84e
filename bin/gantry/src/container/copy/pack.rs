//! Packs what goes into a container.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytes::Bytes;
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

/// How much is sent at once.
const CHUNK: usize = 128 << 10;

/// Packs a file or a directory under a name; gives the archive's length.
pub(super) fn pack(root: &Path, name: &str, sender: mpsc::Sender<io::Result<Bytes>>) -> Result<u64> {
    let mut builder = Builder::new(Chunks::new(sender.clone()));
    let packed = add(&mut builder, root, Path::new(name));
    let result = packed.and_then(|()| {
        let mut chunks = builder.into_inner().context("the archive's end")?;
        chunks.flush()?;
        Ok(chunks.total)
    });
    result.inspect_err(|error| {
        // The request has to fail, too: an archive that only ends would be taken for a whole one.
        let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
    })
}

/// Adds a tree, without recursion: its depth is not ours.
fn add<W: Write>(builder: &mut Builder<W>, root: &Path, name: &Path) -> Result<()> {
    let mut waiting: Vec<(PathBuf, PathBuf)> = vec![(root.to_owned(), name.to_owned())];
    while let Some((path, name)) = waiting.pop() {
        let status = fs::symlink_metadata(&path).with_context(|| format!("lstat {}", path.display()))?;
        entry(builder, &path, &name, &status).with_context(|| path.display().to_string())?;
        if status.is_dir() {
            let mut names = Vec::new();
            for below in fs::read_dir(&path).with_context(|| path.display().to_string())? {
                names.push(below.with_context(|| path.display().to_string())?.file_name());
            }
            names.sort();
            waiting.extend(names.into_iter().rev().map(|below| (path.join(&below), name.join(&below))));
        }
    }
    Ok(())
}

/// Adds one file.
pub(crate) fn entry<W: Write>(
    builder: &mut Builder<W>,
    path: &Path,
    name: &Path,
    status: &fs::Metadata,
) -> Result<()> {
    let kind = status.file_type();
    let mut header = Header::new_gnu();
    header.set_mode(status.mode() & 0o7777);
    header.set_uid(status.uid().into());
    header.set_gid(status.gid().into());
    header.set_mtime(u64::try_from(status.mtime()).unwrap_or(0));
    header.set_size(0);
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        // With a slash: that is how a directory's name ends.
        builder.append_data(&mut header, name.join(""), io::empty())?;
    } else if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        builder.append_link(&mut header, name, fs::read_link(path)?)?;
    } else if kind.is_file() {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        header.set_entry_type(EntryType::Regular);
        header.set_size(length);
        builder.append_data(&mut header, name, Exactly { file, left: length })?;
    } else if kind.is_fifo() {
        header.set_entry_type(EntryType::Fifo);
        builder.append_data(&mut header, name, io::empty())?;
    } else if kind.is_char_device() || kind.is_block_device() {
        header.set_entry_type(if kind.is_char_device() { EntryType::Char } else { EntryType::Block });
        let device = status.rdev();
        header.set_device_major(rustix::fs::major(device))?;
        header.set_device_minor(rustix::fs::minor(device))?;
        builder.append_data(&mut header, name, io::empty())?;
    }
    // Sockets have no meaning in an archive.
    Ok(())
}

/// A file that has as many bytes as its header said, whatever happens to it meanwhile.
struct Exactly {
    file: File,
    left: u64,
}

impl io::Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let count = self.file.read(&mut buffer[..room])?;
        if count == 0 {
            return Err(io::Error::other("the file became shorter while it was read"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// A writer that sends chunks.
pub(crate) struct Chunks {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
    pub(crate) total: u64,
}

impl Chunks {
    pub(crate) fn new(sender: mpsc::Sender<io::Result<Bytes>>) -> Self {
        Self { sender, buffer: Vec::with_capacity(CHUNK), total: 0 }
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.total += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        let sent = self.sender.blocking_send(Ok(chunk.into()));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the engine does not read any more"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_packed_in_order() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/f"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("a")).unwrap();
        let mut builder = Builder::new(Vec::new());
        add(&mut builder, dir.path(), Path::new("n")).unwrap();
        let bytes = builder.into_inner().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap())
            .collect();
        assert_eq!(names, ["n/", "n/a", "n/d/", "n/d/f"]);
    }
}
