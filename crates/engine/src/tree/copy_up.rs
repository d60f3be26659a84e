//! What an image has where a new volume is mounted goes into the volume.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use gantry_layer::{Limits, copy_tree};
use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use super::process::on_a_thread;
use super::stopped::enter_namespace;
use super::{archive, failed, open_in};
use crate::options::MountKind;
use crate::record::{MountPoint, Record};
use crate::volume::mount_volume;
use crate::{Engine, Error, Result};

impl Engine {
    /// Fills the volumes of a container that is being made, and whose snapshot is there.
    ///
    /// # Errors
    /// As [`Engine::copy_up`].
    pub(crate) async fn fill_volumes(&self, record: &Record) -> Result<()> {
        for point in record.mounts.iter().filter(|point| point.copy_up) {
            self.copy_up(record, point, Path::new(&point.source)).await?;
        }
        Ok(())
    }

    /// Fills an empty volume, whose files are in `volume`, with what the image of a container has at its mount point, and gives it
    /// the owner and mode of that. A volume with something in it stays as it is (CVE-2020-1726); so does one where the image
    /// has no directory. The container does not run.
    ///
    /// # Errors
    /// Those of the store; what the disk says. The volume is empty again then.
    pub(crate) async fn copy_up(&self, record: &Record, point: &MountPoint, volume: &Path) -> Result<()> {
        if point.kind != MountKind::Volume || !point.subpath.is_empty() {
            return Ok(());
        }
        let (snapshotter, key) = (self.snapshotter().to_owned(), record.id.clone());
        let Some(root) = self.shared.store.snapshot_files(self.context(), snapshotter, key).await? else {
            return Ok(());
        };
        let (target, path) = (point.target.clone(), volume.to_owned());
        let volume = self.volume(&point.name).await?;
        // Two containers that are made at once have the same volume, maybe.
        let _one = self.shared.volumes.lock().await;
        self.blocking("filling a volume", move || {
            if volume.options.is_empty() {
                return fill(root.as_fd(), &target, &path);
            }
            // It is a mount itself, which comes with the start of a container. Here it is for this alone.
            on_a_thread(move || {
                enter_namespace()?;
                mount_volume(&volume)?;
                fill(root.as_fd(), &target, &path)
            })
        })
        .await
    }
}

/// Fills an empty directory of the host's. Blocks.
pub(super) fn fill(root: BorrowedFd<'_>, target: &str, volume: &Path) -> Result<()> {
    let place = CString::new(target).map_err(|_| Error::Invalid("a path has a zero byte".to_owned()))?;
    // Links in the image lead to what is in the image (CVE-2022-23648).
    let from = match open_in(root, &place, OFlags::DIRECTORY) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        from => from.map_err(failed("opening", target))?,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = openat(CWD, volume, flags, Mode::empty()).map_err(failed("opening", volume))?;
    if !is_empty(to.as_fd()).map_err(failed("reading", volume))? {
        return Ok(());
    }
    copy_tree(from.as_fd(), to.as_fd(), &Limits::default()).map_err(|error| {
        if let Err(error) = clear(volume) {
            tracing::warn!(path = %volume.display(), %error, "a part of what a volume was to have is left in it");
        }
        archive(error)
    })
}

fn is_empty(dir: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    for entry in Dir::read_from(dir)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes what is in a directory. Follows no link.
fn clear(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
