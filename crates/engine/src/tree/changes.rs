//! What a container has changed of its image: docker's `diff`.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use gantry_layer::{Change, ChangeKind, Limits, changes, changes_overlay};
use gantry_types::Mount;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use super::{archive, failed};
use crate::{Container, Engine, Error, Result};

/// What every container has of its engine: that it is there is no change of its own.
const ENGINES: [&[u8]; 15] = [
    b"/.dockerenv",
    b"/dev",
    b"/dev/console",
    b"/dev/mqueue",
    b"/dev/pts",
    b"/dev/shm",
    b"/etc",
    b"/etc/hostname",
    b"/etc/hosts",
    b"/etc/mtab",
    b"/etc/resolv.conf",
    b"/proc",
    b"/run/.containerenv",
    b"/sys",
    b"/sys/fs/cgroup",
];

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileChangeKind {
    /// It is another one, or something in it is.
    Modified,
    /// It was not there.
    Added,
    /// It is gone.
    Deleted,
}

/// A file that is not as in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// How.
    pub kind: FileChangeKind,
    /// Its path in the container.
    pub path: String,
}

impl From<Change> for FileChange {
    fn from(change: Change) -> Self {
        let kind = match change.kind {
            ChangeKind::Modified => FileChangeKind::Modified,
            ChangeKind::Added => FileChangeKind::Added,
            ChangeKind::Deleted => FileChangeKind::Deleted,
        };
        Self { kind, path: String::from_utf8_lossy(&change.path).into_owned() }
    }
}

impl Engine {
    /// What a container has changed of its image's files, ordered by path. It may run meanwhile.
    ///
    /// # Errors
    /// Those of the store; ResourceExhausted for more changes than fit into memory.
    pub async fn container_changes(&self, container: &Arc<Container>) -> Result<Vec<FileChange>> {
        let (context, snapshotter, key) = self.snapshot_of(container).await?;
        let store = &self.shared.store;
        let mounts = store.snapshot_mounts(context.clone(), snapshotter.clone(), key.clone()).await?;
        let layers = Layers::of(&mounts)?;
        let stat = store.snapshot_stat(context.clone(), snapshotter.clone(), key.clone()).await?;
        if layers.lower.is_empty() && stat.parent.is_some() {
            let text = format!("the snapshotter {snapshotter} keeps no changes of its own");
            return Err(Error::Unsupported(text));
        }
        let found = {
            let layers = layers.clone();
            self.blocking("comparing a container's files", move || Ok(layers.compare())).await?
        };
        let found = match found {
            // Where overlayfs keeps less than whole files in the upper directory, what is seen is compared.
            Err(Error::Store(gantry_primitives::Error::Layer(gantry_layer::Error::Incomplete {
                ..
            }))) => {
                let seen = store.snapshot_files(context, snapshotter, key).await?;
                self.blocking("comparing a container's files", move || layers.compare_seen(seen)).await?
            }
            found => found?,
        };
        Ok(found.into_iter().map(FileChange::from).collect())
    }
}

/// The directories of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layers {
    upper: String,
    /// Nearest first.
    lower: Vec<String>,
    user_xattr: bool,
}

impl Layers {
    fn of(mounts: &[Mount]) -> Result<Self> {
        let unsupported = || Error::Unsupported("comparing the files of such a snapshot".to_owned());
        let [mount] = mounts else { return Err(unsupported()) };
        match mount.kind.as_str() {
            "bind" | "rbind" => {
                Ok(Self { upper: mount.source.clone(), lower: Vec::new(), user_xattr: false })
            }
            "overlay" => {
                let option =
                    |name: &str| mount.options.iter().rev().find_map(|option| option.strip_prefix(name));
                let lower =
                    option("lowerdir=").unwrap_or_default().split(':').filter(|path| !path.is_empty());
                Ok(Self {
                    upper: option("upperdir=").ok_or_else(unsupported)?.to_owned(),
                    lower: lower.map(str::to_owned).collect(),
                    user_xattr: mount.options.iter().any(|option| option == "userxattr"),
                })
            }
            _ => Err(unsupported()),
        }
    }

    fn compare(&self) -> Result<Vec<Change>> {
        let upper = open(&self.upper)?;
        let lower = self.lower.iter().map(|path| open(path)).collect::<Result<Vec<_>>>()?;
        let lower: Vec<_> = lower.iter().map(AsFd::as_fd).collect();
        let limits = Limits::default();
        changes_overlay(upper.as_fd(), &lower, self.user_xattr, &limits, &is_engines).map_err(archive)
    }

    fn compare_seen(&self, seen: Option<OwnedFd>) -> Result<Vec<Change>> {
        let seen =
            seen.ok_or_else(|| Error::Unsupported("comparing a snapshot without layers".to_owned()))?;
        let lower = match &self.lower[..] {
            [] => None,
            [one] => Some(open(one)?),
            several => {
                Some(overlay(several, self.user_xattr).map_err(failed("mounting", "an image's layers"))?)
            }
        };
        changes(lower.as_ref().map(AsFd::as_fd), seen.as_fd(), &Limits::default(), &is_engines)
            .map_err(archive)
    }
}

fn is_engines(change: &Change) -> bool {
    change.kind == ChangeKind::Added && ENGINES.contains(&&change.path[..])
}

fn open(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(failed("opening", path))
}

/// Committed layers as they are seen, detached. Linux 6.7 for `lowerdir+`.
fn overlay(layers: &[String], user_xattr: bool) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in layers {
        fsconfig_set_string(context.as_fd(), "lowerdir+", layer)?;
    }
    if user_xattr {
        fsconfig_set_flag(context.as_fd(), "userxattr")?;
    }
    fsconfig_create(context.as_fd())?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
}
