//! Mounts of images: views of all their layers, which nobody writes to.
//!
//! A view is made with its container and named by a label of the container's record (`containerd.io/gc.ref.snapshot.…`): it is kept
//! as long as the record, with the layers below it, also when the image loses its name. At a start it is mounted beside the parts of
//! volumes, from where the runtime takes it.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use gantry_primitives::SnapshotRequest;
use gantry_types::{ErrorKind, Labels};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::subpath;
use crate::image::FoundImage;
use crate::options::MountKind;
use crate::record::{MountPoint, Record};
use crate::{Engine, Error, Result};

/// The label by which a record keeps a snapshot, up to the snapshotter's name.
const KEEPS: &str = "containerd.io/gc.ref.snapshot.";

/// The name of a view: of the container's mount of that number.
fn view(id: &str, number: usize) -> String {
    format!("{id}-image-{number}")
}

fn numbered(points: &[MountPoint]) -> impl Iterator<Item = (usize, &MountPoint)> {
    points.iter().enumerate().filter(|(_, point)| point.kind == MountKind::Image)
}

/// Where a view is mounted at a start.
pub(crate) fn place(engine: &Engine, id: &str, number: usize) -> PathBuf {
    subpath::directory(engine, id).join(format!("image-{number}"))
}

/// The labels by which the record of a container keeps its views.
pub(crate) fn labels(record: &Record, snapshotter: &str) -> Labels {
    let label = |(number, _)| (format!("{KEEPS}{snapshotter}/{number}"), view(&record.id, number));
    numbered(&record.mounts).map(label).collect()
}

impl Engine {
    /// Makes the views of a new container. `images` are those of its mounts, in their order.
    ///
    /// # Errors
    /// What the store says: an image that is not unpacked is unpacked.
    pub(crate) async fn make_views(&self, record: &Record, images: &[FoundImage]) -> Result<()> {
        for ((number, _), image) in numbered(&record.mounts).zip(images) {
            let request = SnapshotRequest {
                snapshotter: self.snapshotter().to_owned(),
                key: view(&record.id, number),
                parent: image.of.chain.clone(),
                labels: Labels::new(),
            };
            match self.shared.store.snapshot_view(self.context(), request.clone()).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                made => {
                    made?;
                    continue;
                }
            }
            self.unpack(image).await?;
            self.shared.store.snapshot_view(self.context(), request).await?;
        }
        Ok(())
    }

    /// Removes them. What is gone already is no error.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn remove_views(&self, record: &Record) -> Result<()> {
        for (number, _) in numbered(&record.mounts) {
            let (snapshotter, key) = (self.snapshotter().to_owned(), view(&record.id, number));
            match self.shared.store.snapshot_remove(self.context(), snapshotter, key).await {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Mounts them at their places, until [`subpath::release`].
    ///
    /// # Errors
    /// What the store and the kernel say.
    pub(crate) async fn mount_views(&self, record: &Record) -> Result<()> {
        for (number, _) in numbered(&record.mounts) {
            let (snapshotter, key) = (self.snapshotter().to_owned(), view(&record.id, number));
            let files = self.shared.store.snapshot_files(self.context(), snapshotter, key).await?;
            let place = place(self, &record.id, number);
            self.blocking("mounting an image", move || attach(files.as_ref(), &place)).await?;
        }
        Ok(())
    }
}

/// Mounts a detached mount, or a directory, at a new place; None is nothing at all. Blocks.
fn attach(files: Option<&OwnedFd>, place: &Path) -> Result<()> {
    let failed = |errno: Errno| Error::io("mounting an image at", place)(errno.into());
    // The root of a container with mapped ids has to get through.
    DirBuilder::new().mode(0o711).recursive(true).create(place).map_err(Error::io("making", place))?;
    let Some(files) = files else { return Ok(()) };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let to = |tree: &OwnedFd| move_mount(tree, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    match to(files) {
        // A directory, which is no mount by itself.
        Err(Errno::INVAL) => to(&open_tree(files, "", flags).map_err(failed)?).map_err(failed),
        moved => moved.map_err(failed),
    }
}
