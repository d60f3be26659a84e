//! The files of a container in a user namespace: mounted in its ids, and seen through its mounts in the host's.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use gantry_layer::{IdMap, IdRange};
use gantry_spec::{Mount, MountKind as SpecKind};
use gantry_sys::caps::{capget, capset};
use gantry_sys::mount::{ATTR_IDMAP, MountAttr, Scope, mount_setattr};
use gantry_sys::process::set_file_system_ids;
use gantry_types::oci::IdMapping;
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{dumpable_behavior, set_dumpable_behavior};

use super::hold;
use super::ids::IdMaps;
use crate::options::MountKind;
use crate::record::{MountPoint, Record};
use crate::{Error, Result};

/// What our shim takes for the upper layer in the container's ids, too (`gantry_runtime::rootfs::MAPPED_WHOLE`).
const MAPPED_WHOLE: &str = "X-gantry.idmap=all";

impl IdMaps {
    /// Adds to the mounts of a root, which is in the container's ids, that it is shown in the host's.
    pub(crate) fn map_root(&self, mounts: &mut [gantry_types::Mount]) {
        for mount in mounts {
            mount.options.extend([
                format!("uidmap={}", Self::option(&self.uids)),
                format!("gidmap={}", Self::option(&self.gids)),
                MAPPED_WHOLE.to_owned(),
            ]);
        }
    }
}

/// Has mounts mapped whose files are in the container's ids: volumes and the engine's own files, but not binds. Blocks.
///
/// # Errors
/// What the disk says.
pub(crate) fn map_mounts(
    record: &Record,
    volumes: &BTreeMap<String, crate::Volume>,
    mounts: &mut [Mount],
) -> Result<()> {
    let Some(userns) = &record.userns else { return Ok(()) };
    let mut namespace = None;
    for mount in mounts {
        let SpecKind::Bind(bind) = &mut mount.kind else { continue };
        let point = record.mounts.iter().find(|point| point.target == mount.destination);
        let ids = point.map_or(Ids::Container, |point| ids(point, volumes));
        let is_mapped = match ids {
            Ids::Container => true,
            Ids::Host => false,
            Ids::Perhaps => {
                let own = match namespace.take() {
                    Some(own) => own,
                    None => hold::make(&userns.maps, hold::Net::Not)?.0,
                };
                let can = can_be_mapped(Path::new(&bind.source), &own)?;
                namespace = Some(own);
                can
            }
        };
        if is_mapped {
            bind.uid_mappings.clone_from(&userns.maps.uids);
            bind.gid_mappings.clone_from(&userns.maps.gids);
        } else {
            tracing::debug!(container = %record.id, place = mount.destination, "ids of the host are shown");
        }
    }
    Ok(())
}

/// In whose ids files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ids {
    Container,
    Host,
    /// The container's, but the file system may be one that maps none: overlayfs, or one of the network.
    Perhaps,
}

fn ids(point: &MountPoint, volumes: &BTreeMap<String, crate::Volume>) -> Ids {
    match point.kind {
        MountKind::Bind | MountKind::Tmpfs => Ids::Host,
        MountKind::Volume => match volumes.get(&point.name).filter(|volume| !volume.options.is_empty()) {
            None => Ids::Container,
            Some(volume) if is_bind(volume) => Ids::Host,
            Some(_) => Ids::Perhaps,
        },
        MountKind::Image => Ids::Perhaps,
    }
}

/// Whether a volume is a directory of the host's, whose files are in the host's ids.
pub(crate) fn is_bind(volume: &crate::Volume) -> bool {
    let words = volume.options.get("o").map_or("", String::as_str);
    words.split(',').any(|word| matches!(word, "bind" | "rbind"))
}

/// Whether a file system knows id-mapped mounts: by a mount of it that is attached nowhere.
fn can_be_mapped(path: &Path, namespace: &OwnedFd) -> Result<bool> {
    let tree = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(|errno| Error::io("looking at", path)(errno.into()))?;
    let userns_fd = namespace.as_raw_fd() as u64;
    let attr = MountAttr { attr_set: ATTR_IDMAP, userns_fd, ..MountAttr::default() };
    Ok(mount_setattr(tree.as_fd(), &attr, Scope::Mount).is_ok())
}

/// Between the ids of a running container and those in which its mounts show its files.
#[derive(Debug, Clone)]
pub(crate) struct Shift {
    map: IdMap,
    root: (u32, u32),
}

impl Shift {
    /// That of a container which runs; None for one in the host's user namespace.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let maps =
            record.userns.as_ref().filter(|_| record.state.status.is_alive()).map(|userns| &userns.maps)?;
        let ranges = |ranges: &[IdMapping]| {
            let range = |range: &IdMapping| IdRange {
                archive: range.container_id,
                disk: range.host_id,
                count: range.size,
            };
            ranges.iter().map(range).collect()
        };
        Some(Self { map: IdMap { uids: ranges(&maps.uids), gids: ranges(&maps.gids) }, root: maps.root()? })
    }

    /// The owner on the host of what a user and a group of the container own.
    ///
    /// # Errors
    /// Invalid for ids that it does not have.
    pub(crate) fn on_host(&self, (uid, gid): (u32, u32)) -> Result<(u32, u32)> {
        let found = |ranges: &[IdRange], id: u32| {
            ranges.iter().find_map(|range| {
                let offset = id.checked_sub(range.archive).filter(|offset| *offset < range.count)?;
                range.disk.checked_add(offset)
            })
        };
        let both = found(&self.map.uids, uid).zip(found(&self.map.gids, gid));
        both.ok_or_else(|| Error::Invalid(format!("{uid}:{gid} is not among the ids of the container")))
    }

    /// For archives.
    pub(crate) fn map(&self) -> &IdMap {
        &self.map
    }

    /// Calls `work` on a thread with the ids by which the container's root makes files, as its root file system can keep no
    /// others. The thread is as mighty as the caller.
    ///
    /// # Errors
    /// `work`'s; what the kernel says.
    pub(crate) fn as_owner<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("owner".to_owned());
            let run = || {
                self.become_owner()?;
                work()
            };
            let thread = thread.spawn_scoped(scope, run).map_err(Error::io("starting", "a thread"))?;
            thread.join().map_err(|_| Error::Panicked("writing to a container"))?
        })
    }

    fn become_owner(&self) -> Result<()> {
        let failed = |errno: gantry_sys::Errno| Error::io("becoming", "a container's root")(errno.into());
        let (before, dumpable) = (capget().map_err(failed)?, dumpable_behavior().map_err(failed)?);
        set_file_system_ids(self.root.0, self.root.1).map_err(failed)?;
        // Whoever is no longer root for the file system loses what root may there (capabilities(7)), and the whole process its
        // dumps of memory (PR_SET_DUMPABLE of prctl(2)).
        capset(&before).map_err(failed)?;
        set_dumpable_behavior(dumpable).map_err(failed)
    }
}

/// Where a shared /dev/shm belongs to the container's root: options of its tmpfs.
pub(crate) fn tmpfs_owner(record: &Record) -> String {
    let root = record.userns.as_ref().and_then(|userns| userns.maps.root());
    root.map_or_else(String::new, |(uid, gid)| format!(",uid={uid},gid={gid}"))
}
