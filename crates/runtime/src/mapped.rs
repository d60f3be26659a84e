//! Roots whose ids are mapped: `uidmap=` and `gidmap=` among the options of a root's mount, as containerd's snapshotters write
//! them (`container:host:size`, several by commas).
//!
//! An overlay cannot be id-mapped, its layers can (Linux 5.19), but only where they are attached: before Linux 6.15 no
//! detached mount can be a layer. So a child with a mount namespace of its own puts an id-mapped copy of the directory that
//! all layers are in on that directory, makes the overlay there, and hands it over:
//!
//! ```text
//!   worker ──clone3(CLONE_NEWNS)──► child: open_tree(layers), MOUNT_ATTR_IDMAP, move_mount onto themselves
//!      ◄──────── the overlay, detached (SCM_RIGHTS) ──────── fsopen(overlay), fsmount
//! ```
//! The lower layers are mapped, and the upper one is not, as containerd has it; with the option [`ALL`] the upper one is, too, so
//! that the files of the container are kept in its own ids.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use gantry_sys::Errno;
use gantry_sys::caps::{capget, capset};
use gantry_sys::clone::{CloneArgs, spawn};
use gantry_sys::features::{Feature, has};
use gantry_sys::mount::{ATTR_IDMAP, MountAttr, Scope, mount_setattr};
use gantry_sys::process::{self, Wait};
use gantry_types::oci::{IdMapping, Mount};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree,
};

use crate::error::Error;
use crate::plan::c_string;
use crate::plan::mounts::Parameter;
use crate::plan::namespaces::{NEWNS, map_id};
use crate::rootfs::joined_layers;
use crate::sync::{Kind, Message, receive, send};

/// The option of a root whose upper layer is kept in the container's ids, too. Not for the kernel.
pub(crate) const ALL: &str = "X-gantry.idmap=all";

const FIELD: &str = "rootfs.options";

/// How the ids of a root are mapped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ids {
    uids: Vec<IdMapping>,
    gids: Vec<IdMapping>,
    /// Whether those of the upper layer are.
    all: bool,
}

/// Takes the options of mapping out of a mount's; `None` where it has none.
///
/// # Errors
/// InvalidArgument for ranges that are none, and for one map without the other.
pub(crate) fn split(mount: &Mount) -> Result<Option<(Mount, Ids)>, Error> {
    let mut rest = mount.clone();
    let mut ids = Ids { uids: Vec::new(), gids: Vec::new(), all: false };
    let mut asked = false;
    rest.options.clear();
    for option in &mount.options {
        match option.split_once('=') {
            Some(("uidmap", ranges)) => ids.uids = self::ranges(ranges)?,
            Some(("gidmap", ranges)) => ids.gids = self::ranges(ranges)?,
            _ if option == ALL => ids.all = true,
            _ => {
                rest.options.push(option.clone());
                continue;
            }
        }
        asked = true;
    }
    if !asked {
        return Ok(None);
    }
    if ids.uids.is_empty() || ids.gids.is_empty() {
        return Err(Error::config(FIELD, "uidmap and gidmap go together"));
    }
    Ok(Some((rest, ids)))
}

/// `container:host:size`, several by commas.
fn ranges(text: &str) -> Result<Vec<IdMapping>, Error> {
    let range = |part: &str| {
        let numbers: Option<Vec<u32>> = part.split(':').map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[container_id, host_id, size]) => Ok(IdMapping { container_id, host_id, size }),
            _ => Err(Error::config(FIELD, format!("{part:?} is not a range container:host:size"))),
        }
    };
    text.split(',').filter(|part| !part.is_empty()).map(range).collect()
}

impl Ids {
    /// A user namespace with these maps.
    ///
    /// # Errors
    /// Unsupported before Linux 5.12, ranges that are none.
    pub(crate) fn namespace(&self) -> Result<OwnedFd, Error> {
        if !has(Feature::MountSetattr) {
            return Err(Error::Unsupported("rootfs: id-mapped mounts need Linux 5.12".into()));
        }
        crate::idmap::namespace_with(&self.uids, &self.gids)
    }
}

impl Ids {
    /// Becomes who may make files in mapped layers. overlayfs works with the ids and capabilities of its mounter: host's root could
    /// not even make the directory that it works in, and the overlay would be read-only.
    fn become_owner(&self) -> Result<(), Errno> {
        let root = |ranges: &[IdMapping]| map_id(ranges, 0).ok_or(Errno::OVERFLOW);
        let (uid, gid) = (root(&self.uids)?, root(&self.gids)?);
        let before = capget()?;
        process::set_file_system_ids(uid, gid)?;
        // With the ids went what root may do to files: capabilities(7).
        capset(&before)
    }
}

