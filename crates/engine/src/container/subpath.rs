//! Paths in volumes that are mounted instead of the whole.
//!
//! Whoever has the volume, too, may exchange what is on the way at any moment (CVE-2017-1002101, CVE-2021-30465). So a path is
//! resolved once, below the descriptor of the volume; what was found is mounted at a place of the engine's own that nobody else
//! can change, and the runtime gets that. When the container has its mounts, the place is not needed any more.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};

use crate::options::MountKind;
use crate::record::Record;
use crate::{Engine, Error, Result};

/// Where the places of all containers are.
fn all(engine: &Engine) -> PathBuf {
    engine.shared.settings.state.join("subpaths")
}

/// Where the places of a container are.
pub(crate) fn directory(engine: &Engine, id: &str) -> PathBuf {
    all(engine).join(id)
}

/// Whether a container has any, or has images mounted, which have their places there, too.
pub(crate) fn has_any(record: &Record) -> bool {
    record.mounts.iter().any(|point| !point.subpath.is_empty() || point.kind == MountKind::Image)
}

/// Finds what is at a path below a directory. Links are followed as long as they stay there.
///
/// # Errors
/// Invalid for a path that leads out, or to nothing.
pub(crate) fn open(source: &Path, subpath: &str) -> Result<OwnedFd> {
    let failed = |errno: Errno| match errno {
        Errno::XDEV => Error::Invalid(format!(
            "path concatenation escapes the base directory, base: {:?}, subpath: {subpath:?}",
            source.display()
        )),
        errno => {
            let path = source.join(subpath);
            Error::Invalid(format!("cannot access path {}: {}", path.display(), std::io::Error::from(errno)))
        }
    };
    let escapes =
        Path::new(subpath).components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir));
    if escapes {
        return Err(Error::Invalid(format!("the subpath {subpath:?} has to be relative, without '..'")));
    }
    let path = OFlags::PATH | OFlags::CLOEXEC;
    let root = openat(CWD, source, path, Mode::empty()).map_err(failed)?;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(&root, subpath, path, Mode::empty(), how).map_err(failed)
}

/// Mounts what is at a path below `source` at a place in `directory`, whose name is `number`. Blocks.
///
/// # Errors
/// Those of [`open`]; what the kernel says.
///
/// # Privilege
/// `CAP_SYS_ADMIN`.
pub(crate) fn pin(directory: &Path, number: usize, source: &Path, subpath: &str) -> Result<String> {
    let found = open(source, subpath)?;
    let failed = |errno: Errno| Error::io("mounting", source.join(subpath))(errno.into());
    let stat = fstat(&found).map_err(failed)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(&found, "", flags).map_err(failed)?;
    let place = directory.join(number.to_string());
    // The root of a container with mapped ids has to get through.
    let mut make = fs::DirBuilder::new();
    make.mode(0o711).recursive(true);
    make.create(directory).map_err(Error::io("making", directory))?;
    let made = if is_directory { make.create(&place) } else { fs::File::create(&place).map(drop) };
    made.map_err(Error::io("making", &place))?;
    move_mount(&tree, "", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(failed)?;
    Ok(place.display().to_string())
}

/// Takes the places of a container away. Blocks.
pub(crate) fn release(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let place = entry.path();
        let _ = unmount(&place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        // One of them: a mount that stays is in the way of both.
        let _ = fs::remove_dir(&place);
        let _ = fs::remove_file(&place);
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %directory.display(), %error, "a part of a volume stays mounted");
        }
        _ => {}
    }
}

/// Takes the places away that a daemon left which died in a start. Blocks.
pub(crate) fn sweep(engine: &Engine) {
    for entry in fs::read_dir(all(engine)).into_iter().flatten().flatten() {
        release(&entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subpaths_stay_inside() {
        let directory = tempfile::tempdir().unwrap();
        let link =
            |to: &str, name: &str| std::os::unix::fs::symlink(to, directory.path().join(name)).unwrap();
        std::fs::create_dir(directory.path().join("in")).unwrap();
        link("in", "current");
        link("/etc", "out");
        link("../..", "up");
        for right in ["in", "./in", "current"] {
            assert!(open(directory.path(), right).is_ok(), "{right}");
        }
        for wrong in ["../x", "/etc", "out", "out/passwd", "up", "in/..", "missing"] {
            assert!(open(directory.path(), wrong).is_err(), "{wrong}");
        }
    }
}
