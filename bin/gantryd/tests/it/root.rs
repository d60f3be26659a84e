//! Records and bytes below a root, put there while no daemon runs.

use std::path::Path;

use gantry_metadata::{Change, Database, Error, Holder, Image, Options, contents, images};
use gantry_types::{Descriptor, Digest, Labels, Namespace};

/// A database as the daemon of this boot would have left it.
pub(crate) fn database(root: &Path) -> Database {
    std::fs::create_dir_all(root).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    Database::open(root, Options::new(boot.trim())).unwrap()
}

pub(crate) fn namespace() -> Namespace {
    "default".parse().unwrap()
}

pub(crate) fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

/// Puts the bytes of a blob in their place.
pub(crate) fn put_bytes(root: &Path, text: &str) {
    let directory = root.join("content/blobs/sha256");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(digest(text).hex()), text).unwrap();
}

/// Records content.
pub(crate) fn put_content(change: &mut Change<'_>, text: &str) -> Result<(), Error> {
    let new = contents::Creation {
        digest: &digest(text),
        size: text.len() as u64,
        labels: &Labels::new(),
        media_type: "",
        ingest: None,
        lease: None,
    };
    contents::create(change, &namespace(), &new).map(drop)
}

/// Records an image name of a content.
pub(crate) fn put_image(change: &mut Change<'_>, name: &str, text: &str) -> Result<(), Error> {
    let (namespace, holder) = (namespace(), Holder::Containerd(namespace()));
    let target = Descriptor::new("text/plain", digest(text), text.len() as u64);
    images::create(change, images::By::new(&namespace, &holder), &Image::new(name, target, Labels::new()))
        .map(drop)
}
