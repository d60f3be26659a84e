//! The root of a container that does not run: its snapshot with its volumes and bind mounts, in a mount namespace that ends with
//! whoever uses it, and with the daemon.
//!
//! What is mounted where is decided below descriptors: a place that another container with the same volume swaps for a link
//! meanwhile leads elsewhere in this container at most (CVE-2026-41568, CVE-2026-42306, CVE-2021-25741).

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use gantry_spec::{Access, MountKind as SpecKind};
use gantry_sys::mount::{ATTR_RDONLY, MountAttr, Scope, mount_setattr};
use gantry_sys::ns::unshare;
use gantry_sys::path::{FdPath, Missing, ensure};
use gantry_types::Mount;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, mount_remount,
    move_mount, open_tree,
};

use super::failed;
use super::process::{MOUNT_NAMESPACE, on_a_thread};
use super::root::{Root, Wanted};
use crate::options::MountKind;
use crate::record::Record;
use crate::volume::{Volume, mount_volume};
use crate::{Engine, Error, Result};

/// Whether something can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writable {
    Yes,
    No,
}

/// Something that is mounted below the root.
#[derive(Debug, Clone)]
pub(super) struct Point {
    /// On the host.
    pub(super) source: PathBuf,
    /// Below the source; empty for all of it.
    pub(super) subpath: String,
    /// In the container.
    pub(super) target: String,
    pub(super) writable: Writable,
    /// Whether what is mounted below the source comes with it.
    pub(super) recursion: OpenTreeFlags,
}

/// What is mounted.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Of the snapshot.
    pub(super) mounts: Vec<Mount>,
    /// An empty directory of the host's; nobody else sees what is mounted on it.
    pub(super) anchor: PathBuf,
    /// Volumes that are mounts themselves.
    pub(super) volumes: Vec<Volume>,
    pub(super) points: Vec<Point>,
    /// Whether the container may write to its root.
    pub(super) root: Writable,
    pub(super) wanted: Wanted,
}

/// Mounts a container, whose gate is held.
///
/// # Errors
/// Conflict for a container that is going; what the store and the kernel say.
pub(super) async fn open(engine: &Engine, record: &Record, wanted: Wanted) -> Result<Root> {
    let (snapshotter, key) = (engine.snapshotter().to_owned(), record.id.clone());
    let mounts = engine.shared.store.snapshot_mounts(engine.context(), snapshotter, key).await?;
    let mounts = engine.with_init_layer(record, mounts).await?;
    let mut plan = Plan {
        mounts,
        anchor: engine.shared.directory(&record.id),
        volumes: Vec::new(),
        points: Vec::new(),
        root: if record.options.isolation.read_only { Writable::No } else { Writable::Yes },
        wanted,
    };
    if wanted != Wanted::Snapshot {
        let is_used = |volume: &Volume| record.mounts.iter().any(|point| point.name == volume.name);
        if record.mounts.iter().any(|point| point.kind == MountKind::Volume) {
            let all = engine.volumes().await?.into_iter();
            plan.volumes = all.filter(|volume| !volume.options.is_empty() && is_used(volume)).collect();
        }
        plan.points = points(engine, record);
    }
    engine.blocking("mounting a container's files", move || mount(plan)).await
}

/// Whether a mount is there without a process.
fn is_on_disk(point: &crate::MountPoint) -> bool {
    matches!(point.kind, MountKind::Bind | MountKind::Volume)
}

/// What is mounted in a container: its own mounts but memory and images, and the files that it has of the engine.
fn points(engine: &Engine, record: &Record) -> Vec<Point> {
    let of_record = |point: &crate::MountPoint| Point {
        source: point.source.clone().into(),
        subpath: point.subpath.clone(),
        target: point.target.clone(),
        writable: if point.writable { Writable::Yes } else { Writable::No },
        recursion: if point.non_recursive { OpenTreeFlags::empty() } else { OpenTreeFlags::AT_RECURSIVE },
    };
    let own = record.mounts.iter().filter(|point| is_on_disk(point)).map(of_record);
    let is_taken = |place: &str| record.mounts.iter().any(|point| point.target == place);
    let files = match engine.files_directory(record) {
        Ok(directory) => {
            crate::container::file_mounts(&directory, record.options.isolation.read_only, is_taken)
        }
        // The container whose network it shares is gone.
        Err(_) => Vec::new(),
    };
    let files = files.into_iter().filter_map(|mount| match mount.kind {
        SpecKind::Bind(bind) if Path::new(&bind.source).exists() => Some(Point {
            source: bind.source.into(),
            subpath: String::new(),
            target: mount.destination,
            writable: if bind.access == Access::ReadWrite { Writable::Yes } else { Writable::No },
            recursion: OpenTreeFlags::empty(),
        }),
        _ => None,
    });
    let mut points: Vec<Point> = files.chain(own).collect();
    // What is above comes before what is below it.
    points.sort_by_key(|point| point.target.split('/').filter(|component| !component.is_empty()).count());
    points
}

