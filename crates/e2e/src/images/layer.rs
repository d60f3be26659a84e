use std::io::Write;

use tar::{Builder, EntryType, Header};

/// The time of every entry: a layer of the tests is the same bytes each time.
const TIME: u64 = 1_700_000_000;

/// A layer under construction: entries of a tar in the order in which they are added, with what is true of the next one.
pub struct Layer {
    tar: Builder<Vec<u8>>,
    owner: (u64, u64),
    attributes: Vec<(String, Vec<u8>)>,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Layer({} bytes)", self.tar.get_ref().len())
    }
}

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer {
    /// One without entries.
    pub fn new() -> Self {
        Self { tar: Builder::new(Vec::new()), owner: (0, 0), attributes: Vec::new() }
    }

    /// The owner of the entries that follow.
    #[must_use]
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// An extended attribute of the next entry.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &[u8]) -> Self {
        self.attributes.push((format!("SCHILY.xattr.{name}"), value.to_owned()));
        self
    }

    /// The next entry's name in a PAX record, not in the header.
    #[must_use]
    pub fn pax(mut self, key: &str, value: &str) -> Self {
        self.attributes.push((key.to_owned(), value.as_bytes().to_owned()));
        self
    }

    fn entry(mut self, kind: EntryType, path: &str, mode: u32, link: Option<&str>, data: &[u8]) -> Self {
        let records = std::mem::take(&mut self.attributes);
        if !records.is_empty() {
            let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
            self.tar.append_pax_extensions(records).expect("memory takes bytes");
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(TIME);
        header.set_size(data.len() as u64);
        match link {
            Some(target) => self.tar.append_link(&mut header, path, target),
            None => self.tar.append_data(&mut header, path, data),
        }
        .expect("memory takes bytes");
        self
    }

    /// A directory.
    #[must_use]
    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, &format!("{path}/"), mode, None, &[])
    }

    /// A regular file.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, data: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, path, mode, None, data.as_ref())
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, Some(target), &[])
    }

    /// A hard link; some take the file's mode from here.
    #[must_use]
    pub fn link(self, path: &str, target: &str, mode: u32) -> Self {
        self.entry(EntryType::Link, path, mode, Some(target), &[])
    }

    /// A named pipe.
    #[must_use]
    pub fn fifo(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Fifo, path, mode, None, &[])
    }

    /// A character device.
    ///
    /// # Panics
    /// When the path is longer than a header takes.
    #[must_use]
    pub fn character_device(mut self, path: &str, mode: u32, major: u32, minor: u32) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Char);
        header.set_mode(mode);
        header.set_mtime(TIME);
        header.set_size(0);
        header.set_device_major(major).expect("a header of GNU has devices");
        header.set_device_minor(minor).expect("a header of GNU has devices");
        self.tar.append_data(&mut header, path, &[][..]).expect("memory takes bytes");
        self
    }

    /// A whiteout: `name` in `directory` of the layers below is no more.
    #[must_use]
    pub fn whiteout(self, directory: &str, name: &str) -> Self {
        self.file(&format!("{directory}/.wh.{name}"), 0o644, [])
    }

    /// Nothing of the layers below is in this directory.
    #[must_use]
    pub fn opaque(self, directory: &str) -> Self {
        self.file(&format!("{directory}/.wh..wh..opq"), 0o644, [])
    }

    /// The tar.
    pub fn bytes(self) -> Vec<u8> {
        self.tar.into_inner().expect("memory takes bytes")
    }
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// The compressed bytes of a tar.
    ///
    /// # Panics
    /// Never: memory takes them.
    pub fn compress(self, tar: &[u8]) -> Vec<u8> {
        match self {
            Self::None => tar.to_vec(),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
                encoder.write_all(tar).expect("memory takes bytes");
                encoder.finish().expect("memory takes bytes")
            }
            Self::Zstd => zstd::encode_all(tar, 3).expect("memory takes bytes"),
        }
    }

    /// What OCI calls such a layer.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}
