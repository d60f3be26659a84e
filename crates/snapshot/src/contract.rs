use std::time::SystemTime;

use gantry_types::{Labels, Mount};

use crate::Error;

/// What a snapshot is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A read-only look at its parent; never committed.
    View,
    /// Can be written, and committed; never a parent.
    Active,
    /// Never changes; can be a parent.
    Committed,
}

impl Kind {
    /// The word that filters and records use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Active => "active",
            Self::Committed => "committed",
        }
    }

    /// Reads what [`as_str`](Self::as_str) gives.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::View, Self::Active, Self::Committed].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The key of an active snapshot or view, the name of a committed one.
    pub name: String,
    /// The parent's name.
    pub parent: Option<String>,
    /// What it is good for.
    pub kind: Kind,
    /// Its labels.
    pub labels: Labels,
    /// When it was prepared, or committed.
    pub created: SystemTime,
    /// When its labels changed last.
    pub updated: SystemTime,
}

/// What a snapshot takes of the disk, without its parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of the blocks that are allocated.
    pub size: u64,
    /// Inodes; hard links count once.
    pub inodes: u64,
}

/// What [`Snapshotter::walk`] calls for each snapshot; an error ends the walk and is its result.
pub type Each<'a> = dyn FnMut(&Info) -> Result<(), Error> + 'a;

/// containerd's contract of a snapshotter: file systems by name, each a change of its parent.
///
/// Keys and names share one space. An *active* snapshot is made by [`prepare`](Self::prepare) on top of a committed
/// parent, or of nothing; the mounts given are made by the caller, who writes to them. [`commit`](Self::commit) turns it
/// into a *committed* one under a name, which never changes and can be a parent. A *view* is mounted read-only and is
/// never committed. All are removed by [`remove`](Self::remove), children before parents.
///
/// To unpack an image in turn: prepare a key without parent, apply the first layer, commit it as its chain id; prepare a
/// key with that parent, apply the second, commit; and so on. To unpack all layers at once where the snapshotter can
/// rebase: prepare each without parent, and give the parent at the commit. To run a container: prepare with the last
/// chain id as parent; in the end remove, or commit as a new image's layer.
///
/// A blocking interface: asynchronous callers use their pool of blocking threads.
pub trait Snapshotter: Send + Sync {
    /// What is known of a key or name.
    ///
    /// # Errors
    /// NotFound.
    fn stat(&self, key: &str) -> Result<Info, Error>;

    /// Changes labels of `info.name`: all of them without `fields` or for the field `labels`, one for `labels.<key>`,
    /// which goes where `info` has none. A label without a value is no label, here and elsewhere.
    ///
    /// # Errors
    /// NotFound; InvalidArgument for any other field, as all others never change.
    fn update(&self, info: &Info, fields: &[String]) -> Result<Info, Error>;

    /// What the snapshot takes of the disk: as it was at the commit, or for an active one as it is now, which takes
    /// time proportional to its files.
    ///
    /// # Errors
    /// NotFound.
    fn usage(&self, key: &str) -> Result<Usage, Error>;

    /// The mounts of an active snapshot or view, again.
    ///
    /// # Errors
    /// NotFound; FailedPrecondition for a committed one.
    fn mounts(&self, key: &str) -> Result<Vec<Mount>, Error>;

    /// Makes an active snapshot of `parent` or of an empty directory.
    ///
    /// # Errors
    /// AlreadyExists for a key in use; NotFound for the parent; InvalidArgument for a parent that is not committed. A
    /// remote snapshotter answers AlreadyExists too when the label `containerd.io/snapshot.ref` names a layer that it
    /// has: the committed snapshot is there then, and nothing needs to be fetched.
    fn prepare(&self, key: &str, parent: Option<&str>, labels: &Labels) -> Result<Vec<Mount>, Error>;

    /// Makes a view of `parent` or of an empty directory.
    ///
    /// # Errors
    /// As of [`prepare`](Self::prepare).
    fn view(&self, key: &str, parent: Option<&str>, labels: &Labels) -> Result<Vec<Mount>, Error>;

    /// Makes of the active snapshot `key` the committed one `name`, with these labels and none of the old ones. With a
    /// `parent` that it did not have, it is rebased.
    ///
    /// # Errors
    /// AlreadyExists for the name; NotFound for key or parent; FailedPrecondition for a view or a committed one, or a
    /// parent that is not committed; InvalidArgument for another parent than it has; Unimplemented without rebase.
    fn commit(&self, name: &str, key: &str, parent: Option<&str>, labels: &Labels) -> Result<(), Error>;

    /// Removes a snapshot; the key can be used again at once. Its files may stay until [`cleanup`](Self::cleanup).
    ///
    /// # Errors
    /// NotFound; FailedPrecondition for one that has children.
    fn remove(&self, key: &str) -> Result<(), Error>;

    /// Calls `each` for every snapshot that passes one of `filters` (containerd's syntax; over `name`, `parent`, `kind`
    /// and `labels.<key>`), in no order. `each` may call the snapshotter.
    ///
    /// # Errors
    /// InvalidArgument for a filter; what `each` gives.
    fn walk(&self, filters: &[String], each: &mut Each<'_>) -> Result<(), Error>;

    /// Frees what removed snapshots still take, and directories that no record knows.
    ///
    /// # Errors
    /// Unimplemented, where there is nothing of the kind.
    fn cleanup(&self) -> Result<(), Error>;

    /// Lets go of the snapshotter's own resources; a second call does nothing.
    ///
    /// # Errors
    /// What letting go gives.
    fn close(&self) -> Result<(), Error>;
}
