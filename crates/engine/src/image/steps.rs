//! What builds need of images: files to write to, files to read, and what is remembered of the steps.
//!
//! ```text
//! parent ──workspace──► an active snapshot, mounted upon a descriptor ──► an image with one more layer
//! image  ──image_files──► a view, mounted upon a descriptor
//! ```
//! Nothing is mounted where somebody else would see it, and whatever a build leaves behind goes with its lease.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_primitives::{SnapshotRequest, Step, Store};
use gantry_types::{Digest, ErrorKind, Labels, Mount, Reference};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, open_tree,
};

use super::lease::Lease;
use super::{Afterwards, ConfigRequest, FoundImage, SnapshotImage};
use crate::{Engine, Error, Result};

/// The kind of documents that hold what is remembered of builds.
const CACHE: &str = "build-cache";
/// `CLONE_NEWNS` of clone(2): mount namespaces.
const MOUNT_NAMESPACE: u64 = 0x2_0000;
/// The longest value that fsconfig(2) takes.
const LONGEST_VALUE: usize = 255;

/// Files that are mounted for nobody but who has this.
pub struct Workspace {
    engine: Engine,
    lease: Option<Lease>,
    key: String,
    root: OwnedFd,
}

impl AsFd for Workspace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Workspace {
    /// Its root, for a thread that may wait.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn root(&self) -> Result<OwnedFd> {
        self.root.try_clone().map_err(Error::io("duplicating", "a root"))
    }

    /// Unmounts it, and forgets what was made.
    pub async fn end(mut self) {
        if let Some(lease) = self.lease.take() {
            forget(&self.engine, lease, std::mem::take(&mut self.key)).await;
        }
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let (Some(lease), Ok(runtime)) = (self.lease.take(), tokio::runtime::Handle::try_current()) {
            let (engine, key) = (self.engine.clone(), std::mem::take(&mut self.key));
            runtime.spawn(async move { forget(&engine, lease, key).await });
        }
    }
}

async fn forget(engine: &Engine, lease: Lease, key: String) {
    let removed =
        engine.shared.store.snapshot_remove(engine.context(), engine.snapshotter().to_owned(), key).await;
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(%error, "files of a build stay until they are collected");
        }
        _ => {}
    }
    lease.end().await;
}

impl Engine {
    /// Files over those of an image, to write to; over none without one.
    ///
    /// # Errors
    /// What the store and the kernel say.
    ///
    /// # Privilege
    /// `CAP_SYS_ADMIN`.
    pub async fn workspace(&self, parent: Option<&FoundImage>) -> Result<Workspace> {
        let lease = self.lease().await?;
        let key = format!("build-{}", crate::names::id());
        match parent {
            Some(parent) => self.prepare_in(&lease.context, &key, parent).await?,
            None => {
                let request = self.snapshot_request(&key, String::new());
                self.shared.store.snapshot_prepare(lease.context.clone(), request).await?;
            }
        }
        let store = &self.shared.store;
        let mounts = store.snapshot_mounts(self.context(), self.snapshotter().to_owned(), key.clone()).await;
        let anchor = self.shared.settings.root.clone();
        let root = match mounts {
            Ok(mounts) => self.blocking("mounting an image", move || mount_writable(&mounts, &anchor)).await,
            Err(error) => Err(error.into()),
        };
        match root {
            Ok(root) => Ok(Workspace { engine: self.clone(), lease: Some(lease), key, root }),
            Err(error) => {
                forget(self, lease, key).await;
                Err(error)
            }
        }
    }

    fn snapshot_request(&self, key: &str, parent: String) -> SnapshotRequest {
        let (snapshotter, key) = (self.snapshotter().to_owned(), key.to_owned());
        SnapshotRequest { snapshotter, key, parent, labels: Labels::new() }
    }

    /// The snapshot of an image's files; unpacked where they are not.
    async fn prepare_in(
        &self,
        context: &gantry_primitives::Context,
        key: &str,
        parent: &FoundImage,
    ) -> Result<()> {
        let request = self.snapshot_request(key, parent.of.chain.clone());
        let store = &self.shared.store;
        match store.snapshot_prepare(context.clone(), request.clone()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => return Ok(result.map(drop)?),
        }
        let platform = parent.document.platform();
        let unpack = gantry_primitives::Unpack {
            snapshotter: self.snapshotter().to_owned(),
            platform: gantry_types::platform::Matcher(vec![platform]),
        };
        let (target, quiet) = (parent.image.target.clone(), Default::default());
        store.unpack(context.clone(), target, unpack, quiet).await?;
        store.snapshot_prepare(context.clone(), request).await?;
        Ok(())
    }

    /// Makes an image of what was written to a workspace; without a new layer if that is nothing.
    ///
    /// # Errors
    /// What the store says.
    pub async fn workspace_commit(
        &self,
        workspace: Workspace,
        parent: Option<FoundImage>,
        image: ConfigRequest,
    ) -> Result<Digest> {
        let (snapshot, afterwards) = (workspace.key.clone(), Afterwards::Given);
        let made = self.image_from_snapshot(SnapshotImage { snapshot, parent, image, afterwards }).await;
        workspace.end().await;
        made
    }

