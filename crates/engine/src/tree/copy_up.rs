//! What an image has where a new volume is mounted goes into the volume.
//!
//! ```text
//! image ──copy──► .gantry-filling ──rename──► .gantry-filled ──each entry──► the volume
//! ```
//! Whatever dies in between, nobody takes a part for the whole: what was not copied whole is copied again or removed, what was
//! is moved on (`settle`), at the daemon's next start or with the next container that has the volume.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use gantry_layer::{Limits, copy_tree};
use rustix::fs::{
    CWD, Dir, Mode, OFlags, RenameFlags, Timespec, Timestamps, fstat, futimens, openat, renameat_with,
};
use rustix::io::Errno;

use super::process::on_a_thread;
use super::stopped::enter_namespace;
use super::{archive, failed, open_in};
use crate::options::MountKind;
use crate::record::{MountPoint, Record};
use crate::volume::{mount_volume, remove_tree};
use crate::{Engine, Error, Result};

/// What is being copied.
const PART: &str = ".gantry-filling";
/// What was copied, and is being moved to where it belongs.
const WHOLE: &str = ".gantry-filled";

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
        if point.kind != MountKind::Volume {
            return Ok(());
        }
        let (snapshotter, key) = (self.snapshotter().to_owned(), record.id.clone());
        let Some(root) = self.shared.store.snapshot_files(self.context(), snapshotter, key).await? else {
            return Ok(());
        };
        let (target, path, subpath) = (point.target.clone(), volume.to_owned(), point.subpath.clone());
        let volume = self.volume(&point.name).await?;
        if record.userns.is_some() && crate::userns::is_bind(&volume) {
            // What is the image's root's would be the host's there.
            return Ok(());
        }
        // Two containers that are made at once have the same volume, maybe.
        let _one = self.shared.volumes.lock().await;
        self.blocking("filling a volume", move || {
            if volume.options.is_empty() {
                let beside = path.parent().unwrap_or(&path);
                return fill_part(root.as_fd(), &target, (&path, &subpath), beside);
            }
            // It is a mount itself, which comes with the start of a container. Here it is for this alone.
            on_a_thread(move || {
                enter_namespace()?;
                mount_volume(&volume)?;
                // What is beside it is another file system's.
                fill_part(root.as_fd(), &target, (&path, &subpath), &path)
            })
        })
        .await
    }
}

/// Fills a volume, or an empty directory in it: one that is not there is for the start to complain about. Blocks.
fn fill_part(
    root: BorrowedFd<'_>,
    target: &str,
    (volume, subpath): (&Path, &str),
    beside: &Path,
) -> Result<()> {
    if subpath.is_empty() {
        return fill(root, target, volume, beside);
    }
    let Ok(part) = crate::container::open_subpath(volume, subpath) else { return Ok(()) };
    // What was found, whatever is at that path by now.
    let place = PathBuf::from(format!("/proc/self/fd/{}/.", part.as_raw_fd()));
    if place.is_dir() { fill(root, target, &place, &place) } else { Ok(()) }
}

/// Fills an empty directory of the host's, by way of `beside` on the same file system: the volume itself, or what is around it.
/// Blocks.
pub(super) fn fill(root: BorrowedFd<'_>, target: &str, volume: &Path, beside: &Path) -> Result<()> {
    settle(volume, beside)?;
    let place = CString::new(target).map_err(|_| Error::Invalid("a path has a zero byte".to_owned()))?;
    // Links in the image lead to what is in the image (CVE-2022-23648).
    let from = match open_in(root, &place, OFlags::DIRECTORY) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        from => from.map_err(failed("opening", target))?,
    };
    if !entries(&open(volume)?).map_err(failed("reading", volume))?.is_empty() {
        return Ok(());
    }
    let (part, whole) = (beside.join(PART), beside.join(WHOLE));
    fs::DirBuilder::new().mode(0o700).create(&part).map_err(Error::io("making", &part))?;
    let copied = open(&part).and_then(|to| {
        copy_tree(from.as_fd(), to.as_fd(), &Limits::default()).map_err(archive)?;
        fs::rename(&part, &whole).map_err(Error::io("renaming", &part))
    });
    if let Err(error) = copied {
        if let Err(error) = remove_tree(&part) {
            tracing::warn!(path = %part.display(), %error, "a part of what a volume was to have is left");
        }
        return Err(error);
    }
    spread(&whole, volume)
}

/// Ends what a daemon that died was at: what it had copied whole goes into the volume, a part of that goes away. Blocks.
///
/// # Errors
/// What the disk says.
pub(crate) fn settle(volume: &Path, beside: &Path) -> Result<()> {
    let (part, whole) = (beside.join(PART), beside.join(WHOLE));
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    if is_there(&part) {
        remove_tree(&part)?;
    }
    if is_there(&whole) {
        spread(&whole, volume)?;
    }
    Ok(())
}

/// Moves what is in `whole` to the volume, which gets its owner, mode and times. What somebody has made there meanwhile stays.
fn spread(whole: &Path, volume: &Path) -> Result<()> {
    let filling = || failed("filling", volume);
    let (from, to) = (open(whole)?, open(volume)?);
    let stat = fstat(&from).map_err(filling())?;
    for name in entries(&from).map_err(filling())? {
        match renameat_with(&from, &name, &to, &name, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => remove(&whole.join(OsStr::from_bytes(name.to_bytes())))?,
            Err(errno) => return Err(filling()(errno)),
        }
    }
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    // Moving has changed them.
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    futimens(&from, &times).map_err(filling())?;
    copy_tree(from.as_fd(), to.as_fd(), &Limits::default()).map_err(archive)?;
    remove_tree(whole)
}

fn open(directory: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, directory, flags, Mode::empty()).map_err(failed("opening", directory))
}

/// The names in a directory.
fn entries(dir: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// Removes a file or a directory. Follows no link.
fn remove(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path).map_err(Error::io("looking at", path))?.is_dir() {
        true => remove_tree(path),
        false => fs::remove_file(path).map_err(Error::io("removing", path)),
    }
}

impl Engine {
    /// The same for all volumes that are no mounts themselves: those wait for the next container that has them.
    pub(crate) async fn settle_volumes(&self) {
        let volumes = match self.volumes().await {
            Ok(volumes) => volumes,
            Err(error) => return tracing::error!(%error, "the volumes cannot be read"),
        };
        let settled = self.blocking("filling volumes", move || {
            for volume in volumes.iter().filter(|volume| volume.options.is_empty()) {
                let beside = volume.mountpoint.parent().unwrap_or(&volume.mountpoint);
                if let Err(error) = settle(&volume.mountpoint, beside) {
                    tracing::error!(volume = volume.name, %error, "a volume has a part of what it was to have");
                }
            }
            Ok(())
        });
        if let Err(error) = settled.await {
            tracing::error!(%error, "volumes may have parts of what they were to have");
        }
    }
}
