//! A new database for a root whose own is damaged: what `metadata` can still read of it, joined with the bytes that are there.
//!
//! It looks at files and changes none but the database's: blobs and directories that nothing names go at the next start, as always.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use gantry_metadata::salvage::{Document, Found, Report, Salvage};
use gantry_types::image::{ImageConfig, Index, MAX_DOCUMENT_BYTES, Manifest};
use gantry_types::media_type::Kind;
use gantry_types::{Algorithm, ChainId, Descriptor, Digest, Hasher, Labels, labels, media_type};
use rustix::fs::OFlags;

use crate::store::boot_id;
use crate::{Error, Result};

/// How much is read at a time to hash it, in bytes.
const HASH_BUFFER: usize = 256 << 10;
/// The drivers whose directories are ours.
const DRIVERS: [&str; 2] = ["overlayfs", "native"];

/// What a repair would do, ready to be done.
pub struct Repair {
    salvage: Salvage,
}

impl Repair {
    /// Reads the store at `root`, which nobody else may have open, and makes a new database for it, which is not in its place
    /// yet. `boot` is the kernel's boot id if none is given. Blocks.
    ///
    /// # Errors
    /// FailedPrecondition if a newer version wrote it; those of the file systems. Damage is none.
    pub fn prepare(root: &Path, boot: Option<String>) -> Result<Self> {
        let boot = boot.map_or_else(boot_id, Ok)?;
        let mut salvage = Salvage::read(root, &boot)?;
        let blobs = Blobs { root: root.join("content/blobs"), proven: RefCell::default() };
        let found = Found {
            blobs: blobs.all()?,
            directories: directories(&root.join("snapshots"))?,
            proves: &|digest| blobs.proves(digest),
            document: &|digest, media_type| blobs.document(digest, media_type),
        };
        salvage.settle(&found)?;
        Ok(Self { salvage })
    }

    /// What is kept, made again and lost.
    pub fn report(&self) -> &Report {
        self.salvage.report()
    }

    /// Puts the new database in its place, and tells where the damaged one is now, if there was one.
    ///
    /// # Errors
    /// Those of the file system. An installation that was cut off is brought to its end by the next start.
    pub fn install(self) -> Result<Option<PathBuf>> {
        let (_, aside) = self.salvage.install()?;
        Ok(aside)
    }
}

/// The files of blobs.
struct Blobs {
    root: PathBuf,
    /// What hashing them gave.
    proven: RefCell<HashMap<Digest, bool>>,
}