/// Maps the ids of a mount that is attached nowhere.
///
/// # Errors
/// `EINVAL` for a file system that cannot be, or that is mapped already.
pub(crate) fn map(tree: BorrowedFd<'_>, namespace: BorrowedFd<'_>, scope: Scope) -> Result<(), Errno> {
    let userns_fd = namespace.as_raw_fd() as u64;
    mount_setattr(tree, &MountAttr { attr_set: ATTR_IDMAP, userns_fd, ..MountAttr::default() }, scope)
}

/// Makes an overlay of lower layers and options that is attached nowhere; `None` where only mount(2) can.
pub(crate) type Make<'a> = dyn Fn(&[CString], &[Parameter]) -> Result<Option<OwnedFd>, Errno> + 'a;

/// What a child does, for its errors.
const STEPS: [&str; 6] = [
    "take the mounts out of the host's propagation",
    "open the layers' directory",
    "set MOUNT_ATTR_IDMAP on the layers' directory, whose file system may not know it,",
    "mount the layers' directory on itself",
    "open the upper directory",
    "mount",
];

/// What went wrong in the child.
struct Fault {
    /// Of [`STEPS`].
    step: u32,
    /// Which of the layers' directories.
    index: u32,
    errno: Errno,
}

/// An overlay to be made of mapped layers.
pub(crate) struct Overlay<'a> {
    /// All of `lowerdir`, nearest first.
    pub(crate) lower: &'a [CString],
    /// Its other options.
    pub(crate) rest: &'a [Parameter],
    pub(crate) ids: &'a Ids,
}

impl Overlay<'_> {
    /// Makes it, by `make` where layers are mapped.
    ///
    /// clone3(2) with `CLONE_NEWNS`; the caller has one thread.
    ///
    /// # Errors
    /// Unsupported before Linux 5.19 and for layers on file systems within each other; what the kernel says.
    pub(crate) fn tree(&self, make: &Make<'_>) -> Result<OwnedFd, Error> {
        if !has(Feature::OverlayMappedLayers) {
            let reason = "rootfs: layers of overlayfs can be id-mapped since Linux 5.19";
            return Err(Error::Unsupported(reason.into()));
        }
        let places = self.places()?;
        let namespace = self.ids.namespace()?;
        let (ours, theirs) = crate::sync::pair().map_err(Error::io("socketpair"))?;
        let child = spawn(&CloneArgs { flags: NEWNS, cgroup: None }, || {
            let _ = process::set_parent_death_signal(9);
            let sent = match self.make_inside(&places, namespace.as_fd(), make) {
                Ok(tree) => send(theirs.as_fd(), Message::new(Kind::Ready), Some(tree.as_fd())),
                Err(Fault { step, index, errno }) => {
                    let (kind, errno) = (Kind::Fault, errno.raw_os_error());
                    send(theirs.as_fd(), Message { kind, step, index, errno }, None)
                }
            };
            i32::from(sent.is_err())
        })
        .map_err(Error::io("clone3 of a mount namespace for id-mapped layers"))?;
        drop(theirs);
        let said = receive(ours.as_fd());
        process::wait(Wait::Child(child.pidfd.as_fd())).map_err(Error::io("waitid"))?;
        match said.map_err(Error::io("recvmsg"))? {
            Some((Message { kind: Kind::Ready, .. }, Some(tree))) => Ok(tree),
            Some((message, _)) => {
                let step = STEPS.get(message.step as usize).copied().unwrap_or("mount");
                let of = places
                    .get(message.index as usize)
                    .map(|place| place.to_string_lossy())
                    .unwrap_or_default();
                Err(Error::io(format!("rootfs: {step} {of}"))(message.errno()))
            }
            None => Err(Error::io("the process that mounts id-mapped layers")(Errno::CHILD)),
        }
    }

    /// The directories that the layers are in: one a file system, that of the upper layer first.
    fn places(&self) -> Result<Vec<CString>, Error> {
        let own = self.rest.iter().filter(|parameter| is_own(parameter));
        let own = own.filter_map(|parameter| parameter.value.as_ref());
        let mut groups: Vec<(u64, Vec<PathBuf>)> = Vec::new();
        for path in own.chain(self.lower) {
            let path = PathBuf::from(path.to_string_lossy().into_owned());
            let named = || format!("rootfs: stat {}", path.display());
            let stat = rustix::fs::stat(&path).map_err(|errno| Error::io(named())(errno))?;
            match groups.iter_mut().find(|(device, _)| *device == stat.st_dev) {
                Some((_, paths)) => paths.push(path),
                None => groups.push((stat.st_dev, vec![path])),
            }
        }
        let places: Option<Vec<PathBuf>> = groups.iter().map(|(_, paths)| common(paths)).collect();
        let places = places.ok_or_else(|| {
            Error::config(FIELD, "the layers of a root that is id-mapped are absolute paths")
        })?;
        let within = |(number, place): (usize, &PathBuf)| {
            places.iter().enumerate().any(|(other, above)| other != number && place.starts_with(above))
        };
        if places.iter().enumerate().any(within) {
            let text = "rootfs: the layers are on several file systems, of which one is within another";
            return Err(Error::Unsupported(text.into()));
        }
        places.iter().map(|place| c_string(&place.to_string_lossy(), FIELD)).collect()
    }

    fn make_inside(
        &self,
        places: &[CString],
        namespace: BorrowedFd<'_>,
        make: &Make<'_>,
    ) -> Result<OwnedFd, Fault> {
        let at = |step: u32| move |errno: Errno| Fault { step, index: 0, errno };
        mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(at(0))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let mut trees = Vec::with_capacity(places.len());
        for (place, index) in places.iter().zip(0..) {
            let of = |step: u32| move |errno: Errno| Fault { step, index, errno };
            let tree = open_tree(CWD, place, flags).map_err(of(1))?;
            map(tree.as_fd(), namespace, Scope::Mount).map_err(of(2))?;
            trees.push(tree);
        }
        let (mut rest, mut opened) = (self.rest.to_vec(), Vec::new());
        if self.ids.all {
            self.ids.become_owner().map_err(at(5))?;
        } else {
            // What is open before it is covered is not mapped.
            for path in rest.iter_mut().filter(|one| is_own(one)).filter_map(|one| one.value.as_mut()) {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let directory = openat(CWD, &*path, flags, Mode::empty()).map_err(at(4))?;
                let text = format!("/proc/self/fd/{}", directory.as_raw_fd());
                *path = CString::new(text).map_err(|_| at(4)(Errno::INVAL))?;
                opened.push(directory);
            }
        }
        for ((place, index), tree) in places.iter().zip(0..).zip(&trees) {
            move_mount(tree, c"", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
                .map_err(|errno| Fault { step: 3, index, errno })?;
        }
        match make(self.lower, &rest).map_err(at(5))? {
            Some(tree) => Ok(tree),
            None => {
                let place = places.first().ok_or(at(5)(Errno::INVAL))?;
                by_mount(place, self.lower, &rest).map_err(at(5))
            }
        }
    }
}

