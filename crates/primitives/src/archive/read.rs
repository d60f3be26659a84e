//! The files of an archive, into the store.

use std::collections::HashMap;
use std::io::Read;

use gantry_metadata::Pin;
use gantry_types::image::MAX_DOCUMENT_BYTES;
use gantry_types::{Descriptor, Digest, ErrorKind, Labels};

use super::{INDEX, LAYOUT, MANIFEST};
use crate::store::Inner;
use crate::{Context, Error, Result};

/// The most files of an archive.
const MAX_FILES: u64 = 200_000;
/// The longest name of one, in bytes.
const MAX_NAME_BYTES: usize = 4096;
/// How much is read at once.
const READ_BYTES: usize = 256 << 10;
/// The bytes by which a compression is told.
pub(super) const MAGIC_BYTES: usize = 4;

/// A file that is content now.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Its first bytes.
    pub(crate) magic: Vec<u8>,
}

/// What an archive has.
#[derive(Default)]
pub(crate) struct Files {
    /// `index.json`.
    pub(crate) index: Option<Vec<u8>>,
    /// `manifest.json`.
    pub(crate) manifest: Option<Vec<u8>>,
    /// Whether it says that it is a layout.
    pub(crate) is_layout: bool,
    /// Files by name, those of `blobs/` among them.
    pub(crate) stored: HashMap<String, Stored>,
    /// Links by name.
    links: HashMap<String, String>,
    /// Keeps the blobs until they have records.
    pins: Vec<Pin>,
}

impl Files {
    /// The file of that name, links followed.
    pub(crate) fn find(&self, name: &str) -> Option<&Stored> {
        /// Longer chains go in circles.
        const MAX_LINKS: usize = 16;
        let mut name = clean(name)?;
        for _ in 0..MAX_LINKS {
            if let Some(stored) = self.stored.get(&name) {
                return Some(stored);
            }
            name = self.links.get(&name)?.clone();
        }
        None
    }
}

/// A name without `.` and `..`; nothing for one that leads out.
fn clean(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// An ingest as a writer.
pub(super) struct Sink<'a>(pub(super) &'a mut gantry_content::Ingest);

impl std::io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn failed(error: std::io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(inner) if inner.kind() == ErrorKind::Cancelled => Error::Cancelled("the import"),
        _ => Error::Invalid { what: "archive", reason: error.to_string() },
    }
}