impl Blobs {
    /// All of them with their lengths. Names that are no digest, and what is no file, are passed over.
    fn all(&self) -> Result<BTreeMap<Digest, u64>> {
        let mut all = BTreeMap::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.root.join(algorithm.name());
            for (name, metadata) in entries(&directory)? {
                let digest = Digest::parse(&format!("{}:{name}", algorithm.name()));
                if let (Ok(digest), true) = (digest, metadata.is_file()) {
                    all.insert(digest, metadata.len());
                }
            }
        }
        Ok(all)
    }

    fn open(&self, digest: &Digest) -> io::Result<File> {
        let path = self.root.join(digest.algorithm().name()).join(digest.hex());
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        OpenOptions::new().read(true).custom_flags(flags).open(path)
    }

    /// Whether the bytes have the digest. What cannot be read has not.
    fn proves(&self, digest: &Digest) -> bool {
        if let Some(known) = self.proven.borrow().get(digest) {
            return *known;
        }
        let hash = || -> io::Result<Digest> {
            let (mut file, mut hasher) = (self.open(digest)?, Hasher::new(digest.algorithm()));
            let mut buffer = vec![0; HASH_BUFFER];
            loop {
                match file.read(&mut buffer) {
                    Ok(0) => return Ok(hasher.finish()),
                    Ok(read) => hasher.update(&buffer[..read]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        };
        let right = hash().is_ok_and(|found| found == *digest);
        self.proven.borrow_mut().insert(digest.clone(), right);
        right
    }

    /// The index or manifest of that digest.
    fn document(&self, digest: &Digest, media_type: &str) -> Option<Document> {
        let kind = media_type::kind(media_type);
        if !media_type.is_empty() && !kind.has_children() && kind != Kind::Config {
            return None;
        }
        let mut bytes = Vec::new();
        self.open(digest).ok()?.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes).ok()?;
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        if bytes.len() as u64 > MAX_DOCUMENT_BYTES || hasher.finish() != *digest {
            return None;
        }
        if kind == Kind::Config { configuration(&bytes, media_type) } else { read(&bytes, media_type) }
    }
}

/// Reads an index or manifest; one of no known type by what it says of itself.
fn read(bytes: &[u8], media_type: &str) -> Option<Document> {
    const TYPES: [&str; 4] = [
        media_type::OCI_INDEX,
        media_type::DOCKER_INDEX,
        media_type::OCI_MANIFEST,
        media_type::DOCKER_MANIFEST,
    ];
    let is_given = !media_type.is_empty();
    for media_type in TYPES.into_iter().filter(|known| !is_given || *known == media_type) {
        let children: Option<Vec<(String, Descriptor)>> = match media_type {
            media_type::OCI_INDEX | media_type::DOCKER_INDEX => {
                // Without its type, anything is an index of nothing.
                let index = Index::read(bytes, media_type).ok();
                let index = index.filter(|index| is_given || !index.manifests.is_empty());
                index.map(|index| numbered("m", index.manifests).collect())
            }
            _ => Manifest::read(bytes, media_type).ok().map(|manifest| {
                let config = std::iter::once(("config".to_owned(), manifest.config));
                config.chain(numbered("l", manifest.layers)).collect()
            }),
        };
        let Some(children) = children else { continue };
        let label = |(suffix, child): &(String, Descriptor)| {
            (format!("{}.{suffix}", labels::GC_REF_CONTENT), child.digest.to_string())
        };
        let labels: Labels = children.iter().map(label).collect();
        let children = children.into_iter().map(|(_, child)| child).collect();
        return Some(Document { media_type: media_type.to_owned(), labels, children });
    }
    None
}

/// A configuration refers to the snapshot of its layers, where that is unpacked.
fn configuration(bytes: &[u8], media_type: &str) -> Option<Document> {
    let config = ImageConfig::read(bytes).ok()?;
    let chain = ChainId::chain(&config.rootfs.diff_ids).pop()?;
    let label = |driver| (format!("{}.{driver}", labels::GC_REF_SNAPSHOT), chain.to_string());
    let labels = DRIVERS.into_iter().map(label).collect();
    Some(Document { media_type: media_type.to_owned(), labels, children: Vec::new() })
}

/// Descriptors with the ends of the labels that keep them.
fn numbered(letter: &str, all: Vec<Descriptor>) -> impl Iterator<Item = (String, Descriptor)> {
    all.into_iter().enumerate().map(move |(place, child)| (format!("{letter}.{place}"), child))
}

/// The numbers of the directories of our drivers.
fn directories(root: &Path) -> Result<BTreeMap<String, BTreeSet<u64>>> {
    let mut all = BTreeMap::new();
    for driver in DRIVERS {
        let entries = entries(&root.join(driver))?;
        let numbers = entries.into_iter().filter(|(_, metadata)| metadata.is_dir());
        let numbers = numbers.filter_map(|(name, _)| name.parse().ok()).collect();
        all.insert(driver.to_owned(), numbers);
    }
    Ok(all)
}

/// The names in a directory, of which it knows nothing if it is not there.
fn entries(directory: &Path) -> Result<Vec<(String, std::fs::Metadata)>> {
    let failed = || Error::file("reading", directory);
    let listed = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(failed())?,
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(failed())?;
        // Without following links.
        let metadata = entry.metadata().map_err(failed())?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, metadata));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{"schemaVersion":2,
        "config":{"mediaType":"c","digest":"sha256:aa2f5d3bc2a8ac4a7cf0be6d5a2ba60e2ba5cd4c2ac6cac8b3f5b1e2d9b1bd4c","size":2},
        "layers":[{"mediaType":"l","digest":"sha256:bb2f5d3bc2a8ac4a7cf0be6d5a2ba60e2ba5cd4c2ac6cac8b3f5b1e2d9b1bd4c","size":3}]}"#;

    /// A root with the file of one blob.
    fn blob(bytes: &[u8]) -> (tempfile::TempDir, Blobs, Digest) {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::sha256(bytes);
        let blobs = Blobs { root: directory.path().to_owned(), proven: RefCell::default() };
        std::fs::create_dir(directory.path().join("sha256")).unwrap();
        std::fs::write(directory.path().join("sha256").join(digest.hex()), bytes).unwrap();
        (directory, blobs, digest)
    }

    #[test]
    fn manifests_are_read_as_a_pull_does_with_and_without_their_type() {
        let (_directory, blobs, digest) = blob(MANIFEST.as_bytes());
        for media_type in ["", media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST] {
            let document = blobs.document(&digest, media_type).unwrap();
            assert!(document.labels["containerd.io/gc.ref.content.config"].starts_with("sha256:aa"));
            assert!(document.labels["containerd.io/gc.ref.content.l.0"].starts_with("sha256:bb"));
            assert_eq!(document.children.len(), 2);
        }
        assert_eq!(blobs.document(&digest, "").unwrap().media_type, media_type::OCI_MANIFEST);
        assert!(blobs.document(&digest, media_type::OCI_LAYER).is_none());
    }

    #[test]
    fn indexes_and_other_bytes_are_told_apart() {
        let index = MANIFEST.replace("config", "subject").replace("layers", "manifests");
        let (_directory, blobs, digest) = blob(index.as_bytes());
        let document = blobs.document(&digest, "").unwrap();
        assert_eq!(document.media_type, media_type::OCI_INDEX);
        assert!(document.labels.contains_key("containerd.io/gc.ref.content.m.0"));
        let (_directory, blobs, digest) = blob(br#"{"os":"linux"}"#);
        assert!(blobs.document(&digest, "").is_none());
    }

    #[test]
    fn bytes_that_are_not_what_their_name_says_prove_nothing() {
        let (directory, blobs, digest) = blob(MANIFEST.as_bytes());
        assert!(blobs.proves(&digest));
        let (_other, fresh, _) = blob(b"");
        assert!(!fresh.proves(&digest));
        let blobs = Blobs { proven: RefCell::default(), ..blobs };
        std::fs::write(directory.path().join("sha256").join(digest.hex()), MANIFEST.replace('3', "4"))
            .unwrap();
        assert!(!blobs.proves(&digest) && blobs.document(&digest, "").is_none());
        // Neither links nor what is no digest are blobs.
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("sha256").join("00".repeat(32)))
            .unwrap();
        std::fs::write(directory.path().join("sha256/x"), "").unwrap();
        assert_eq!(blobs.all().unwrap().len(), 1);
    }

    #[test]
    fn directories_are_those_of_our_drivers() {
        let root = tempfile::tempdir().unwrap();
        for name in ["overlayfs/7", "overlayfs/new-8", "native/x"] {
            std::fs::create_dir_all(root.path().join(name)).unwrap();
        }
        std::fs::write(root.path().join("overlayfs/9"), "").unwrap();
        let found = directories(root.path()).unwrap();
        assert_eq!(found["overlayfs"], BTreeSet::from([7]));
        assert!(found["native"].is_empty());
    }
}