    /// The files of an image, for reading alone.
    ///
    /// # Errors
    /// Invalid for an image without layers; what the store and the kernel say.
    ///
    /// # Privilege
    /// `CAP_SYS_ADMIN` where there are several layers.
    pub async fn image_files(&self, image: &FoundImage) -> Result<Workspace> {
        let lease = self.lease().await?;
        let key = format!("build-{}", crate::names::id());
        // Unpacks it if it must be, and is a view in all but name: nothing is written to it.
        self.prepare_in(&lease.context, &key, image).await?;
        let store = &self.shared.store;
        let files = store.snapshot_files(self.context(), self.snapshotter().to_owned(), key.clone()).await;
        match files {
            Ok(Some(root)) => Ok(Workspace { engine: self.clone(), lease: Some(lease), key, root }),
            other => {
                forget(self, lease, key).await;
                other?;
                Err(Error::Invalid("the image has no files".to_owned()))
            }
        }
    }

    /// The image of a step of a build, which has no other name than that of the nameless in most cases.
    ///
    /// # Errors
    /// NotFound.
    pub async fn image_of_step(&self, digest: &Digest) -> Result<FoundImage> {
        let nameless = super::names::dangling(digest);
        match self.shared.store.image_get(self.context(), nameless).await {
            Ok(image) => self.image_here(digest.as_str(), image).await,
            Err(_) => self.image_built(digest).await,
        }
    }

    /// Gives the image of a build a name, or leaves it where it is.
    ///
    /// # Errors
    /// As [`image_tag`](Self::image_tag).
    pub async fn image_tag_built(&self, digest: &Digest, name: &Reference) -> Result<()> {
        match self.shared.store.image_get(self.context(), name.to_string()).await {
            Ok(image) if image.target.digest == *digest => {
                self.image_event_of("tag", digest, &name.familiar()).await;
                Ok(())
            }
            _ => self.image_tag(digest.as_str(), name).await,
        }
    }

    /// What is remembered of builds, by name.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn build_cache(&self) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(self.shared.store.documents(CACHE).await?)
    }

    /// Remembers some things of builds, and forgets others: None.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn build_cache_write(&self, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let step = |(name, value)| match value {
            Some(value) => Step::PutDocument { kind: CACHE, name, value },
            None => Step::RemoveDocument { kind: CACHE, name },
        };
        let steps = changes.into_iter().map(step).collect();
        Ok(self.shared.store.commit(self.shared.namespace.clone(), steps).await?)
    }
}

fn failed(action: &'static str) -> impl FnOnce(Errno) -> Error {
    let failed = Error::io(action, "the files of an image");
    move |errno| failed(errno.into())
}

/// Mounts an active snapshot upon a descriptor. Blocks.
fn mount_writable(mounts: &[Mount], anchor: &std::path::Path) -> Result<OwnedFd> {
    let [mount] = mounts else {
        return Err(Error::Unsupported(format!("writing to {} mounts at once", mounts.len())));
    };
    match mount.kind.as_str() {
        "bind" | "rbind" => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(CWD, mount.source.as_str(), flags, Mode::empty()).map_err(failed("opening"))
        }
        "overlay" => match overlay(&mount.options) {
            // Before Linux 6.7, a long list of layers can be given to mount(2) alone.
            Err(Errno::INVAL) => in_a_namespace(mount.clone(), anchor.to_owned()),
            mounted => mounted.map_err(failed("mounting")),
        },
        other => Err(Error::Unsupported(format!("writing to a mount of type {other:?}"))),
    }
}

/// A detached overlay. Linux 5.2.
fn overlay(options: &[String]) -> std::result::Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in options {
        match option.split_once('=') {
            Some(("lowerdir", layers)) if layers.len() > LONGEST_VALUE => {
                for layer in layers.split(':') {
                    fsconfig_set_string(context.as_fd(), "lowerdir+", layer)?;
                }
            }
            Some((key, value)) => fsconfig_set_string(context.as_fd(), key, value)?,
            None => fsconfig_set_flag(context.as_fd(), option.as_str())?,
        }
    }
    fsconfig_create(context.as_fd())?;
    let flags = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

/// Mounts in a namespace that ends with the thread, and takes the mount out of it.
fn in_a_namespace(mount: Mount, anchor: std::path::PathBuf) -> Result<OwnedFd> {
    let work = move || {
        gantry_sys::ns::unshare(MOUNT_NAMESPACE).map_err(failed("making a namespace for"))?;
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", slave).map_err(failed("making a namespace for"))?;
        Store::mount_here(&mount, &anchor)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(CWD, anchor.as_path(), flags).map_err(failed("opening"))
    };
    let thread = std::thread::Builder::new().name("mounts".to_owned()).spawn(work);
    let thread = thread.map_err(Error::io("starting", "a thread"))?;
    thread.join().map_err(|_| Error::Panicked("mounting"))?
}

/// A name that nobody has: 64 hexadecimal digits.
pub fn random_id() -> String {
    crate::names::id()
}