impl Inner {
    /// Stores everything that an archive has. Blocks.
    pub(crate) fn read_archive(&self, context: &Context, source: &mut dyn Read) -> Result<Files> {
        let mut files = Files::default();
        let mut archive = tar::Archive::new(source);
        let mut count = 0u64;
        for entry in archive.entries().map_err(failed)? {
            let mut entry = entry.map_err(failed)?;
            count += 1;
            if count > MAX_FILES {
                return Err(Error::Limit { what: "files of an archive", count, limit: MAX_FILES });
            }
            let raw = entry.path_bytes().into_owned();
            if raw.len() > MAX_NAME_BYTES {
                let (count, limit) = (raw.len() as u64, MAX_NAME_BYTES as u64);
                return Err(Error::Limit { what: "bytes of a name in an archive", count, limit });
            }
            let name = String::from_utf8(raw).map_err(|_| Error::Invalid {
                what: "archive",
                reason: "has a name that is not UTF-8".into(),
            })?;
            let Some(name) = clean(&name) else { continue };
            let kind = entry.header().entry_type();
            if kind.is_symlink() || kind.is_hard_link() {
                let target =
                    entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned());
                let target = target.unwrap_or_default();
                let base =
                    if kind.is_hard_link() { "" } else { name.rsplit_once('/').map_or("", |(base, _)| base) };
                if let Some(target) = clean(&format!("{base}/{target}")) {
                    files.links.insert(name, target);
                }
                continue;
            }
            if !kind.is_file() {
                continue;
            }
            let size = entry.size();
            match name.as_str() {
                LAYOUT => files.is_layout = true,
                INDEX => files.index = Some(document(&mut entry, size, INDEX)?),
                MANIFEST => files.manifest = Some(document(&mut entry, size, MANIFEST)?),
                "repositories" => {}
                _ => self.store_file(context, &name, &mut entry, size, count, &mut files)?,
            }
        }
        Ok(files)
    }

    fn store_file(
        &self,
        context: &Context,
        name: &str,
        entry: &mut dyn Read,
        size: u64,
        place: u64,
        files: &mut Files,
    ) -> Result<()> {
        let expected = name
            .strip_prefix("blobs/")
            .and_then(|rest| rest.split_once('/'))
            .and_then(|(algorithm, hex)| Digest::parse(&format!("{algorithm}:{hex}")).ok());
        let pin = expected.as_ref().map(|digest| self.database.pin(digest));
        let key =
            format!("import/{}/{}/{place}", context.namespace, context.lease.as_deref().unwrap_or_default());
        let (digest, magic) = match self.content.ingest(&key, Some(size), expected.as_ref()) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let digest = expected.ok_or_else(|| Error::from(error))?;
                let mut magic = vec![0; MAGIC_BYTES];
                let count = self.content.open_blob(&digest)?.read_at(&mut magic, 0).map_err(failed)?;
                magic.truncate(count);
                (digest, magic)
            }
            Err(error) => return Err(error.into()),
            Ok(ingest) => {
                let (digest, magic, late) = self.fill(ingest, entry, size)?;
                files.pins.extend(late);
                (digest, magic)
            }
        };
        files.pins.extend(pin);
        let descriptor = Descriptor::new("", digest.clone(), size);
        self.record_content(context, &descriptor, &Labels::new())?;
        files.stored.insert(name.to_owned(), Stored { digest, size, magic });
        Ok(())
    }

    fn fill(
        &self,
        mut ingest: gantry_content::Ingest,
        entry: &mut dyn Read,
        size: u64,
    ) -> Result<(Digest, Vec<u8>, Option<Pin>)> {
        if ingest.offset() > 0 {
            ingest.truncate(0)?;
        }
        let magic = match copy_entry(&mut ingest, entry) {
            Ok(magic) => magic,
            Err(error) => {
                // The next import would not find it: its name is this one's.
                ingest.abort()?;
                return Err(error);
            }
        };
        let digest = ingest.digest();
        let pin = self.database.pin(&digest);
        match ingest.commit(Some(size), None) {
            Ok(_) => {}
            Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => {}
            Err(refused) => {
                if let Some(ingest) = refused.ingest {
                    ingest.abort()?;
                }
                return Err(refused.error.into());
            }
        }
        Ok((digest, magic, Some(pin)))
    }
}

/// Writes a file of the archive, and gives its first bytes.
fn copy_entry(ingest: &mut gantry_content::Ingest, entry: &mut dyn Read) -> Result<Vec<u8>> {
    let mut buffer = vec![0; READ_BYTES];
    let mut magic = Vec::new();
    loop {
        let count = entry.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return Ok(magic);
        }
        if magic.len() < MAGIC_BYTES {
            let wanted = (MAGIC_BYTES - magic.len()).min(count);
            magic.extend_from_slice(&buffer[..wanted]);
        }
        ingest.write(&buffer[..count])?;
    }
}

/// A small file, whole (CVE-2023-25153: never an unbounded one).
fn document(entry: &mut dyn Read, size: u64, name: &'static str) -> Result<Vec<u8>> {
    if size > MAX_DOCUMENT_BYTES {
        return Err(Error::Limit { what: name, count: size, limit: MAX_DOCUMENT_BYTES });
    }
    let mut bytes = Vec::new();
    entry.take(MAX_DOCUMENT_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_lead_out_of_the_archive() {
        assert_eq!(clean("./a//b/../c").as_deref(), Some("a/c"));
        assert_eq!(clean("/etc/passwd").as_deref(), Some("etc/passwd"));
        for name in ["..", "a/../..", "", ".", "/"] {
            assert_eq!(clean(name), None, "{name}");
        }
    }

    #[test]
    fn links_in_a_circle_lead_nowhere() {
        let mut files = Files::default();
        files.links.insert("a".into(), "b".into());
        files.links.insert("b".into(), "a".into());
        assert!(files.find("a").is_none());
    }
}
