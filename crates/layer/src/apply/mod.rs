//! Applying an archive to a directory.

mod entry;
mod file;
pub(crate) mod name;
mod owner;
mod record;
pub(crate) mod tree;
mod whiteout;

use std::io::Read;
use std::os::fd::BorrowedFd;

use crate::{Archive, Error, Limits, attributes, rebase};
use entry::Applier;

/// How what a layer removes is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// As overlayfs reads it: character devices 0:0 and an attribute for opaque directories.
    Overlay {
        /// `user.overlay.opaque` instead of `trusted.overlay.opaque`: for mounts with `userxattr`.
        userxattr: bool,
    },
    /// In place: what the layer removes goes from the tree that is there.
    Delete,
    /// The archive is no layer: it removes nothing, and `.wh.` begins a name as any other.
    None,
}

/// Where an archive is applied.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The directory.
    pub root: BorrowedFd<'a>,
    /// How removals are written.
    pub whiteouts: Whiteouts,
    /// The overlay-format directories of the layers below, nearest first: what [`crate::rebase`] would do is done at
    /// the end. Empty for a layer that is rebased later.
    pub lower: &'a [BorrowedFd<'a>],
}

/// What becomes of device nodes in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Devices {
    /// They are made.
    #[default]
    Create,
    /// They are left out: for user namespaces, which cannot make them.
    Skip,
    /// They are an error.
    Refuse,
}

/// Which extended attributes of an archive are set. `trusted.*` and overlayfs's own never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Xattrs {
    /// All others.
    #[default]
    Keep,
    /// `security.capability` alone.
    CapabilityOnly,
    /// None.
    Drop,
}

/// What an entry for the root directory itself (`./`) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootEntry {
    /// Nothing, as with containerd.
    #[default]
    Ignore,
    /// Its attributes are given to the root.
    Apply,
}

/// What an entry may come instead of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replace {
    /// Anything.
    #[default]
    Anything,
    /// No directory instead of what is none, and no other way round: that is an error.
    SameKind,
}

/// A range of ids that are shifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first id in the archive.
    pub archive: u32,
    /// The first id on disk.
    pub disk: u32,
    /// How many.
    pub count: u32,
}

/// The ids that owners of files get. An id that no range has is an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMap {
    /// Users.
    pub uids: Vec<IdRange>,
    /// Groups.
    pub gids: Vec<IdRange>,
}

/// How an archive is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyOptions {
    /// What it may not exceed.
    pub limits: Limits,
    /// Shifts owners.
    pub id_map: Option<IdMap>,
    /// Whether files get their owners: otherwise they are the caller's.
    pub same_owner: bool,
    /// User and group to whom everything belongs, whatever the archive says.
    pub owner: Option<(u32, u32)>,
    /// The directory below the root in which names begin. Links on the way to it, and absolute ones in it, are followed inside
    /// the root; names and targets of hard links never climb out of it.
    pub base: Vec<u8>,
    /// What entries may come instead of.
    pub replace: Replace,
    /// Device nodes.
    pub devices: Devices,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// The root's own entry.
    pub root_entry: RootEntry,
    /// Whether the file system is synced (syncfs(2)) before the return.
    pub sync: bool,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            id_map: None,
            same_owner: true,
            owner: None,
            base: Vec::new(),
            replace: Replace::default(),
            devices: Devices::default(),
            xattrs: Xattrs::default(),
            root_entry: RootEntry::default(),
            sync: false,
        }
    }
}

/// A hard link whose target is not in its layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredLink {
    pub(crate) path: Vec<u8>,
    pub(crate) target: Vec<u8>,
}

/// What a layer leaves to those below it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Implied {
    pub(crate) directories: Vec<Vec<u8>>,
    pub(crate) links: Vec<DeferredLink>,
    pub(crate) userxattr: bool,
    pub(crate) root_opaque: bool,
}

impl Implied {
    /// Whether there is nothing to do for [`crate::rebase`].
    pub fn is_empty(&self) -> bool {
        self.directories.is_empty() && self.links.is_empty() && !self.root_opaque
    }

    /// The directories that the archive has no entry for, relative to the root.
    pub fn directories(&self) -> impl Iterator<Item = &[u8]> {
        self.directories.iter().map(Vec::as_slice)
    }
}

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Entries of the archive.
    pub entries: u64,
    /// The sizes of the entries, added up: containerd's size of a diff.
    pub bytes: u64,
    /// Bytes of the uncompressed archive, its end and what follows it included.
    pub archive_bytes: u64,
    /// Files, links, directories and nodes that were made, whiteouts among them.
    pub inodes: u64,
    /// What is left for [`crate::rebase`]; empty if the target named the layers below.
    pub implied: Implied,
    /// Entries that were left out: sockets, devices of a user namespace, aufs's own files.
    pub skipped: u64,
    /// Attributes that were left out: foreign, or not possible on this file system.
    pub skipped_xattrs: u64,
    /// Character devices 0:0 in the archive. On overlayfs they hide what is below, as a whiteout does.
    pub disguised_whiteouts: u64,
}

/// Applies the uncompressed archive that `source` gives to `target`, and reads `source` to its end.
///
/// # Errors
/// InvalidArgument for a malformed archive, ResourceExhausted for a limit or a full disk; the kinds of the reader's
/// error. What was written until then stays.
///
/// # Privilege
/// Owners, devices and `trusted.overlay.opaque` need root (or `CAP_SYS_ADMIN` for the last).
pub fn apply(source: &mut dyn Read, target: &Target<'_>, options: &ApplyOptions) -> Result<Applied, Error> {
    let mut archive = Archive::new(source, &options.limits);
    let mut applier = Applier::new(target, options)?;
    while let Some(entry) = archive.next_entry()? {
        applier.apply(&entry, &mut archive)?;
    }
    archive.drain()?;
    let mut applied = applier.finish()?;
    applied.archive_bytes = archive.offset();
    if !target.lower.is_empty() {
        rebase(target.root, target.lower, &applied.implied)?;
        applied.implied = Implied::default();
    }
    if options.sync {
        let failed = |errno| Error::system("syncfs", b".", errno);
        rustix::fs::syncfs(attributes::reopen_dir(target.root).map_err(failed)?).map_err(failed)?;
    }
    Ok(applied)
}
