//! Snapshots as layers of overlayfs: a directory of changes each, put together by the mount.
//!
//! The mounts are those of containerd's snapshotter of this name, option by option, since its clients make them.

mod mounts;
mod probe;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use gantry_types::Mount;
use rustix::fs::{Gid, Uid, fchown};

use crate::root::Root;
use crate::{
    ApplyTarget, Capabilities, Driver, Error, Format, IdMapping, Kind, Request, SnapshotNumber, Usage,
};
use crate::{labels, tree};

/// The name of the driver, in containerd's words.
const NAME: &str = "overlayfs";
/// The directory of a snapshot's files.
const FILES: &str = "fs";
/// The directory that overlayfs works in.
const WORK: &str = "work";
/// Attributes of the merged root that are not a layer's to hand on.
const OVERLAY_XATTRS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// How the driver works, as containerd's section of this name says it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Options of every overlay mount; bind mounts have none of them.
    pub mount_options: Vec<String>,
    /// Show the path of a snapshot's files as the label [`labels::UPPER_DIR`].
    pub upperdir_label: bool,
    /// Clients may change the owner of every file where ids cannot be mapped.
    pub slow_chown: bool,
}

/// The driver.
#[derive(Debug)]
pub struct Overlayfs {
    root: Root,
    /// The root's path, as it stands in mount options.
    path: String,
    options: Options,
    user_xattr: bool,
    capabilities: Capabilities,
}

impl Overlayfs {
    /// Opens the driver's directory, after making it where it is missing, and finds out what kernel and file system can
    /// do.
    ///
    /// # Errors
    /// FailedPrecondition if overlayfs does not work there, which names the next step; InvalidArgument for a path that
    /// cannot stand in mount options.
    pub fn open(root: &Path, mut options: Options) -> Result<Self, Error> {
        let path = mounts::checked_path(root)?;
        let root = Root::open(root)?;
        let found = probe::probe(&root, &options.mount_options)?;
        if found.user_xattr && !has_option(&options.mount_options, "userxattr") {
            options.mount_options.push("userxattr".to_owned());
        }
        // Whoever gives the option has the last word: the kernel takes the last one.
        if found.has_index && !has_option(&options.mount_options, "index") {
            options.mount_options.push("index=off".to_owned());
        }
        let capabilities = Capabilities {
            rebase: found.whiteouts,
            remap_ids: found.mapped_layers,
            only_remap_ids: !options.slow_chown,
        };
        let user_xattr = has_option(&options.mount_options, "userxattr");
        Ok(Self { root, path, options, user_xattr, capabilities })
    }

    /// The new directory of changes starts with the attributes of what lies below: it is the merged root.
    fn inherit(
        &self,
        files: BorrowedFd<'_>,
        parents: &[SnapshotNumber],
        request: &Request<'_>,
    ) -> Result<(), Error> {
        let own = |action| Error::io(action, self.root.path());
        if let Some(parent) = parents.first() {
            let below = self.root.open_part(*parent, FILES)?;
            let wanted = |name: &[u8]| !OVERLAY_XATTRS.iter().any(|prefix| name.starts_with(prefix));
            tree::copy_attributes(below.as_fd(), files, &wanted)
                .map_err(own("copy the attributes of a layer in"))?;
        }
        if let Some(mapping) = IdMapping::of(request.labels)? {
            let (uid, gid) = mapping.root()?;
            fchown(files, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(own("change an owner in"))?;
        }
        Ok(())
    }

    fn fill(
        &self,
        dir: BorrowedFd<'_>,
        parents: &[SnapshotNumber],
        request: &Request<'_>,
    ) -> Result<(), Error> {
        let make = |name, mode| {
            tree::make_directory(dir, name, mode).map_err(Error::io("make a directory in", self.root.path()))
        };
        let files = make(FILES, 0o755)?;
        if request.kind == Kind::Active && !parents.is_empty() {
            make(WORK, 0o711)?;
        }
        self.inherit(files.as_fd(), parents, request)
    }
}

/// Whether an option is there, alone or with a value.
fn has_option(options: &[String], key: &str) -> bool {
    options.iter().any(|option| option.split('=').next() == Some(key))
}

impl Driver for Overlayfs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn root(&self) -> &Path {
        self.root.path()
    }

    fn prepare(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        request: &Request<'_>,
    ) -> Result<(), Error> {
        // A view of layers is those layers: it needs nothing of its own.
        if request.kind == Kind::View && !parents.is_empty() {
            return Ok(());
        }
        self.root.make(number, |dir| self.fill(dir, parents, request))
    }

    fn mounts(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        request: &Request<'_>,
    ) -> Result<Vec<Mount>, Error> {
        self.mounts_of(number, parents, request)
    }

    fn commit(&self, number: SnapshotNumber, _parents: &[SnapshotNumber]) -> Result<Usage, Error> {
        self.usage(number)
    }

    fn usage(&self, number: SnapshotNumber) -> Result<Usage, Error> {
        let files = self.root.open_part(number, FILES)?;
        tree::usage(files).map_err(Error::io("count the files of", self.root.path_of(number, FILES)))
    }

    fn remove(&self, numbers: &[SnapshotNumber]) -> Result<(), Error> {
        self.root.remove(numbers)
    }

    fn collect(&self) -> Result<u64, Error> {
        self.root.collect()
    }

    fn cleanup(&self, known: &dyn Fn(SnapshotNumber) -> bool) -> Result<Vec<SnapshotNumber>, Error> {
        self.root.cleanup(known)
    }

    fn highest(&self) -> Result<Option<SnapshotNumber>, Error> {
        self.root.highest()
    }

    fn layers(&self, number: SnapshotNumber, parents: &[SnapshotNumber]) -> Result<ApplyTarget, Error> {
        let upper = self.root.open_part(number, FILES)?;
        let lower = parents.iter().map(|parent| self.root.open_part(*parent, FILES));
        let lower = lower.collect::<Result<Vec<OwnedFd>, Error>>()?;
        Ok(ApplyTarget { upper, lower, format: Format::Overlay { user_xattr: self.user_xattr } })
    }

    fn sync(&self, number: SnapshotNumber) -> Result<(), Error> {
        self.root.sync(number)
    }

    fn shown_label(&self, number: SnapshotNumber) -> Option<(&'static str, String)> {
        self.options.upperdir_label.then(|| (labels::UPPER_DIR, self.part(number, FILES)))
    }
}
