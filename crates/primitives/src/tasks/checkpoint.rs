//! Checkpoints as content: criu's files in a tar, and the specification beside it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gantry_metadata::Opaque;
use gantry_proto_shim::Message as _;
use gantry_proto_shim::options::{CheckpointOptions, Options as RuncOptions};
use gantry_proto_shim::task::{CheckpointTaskRequest, Empty, method};
use gantry_tasks::Key;
use gantry_types::{Descriptor, Labels, Namespace};

use super::{Tasks, any};
use crate::{Context, Error, Result, Store};

/// criu's files.
const CHECKPOINT: &str = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
/// The specification, in an encoded `Any`.
const CONFIG: &str = "application/vnd.containerd.container.checkpoint.config.v1+proto";
/// What is written at once.
const CHUNK: usize = 1 << 20;
/// Files that a checkpoint has at most, and their names' length.
const MAX_FILES: usize = 100_000;
const MAX_NAME_BYTES: usize = 255;

/// Where all directories of checkpoints are, below the store's root.
const DIRECTORY: &str = "checkpoints";
/// Where those are that are being written. No namespace has such a name.
const PACKING: &str = ".packing";

/// A directory that goes with its value.
pub(super) struct Scratch(Option<PathBuf>);

impl Scratch {
    fn make(root: &Path) -> Result<Self> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::file("naming", root)(errno.into()))?;
        let name = format!("{:016x}", u64::from_le_bytes(random));
        Self::at(root.join(DIRECTORY).join(PACKING).join(name))
    }

    fn at(path: PathBuf) -> Result<Self> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(Error::file("making", &path))?;
        Ok(Self(Some(path)))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.as_deref().expect("it is kept last")
    }

    /// Leaves the directory to somebody else.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// The files of checkpoints that tasks are to be restored from. A shim does that when the task is started, whichever daemon there is by
/// then: they are kept, at a place that has the task's name, until it has started or is gone.
#[derive(Debug, Clone)]
pub(super) struct Restores {
    directory: PathBuf,
    waiting: Arc<Mutex<HashSet<Key>>>,
}

impl Restores {
    pub(super) fn new(root: &Path) -> Self {
        Self { directory: root.join(DIRECTORY), waiting: Arc::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, (namespace, id): &Key) -> PathBuf {
        self.directory.join(namespace.as_str()).join(id)
    }

    /// Finds what an earlier daemon has left, and removes what no task waits for. Blocks.
    pub(super) fn find(&self, exists: impl Fn(&Key) -> bool) {
        let below = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
        for namespace in below(&self.directory) {
            let name: Option<Namespace> = namespace.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(name) = name.filter(|_| namespace.file_name() != PACKING) else {
                let _ = std::fs::remove_dir_all(namespace.path());
                continue;
            };
            for entry in below(&namespace.path()) {
                let key = (name.clone(), entry.file_name().to_string_lossy().into_owned());
                if exists(&key) {
                    self.waiting().insert(key);
                } else {
                    let _ = std::fs::remove_dir_all(entry.path());
                }
            }
        }
    }

    /// The task was made.
    pub(super) fn keep(&self, key: Key, files: Scratch) {
        self.waiting().insert(key);
        files.keep();
    }

    /// The task has started, or is gone: its files go in the background.
    pub(super) fn done(&self, key: &Key) {
        if self.waiting().remove(key) {
            let place = self.place(key);
            tokio::task::spawn_blocking(move || {
                if let Err(error) = std::fs::remove_dir_all(&place) {
                    tracing::warn!(path = %place.display(), %error, "the files of a checkpoint are left");
                }
            });
        }
    }
}

impl Tasks {
    /// Writes a checkpoint of a task: into the directory that the options name, or as content, whose descriptors are returned.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn checkpoint(
        &self,
        context: Context,
        container: String,
        options: Option<Opaque>,
    ) -> Result<Vec<Descriptor>> {
        let options = options.map(any);
        let given = match &options {
            Some(options) if options.is::<CheckpointOptions>() => {
                let unpacked = options.unpack::<CheckpointOptions>();
                unpacked.map_err(|error| Error::Invalid { what: "options", reason: error.to_string() })?
            }
            _ => CheckpointOptions::default(),
        };
        let key: Key = (context.namespace.clone(), container.clone());
        let request =
            |path: String| CheckpointTaskRequest { id: container.clone(), path, options: options.clone() };
        if !given.image_path.is_empty() {
            let request = request(given.image_path);
            let Empty {} = self.tasks.call(&key, method::CHECKPOINT, request).await?;
            return Ok(Vec::new());
        }
        let record = self.container(&context.namespace, &container).await?;
        let scratch = Scratch::make(self.store.root())?;
        let request = request(scratch.path().display().to_string());
        let Empty {} = self.tasks.call(&key, method::CHECKPOINT, request).await?;
        let path = scratch.path().to_owned();
        let packed = tokio::task::spawn_blocking(move || pack(&path)).await;
        let packed = packed.map_err(|_| Error::panicked("a checkpoint"))??;
        let name = scratch.path().display().to_string();
        let images = store(&self.store, &context, CHECKPOINT, name.clone(), packed).await?;
        let spec = record.spec.map(any).unwrap_or_default().encode_to_vec();
        let spec = Source::Bytes(spec.into());
        let spec = store(&self.store, &context, CONFIG, format!("{name}/spec"), spec).await?;
        Ok(vec![images, spec])
    }
}

/// What becomes content.
enum Source {
    File(File),
    Bytes(Bytes),
}