/// Mounts all of it on a thread of its own, in a namespace of its own. Blocks.
///
/// # Errors
/// What the kernel says.
///
/// # Privilege
/// `CAP_SYS_ADMIN`.
pub(super) fn mount(plan: Plan) -> Result<Root> {
    on_a_thread(move || {
        enter_namespace()?;
        let read = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = openat(CWD, "/proc/thread-self/ns/mnt", read, Mode::empty());
        let namespace = namespace.map_err(failed("opening", "a mount namespace"))?;
        for volume in &plan.volumes {
            mount_volume(volume)?;
        }
        // Before the root covers the directory that some of them are in.
        let sources: Vec<Result<OwnedFd>> = plan.points.iter().map(source).collect();
        for mount in &plan.mounts {
            gantry_primitives::Store::mount_here(mount, &plan.anchor)?;
        }
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            openat(CWD, &plan.anchor, directory, Mode::empty()).map_err(failed("opening", &plan.anchor))?;
        for (point, source) in plan.points.iter().zip(sources) {
            match source.and_then(|source| attach(&root, point, &source)) {
                // It is for the container's start to complain.
                Err(error) if plan.wanted != Wanted::AllWritable => {
                    tracing::debug!(target = point.target, %error, "what is mounted there is not shown");
                }
                result => result?,
            }
        }
        if plan.root == Writable::No || plan.wanted != Wanted::AllWritable {
            let flags = MountFlags::BIND | MountFlags::RDONLY;
            mount_remount(&plan.anchor, flags, "").map_err(failed("making read-only", &plan.anchor))?;
        }
        Ok(Root::new(root, Some(namespace)))
    })
}

/// Gives the calling thread a mount namespace of its own.
pub(super) fn enter_namespace() -> Result<()> {
    unshare(MOUNT_NAMESPACE).map_err(failed("making", "a mount namespace"))?;
    // What the host unmounts goes here, too; nothing of here comes there.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).map_err(failed("changing", "a mount namespace"))
}

/// Mounts something below the root. Its place is made where there is none, as a start makes it.
fn attach(root: &OwnedFd, point: &Point, source: &OwnedFd) -> Result<()> {
    let stat = fstat(source).map_err(failed("looking at", &point.source))?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(source, "", flags | point.recursion).map_err(failed("mounting", &point.source))?;
    let missing = if is_directory { Missing::Directory } else { Missing::File };
    let target = CString::new(point.target.as_str())
        .map_err(|_| Error::Invalid("a path has a zero byte".to_owned()))?;
    let target = ensure(root.as_fd(), &target, missing).map_err(failed("making", &point.target))?;
    let by_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &target, "", by_descriptor).map_err(failed("mounting on", &point.target))?;
    if point.writable == Writable::No {
        make_read_only(&tree).map_err(failed("making read-only", &point.target))?;
    }
    Ok(())
}

/// What is mounted, pinned.
fn source(point: &Point) -> Result<OwnedFd> {
    if !point.subpath.is_empty() {
        return crate::container::open_subpath(&point.source, &point.subpath);
    }
    let path = OFlags::PATH | OFlags::CLOEXEC;
    openat(CWD, &point.source, path, Mode::empty()).map_err(failed("opening", &point.source))
}

fn make_read_only(mount: &OwnedFd) -> std::result::Result<(), Errno> {
    let attr = MountAttr { attr_set: ATTR_RDONLY, ..MountAttr::default() };
    match mount_setattr(mount.as_fd(), &attr, Scope::Tree) {
        // Before Linux 5.12.
        Err(Errno::NOSYS) => {
            mount_remount(FdPath::new(mount.as_fd()).as_cstr(), MountFlags::BIND | MountFlags::RDONLY, "")
        }
        result => result,
    }
}
