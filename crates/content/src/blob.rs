use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use gantry_types::Digest;

/// What the store knows of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// When it was committed.
    pub modified: SystemTime,
}

/// A blob that is open for reading. Its bytes stay as long as it does, whoever removes the blob.
#[derive(Debug)]
pub struct Blob {
    file: File,
    digest: Digest,
    size: u64,
    position: u64,
}

impl Blob {
    pub(crate) fn new(file: File, digest: Digest, size: u64) -> Self {
        Self { file, digest, size, position: 0 }
    }

    /// Its name.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file, which nobody changes: to map, to splice, or to send.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Reads at `offset`, whatever was read before; 0 at the end.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Blob {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.size.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = position
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a position before the first byte"))?;
        Ok(self.position)
    }
}