/// Packs criu's files, into a file without a name.
fn pack(directory: &Path) -> Result<Source> {
    let failed = |source| Error::file("packing", directory)(source);
    let parent = directory.parent().unwrap_or(directory);
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let flags = rustix::fs::OFlags::TMPFILE.bits();
    let file = options.custom_flags(flags.cast_signed()).open(parent).map_err(failed)?;
    let mut archive = tar::Builder::new(file);
    archive.append_dir_all(".", directory).map_err(failed)?;
    let mut file = archive.into_inner().map_err(failed)?;
    io::Seek::rewind(&mut file).map_err(failed)?;
    Ok(Source::File(file))
}

async fn store(
    store: &Store,
    context: &Context,
    media_type: &str,
    reference: String,
    source: Source,
) -> Result<Descriptor> {
    let writer = store.content_writer(context.clone(), reference, 0, None).await?;
    let mut size = 0;
    match source {
        Source::Bytes(bytes) => size = writer.write(bytes, 0).await?,
        Source::File(file) => {
            let mut file = Some(file);
            while let Some(mut open) = file.take() {
                let read = move || {
                    let mut chunk = Vec::with_capacity(CHUNK);
                    let length = io::Read::by_ref(&mut open).take(CHUNK as u64).read_to_end(&mut chunk);
                    length.map(|_| (chunk, open))
                };
                let read = tokio::task::spawn_blocking(read).await;
                let read = read.map_err(|_| Error::panicked("a checkpoint"))?;
                let (chunk, open) = read.map_err(Error::file("reading", store.root()))?;
                if !chunk.is_empty() {
                    size = writer.write(chunk.into(), size).await?;
                    file = Some(open);
                }
            }
        }
    }
    let digest = writer.digest().await?;
    match writer.commit(size, None, Labels::new(), media_type.to_owned()).await {
        Ok(_) => {}
        // The same checkpoint, once more.
        Err(error) if error.kind() == gantry_types::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    Ok(Descriptor::new(media_type, digest, size))
}

/// The directory of a checkpoint that the options of runc's shim name; empty for none.
pub(super) fn path_of(options: Option<&Opaque>) -> String {
    let options = options.cloned().map(any).filter(gantry_proto_shim::any::Any::is::<RuncOptions>);
    let options = options.and_then(|options| options.unpack::<RuncOptions>().ok());
    options.map(|options| options.criu_image_path).unwrap_or_default()
}

/// Unpacks a checkpoint for the restore of a container's task.
pub(super) async fn unpack(
    store: &Store,
    restores: &Restores,
    context: &Context,
    (container, descriptor): (&str, &Descriptor),
) -> Result<Scratch> {
    if descriptor.media_type != CHECKPOINT {
        let reason = format!("{:?} is no checkpoint", descriptor.media_type);
        return Err(Error::Invalid { what: "checkpoint", reason });
    }
    let (context, digest) = (context.clone(), descriptor.digest.clone());
    let place = restores.place(&(context.namespace.clone(), container.to_owned()));
    store
        .blocking(move |inner| {
            let blob = inner.open_content(&context, &digest)?;
            let scratch = Scratch::at(place)?;
            let bytes = BlobReader { blob, offset: 0 };
            extract(bytes, scratch.path())?;
            Ok(scratch)
        })
        .await
}

/// Reads a blob from its beginning.
struct BlobReader {
    blob: gantry_content::Blob,
    offset: u64,
}

impl io::Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes =
            crate::content::read_blob(&self.blob, self.offset, buffer.len()).map_err(io::Error::other)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }
}

/// Takes plain files out of an archive: a checkpoint has no other entries, and no directories.
fn extract(archive: impl io::Read, directory: &Path) -> Result<()> {
    let invalid = |reason: String| Error::Invalid { what: "checkpoint", reason };
    let unreadable = |error: io::Error| invalid(error.to_string());
    let mut archive = tar::Archive::new(archive);
    for (count, entry) in archive.entries().map_err(unreadable)?.enumerate() {
        if count >= MAX_FILES {
            return Err(Error::Limit {
                what: "files of a checkpoint",
                count: count as u64,
                limit: MAX_FILES as u64,
            });
        }
        let mut entry = entry.map_err(unreadable)?;
        let path = entry.path().map_err(unreadable)?.into_owned();
        let path = path.strip_prefix(".").unwrap_or(&path);
        let kind = entry.header().entry_type();
        if kind.is_dir() && path.as_os_str().is_empty() {
            continue;
        }
        let mut parts = path.components();
        let name = match (parts.next(), parts.next()) {
            (Some(std::path::Component::Normal(name)), None) if name.len() <= MAX_NAME_BYTES => name,
            _ => return Err(invalid(format!("{:?} is no name of a file", path.display()))),
        };
        if !kind.is_file() {
            return Err(invalid(format!("{:?} is no plain file", path.display())));
        }
        let to = directory.join(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to);
        let mut file = file.map_err(Error::file("writing", &to))?;
        io::copy(&mut entry, &mut file).map_err(Error::file("writing", &to))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(names: &[&str]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(1);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append(&header, &b"x"[..]).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("core-1.img"), "x").unwrap();
        let Source::File(file) = pack(&from).unwrap() else { panic!("a file") };
        extract(file, &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("core-1.img")).unwrap(), "x");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["../x", "/x", "a/b", ".."] {
            let directory = tempfile::tempdir().unwrap();
            assert!(extract(&*archive(&[name]), directory.path()).is_err(), "{name}");
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }
}