/// An overlay whose layers' paths are too long together for fsconfig(2), on a kernel before 6.7: by mount(2), with paths relative
/// to the directory that they are in, in the caller's mount namespace, from which it is taken out.
fn by_mount(common: &CStr, lower: &[CString], rest: &[Parameter]) -> Result<OwnedFd, Errno> {
    let relative = |path: &CString| match path.to_bytes().strip_prefix(common.to_bytes()) {
        Some([b'/', below @ ..]) => CString::new(below).map_err(|_| Errno::INVAL),
        _ => Ok(path.clone()),
    };
    let lower = lower.iter().map(relative).collect::<Result<Vec<_>, _>>()?;
    let mut data = [b"lowerdir=", joined_layers(&lower).map_err(|_| Errno::INVAL)?.to_bytes()].concat();
    for Parameter { key, value } in rest {
        data.push(b',');
        data.extend_from_slice(key.to_bytes());
        if let Some(value) = value {
            data.push(b'=');
            data.extend_from_slice(relative(value)?.to_bytes());
        }
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    rustix::process::chdir(common)?;
    rustix::mount::mount(c"overlay", c".", c"overlay", MountFlags::empty(), Some(data.as_c_str()))?;
    open_tree(CWD, common, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

/// Whether it names a directory that is the container's own.
fn is_own(parameter: &Parameter) -> bool {
    [c"upperdir", c"workdir"].contains(&parameter.key.as_c_str())
}

/// The deepest directory that all of some absolute paths are below.
fn common(paths: &[PathBuf]) -> Option<PathBuf> {
    let mut common = paths.first()?.parent()?.to_owned();
    for path in paths {
        while path == &common || !path.starts_with(&common) {
            if !common.pop() {
                return None;
            }
        }
    }
    common.is_absolute().then_some(common)
}

#[cfg(test)]
mod tests;
