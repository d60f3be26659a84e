//! The files that every container has of its engine, whatever its image: docker's init layer.
//!
//! A directory of the host's lies between the layers of the image and what the container writes. So nothing has to be made at a
//! start, and neither an image of the container nor its changes have any of it. `/etc` in it has the owner and mode that the
//! image's has, as it covers that: there is a directory for each, and most images share one.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use gantry_types::Mount;

use crate::record::Record;
use crate::{Engine, Error, Result};

/// Empty files, upon which the engine's are mounted.
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];
/// How programs find out that they are in one of docker's containers.
const MARK: &str = ".dockerenv";
/// Where old programs look for what is mounted (getmntent(3)), and where that is.
const MTAB: (&str, &str) = ("etc/mtab", "/proc/mounts");
/// Docker's mode of the files.
const MODE: u32 = 0o755;
/// The option of overlayfs.
const LOWER: &str = "lowerdir=";
/// How many images are remembered.
const MAX_KNOWN: usize = 256;

/// What `/etc` of an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Etc {
    Directory {
        mode: u32,
        uid: u32,
        gid: u32,
    },
    /// It is a link, or a file: what is in it is not ours to make.
    Other,
}

/// The directory for each image, by the name of its layers.
#[derive(Debug, Default)]
pub(crate) struct InitLayers(Mutex<HashMap<String, PathBuf>>);

impl Engine {
    /// Puts the directory between the layers and what the container writes. Other mounts than an overlay stay as they are.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) async fn with_init_layer(
        &self,
        record: &Record,
        mut mounts: Vec<Mount>,
    ) -> Result<Vec<Mount>> {
        let [Mount { kind, options, .. }] = &mut mounts[..] else { return Ok(mounts) };
        let is_lower = |option: &&mut String| kind == "overlay" && option.starts_with(LOWER);
        let Some(lower) = options.iter_mut().find(is_lower) else { return Ok(mounts) };
        let layers = lower[LOWER.len()..].to_owned();
        // With an escaped colon in it, it is no list that can be split so.
        if !layers.contains('\\') {
            let directory = self.init_layer(&record.image.chain, &layers).await?;
            *lower = format!("{LOWER}{}:{layers}", directory.display());
        }
        Ok(mounts)
    }

    async fn init_layer(&self, chain: &str, layers: &str) -> Result<PathBuf> {
        let known = || self.shared.init_layers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().get(chain).cloned();
        // Somebody may have cleared up.
        if let Some(directory) = found.filter(|directory| directory.exists()) {
            return Ok(directory);
        }
        let (all, layers) = (self.shared.settings.root.join("init"), layers.to_owned());
        let directory = self.blocking("making an init layer", move || of_layers(&all, &layers)).await?;
        let mut known = known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(chain.to_owned(), directory.clone());
        Ok(directory)
    }
}

/// The directory for layers.
fn of_layers(all: &Path, layers: &str) -> Result<PathBuf> {
    let etc = etc_of(layers.split(':').map(Path::new))?;
    let name = match etc {
        Etc::Directory { mode, uid, gid } => format!("{mode:o}-{uid}-{gid}"),
        Etc::Other => "bare".to_owned(),
    };
    let directory = all.join(name);
    if !directory.exists() {
        make(all, &directory, etc)?;
    }
    Ok(directory)
}

/// What `/etc` is, by the uppermost of the layers that has it.
fn etc_of<'a>(layers: impl Iterator<Item = &'a Path>) -> Result<Etc> {
    for layer in layers {
        let etc = layer.join("etc");
        match fs::symlink_metadata(&etc) {
            Ok(found) if found.is_dir() => {
                let mode = found.mode() & 0o7777;
                return Ok(Etc::Directory { mode, uid: found.uid(), gid: found.gid() });
            }
            Ok(_) => return Ok(Etc::Other),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("looking at", &etc)(error)),
        }
    }
    Ok(Etc::Directory { mode: MODE, uid: 0, gid: 0 })
}

/// Makes a directory: elsewhere first, so that what is there is whole.
fn make(all: &Path, directory: &Path, etc: Etc) -> Result<()> {
    let making = || Error::io("making", directory);
    fs::create_dir_all(all).map_err(making())?;
    let new = tempfile_in(all).map_err(making())?;
    fill(&new, etc).map_err(making())?;
    match fs::rename(&new, directory) {
        // Somebody was faster.
        Err(_) if directory.exists() => crate::volume::remove_tree(&new),
        result => result.map_err(making()),
    }
}

fn tempfile_in(all: &Path) -> std::io::Result<PathBuf> {
    let new = all.join(format!(".{}", crate::names::id()));
    fs::create_dir(&new)?;
    Ok(new)
}

fn fill(directory: &Path, etc: Etc) -> std::io::Result<()> {
    let file = |name: &str| {
        let file =
            fs::OpenOptions::new().write(true).create_new(true).mode(MODE).open(directory.join(name))?;
        // Whatever the daemon's mask is.
        file.set_permissions(fs::Permissions::from_mode(MODE))
    };
    fs::set_permissions(directory, fs::Permissions::from_mode(MODE))?;
    file(MARK)?;
    let Etc::Directory { mode, uid, gid } = etc else { return Ok(()) };
    let path = directory.join("etc");
    fs::create_dir(&path)?;
    for name in FILES {
        file(name)?;
    }
    symlink(MTAB.1, directory.join(MTAB.0))?;
    chown(&path, Some(uid), Some(gid))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_testkit::{Need, require};

    #[test]
    fn etc_is_that_of_the_uppermost_layer() {
        let directory = tempfile::tempdir().unwrap();
        let layer = |name: &str| directory.path().join(name);
        for name in ["none", "link/x", "low/etc", "high/etc"] {
            fs::create_dir_all(layer(name)).unwrap();
        }
        symlink("/x", layer("link/etc")).unwrap();
        fs::set_permissions(layer("low/etc"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(layer("high/etc"), fs::Permissions::from_mode(0o2755)).unwrap();
        let mode = |names: &[&str]| {
            let layers: Vec<PathBuf> = names.iter().map(|name| layer(name)).collect();
            match etc_of(layers.iter().map(PathBuf::as_path)).unwrap() {
                Etc::Directory { mode, .. } => Some(mode),
                Etc::Other => None,
            }
        };
        assert_eq!(mode(&["none", "high", "low"]), Some(0o2755));
        assert_eq!(mode(&["low", "high"]), Some(0o700));
        assert_eq!(mode(&["none", "link", "low"]), None);
        assert_eq!(mode(&["none"]), Some(MODE));
    }

    #[test]
    fn the_directory_is_whole_or_not_there() {
        require!(Need::Root);
        let all = tempfile::tempdir().unwrap();
        let directory = all.path().join("one");
        let etc = Etc::Directory { mode: 0o711, uid: 5, gid: 6 };
        make(all.path(), &directory, etc).unwrap();
        make(all.path(), &directory, etc).unwrap();
        assert_eq!(fs::read_dir(all.path()).unwrap().count(), 1);
        assert_eq!(fs::read_link(directory.join("etc/mtab")).unwrap(), Path::new("/proc/mounts"));
        assert_eq!(fs::metadata(directory.join(".dockerenv")).unwrap().mode() & 0o7777, MODE);
        let found = fs::metadata(directory.join("etc")).unwrap();
        assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o711, 5, 6));
        make(all.path(), &all.path().join("bare"), Etc::Other).unwrap();
        assert!(!all.path().join("bare/etc").exists());
    }
}
