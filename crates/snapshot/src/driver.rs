use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;

use gantry_types::{Labels, Mount};

use crate::{Error, Kind, Usage};

/// A snapshot's number in its driver. Never used twice: the next is larger than every record's and
/// [every directory's](Driver::highest).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotNumber(pub u64);

impl fmt::Display for SnapshotNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a driver can do beyond the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// A snapshot that was prepared without parent can be given one at the commit.
    pub rebase: bool,
    /// Mounts with `uidmap=` and `gidmap=` are returned for snapshots with the labels of a mapping.
    pub remap_ids: bool,
    /// A client is not to change the owner of every file where ids cannot be mapped.
    pub only_remap_ids: bool,
}

impl Capabilities {
    /// The words that containerd's list of plugins uses.
    pub fn names(self) -> Vec<&'static str> {
        let all =
            [(self.remap_ids, "remap-ids"), (self.only_remap_ids, "only-remap-ids"), (self.rebase, "rebase")];
        all.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect()
    }
}

/// What is asked of a snapshot beyond its parents.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// [`Kind::View`] or [`Kind::Active`].
    pub kind: Kind,
    /// The labels of its name; the mappings of ids among them count.
    pub labels: &'a Labels,
    /// Nobody minds if its files are lost in a crash, and it is mounted once only (overlayfs's `volatile`).
    pub volatile: bool,
}

/// How the changes of a layer are written down in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As overlayfs does: character devices 0/0 for what is removed, an attribute for opaque directories.
    Overlay {
        /// `user.overlay.*` instead of `trusted.overlay.*`.
        user_xattr: bool,
    },
    /// The directory has the parent's files already: what a layer removes is removed.
    Plain,
}

/// What a layer is applied to without a mount.
#[derive(Debug)]
pub struct ApplyTarget {
    /// The directory that the files go to, open for reading.
    pub upper: OwnedFd,
    /// The directories of the layers below, nearest first; for [`Format::Plain`] none, as `upper` has everything.
    pub lower: Vec<OwnedFd>,
    /// How changes are written.
    pub format: Format,
}

/// Keeps snapshots as directories by number.
///
/// A driver checks no names, kinds or children: its caller's records do. Whoever calls it knows which numbers are taken,
/// which of them are parents (given nearest first), and never lets two calls work at the same number at once.
///
/// Every method blocks. None waits for another's files: only opening, renaming and counting happen but for
/// [`prepare`](Self::prepare) of a driver that copies, and [`collect`](Self::collect).
pub trait Driver: Send + Sync {
    /// The name that snapshots are asked for by: `overlayfs`, `native`.
    fn name(&self) -> &str;

    /// What it can do beyond the contract.
    fn capabilities(&self) -> Capabilities;

    /// The directory that it owns.
    fn root(&self) -> &Path;

    /// Makes the directories of a new snapshot. They are there entirely or, after an error or a crash, recognisably not.
    ///
    /// # Errors
    /// InvalidArgument for a mapping of ids; ResourceExhausted for a full disk.
    fn prepare(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        request: &Request<'_>,
    ) -> Result<(), Error>;

    /// The mounts of an active snapshot or view.
    ///
    /// # Errors
    /// InvalidArgument for [`Kind::Committed`].
    fn mounts(
        &self,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        request: &Request<'_>,
    ) -> Result<Vec<Mount>, Error>;

    /// Counts what an active snapshot takes, which nobody writes to any more. `parents` are those that it will have;
    /// it may have been prepared without, where the driver has the capability to rebase: else the caller refuses.
    ///
    /// # Errors
    /// NotFound without a directory.
    fn commit(&self, number: SnapshotNumber, parents: &[SnapshotNumber]) -> Result<Usage, Error>;

    /// Counts what an active snapshot takes now. For other kinds, what was counted at the commit holds.
    ///
    /// # Errors
    /// NotFound without a directory; Aborted if directories were moved about meanwhile.
    fn usage(&self, number: SnapshotNumber) -> Result<Usage, Error>;

    /// Takes snapshots out of sight at once; their files go in [`collect`](Self::collect). One without a directory is
    /// no error.
    ///
    /// # Errors
    /// The first; the others are removed all the same.
    fn remove(&self, numbers: &[SnapshotNumber]) -> Result<(), Error>;

    /// Deletes files of removed snapshots, a bounded number a call, and tells how many; 0 when nothing is left.
    ///
    /// # Errors
    /// The first, after what could be deleted was deleted; what is left is tried again by the next call.
    fn collect(&self) -> Result<u64, Error>;

    /// Removes the directories of all snapshots that are not `known`, and tells which. Those that are being prepared
    /// meanwhile must be known.
    ///
    /// # Errors
    /// The first; the others are removed all the same.
    fn cleanup(&self, known: &dyn Fn(SnapshotNumber) -> bool) -> Result<Vec<SnapshotNumber>, Error>;

    /// The largest number of any directory, removed ones included.
    ///
    /// # Errors
    /// What reading the directory gives.
    fn highest(&self) -> Result<Option<SnapshotNumber>, Error>;

    /// Opens what a layer is applied to. For `upper`'s own attributes after a rebase, the caller cares.
    ///
    /// # Errors
    /// NotFound without a directory.
    fn layers(&self, number: SnapshotNumber, parents: &[SnapshotNumber]) -> Result<ApplyTarget, Error>;

    /// Makes the snapshot's files durable. What else was written to the file system becomes durable with it: one call
    /// does for several snapshots.
    ///
    /// # Errors
    /// What the disk gives, also for an earlier write that it lost.
    fn sync(&self, number: SnapshotNumber) -> Result<(), Error>;

    /// A label that is shown with the snapshot and never stored.
    fn shown_label(&self, number: SnapshotNumber) -> Option<(&'static str, String)>;
}
