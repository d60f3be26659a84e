//! Making of layers: entries in order of names, the same bytes for the same trees.
//!
//! Times are whole seconds, whiteouts are of 1970, directories have an entry only if their attributes changed or something in
//! them did: all as containerd does it. Sockets are left out. Of extended attributes, those travel that say something of the
//! file: `user.*`, `security.capability` and ACLs.

pub(crate) mod compare;
pub(crate) mod node;
mod walk;
pub(crate) mod writer;

use std::io::Write;
use std::os::fd::BorrowedFd;

use walk::Walk;

use crate::Error;
use crate::lowers::Format;

/// How a layer is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiffOptions {
    /// No file of the layer is younger than this, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub source_date_epoch: Option<i64>,
    /// The overlay's attributes are `user.overlay.*`: for upper directories of mounts with `userxattr`.
    pub userxattr: bool,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiffSummary {
    /// Entries, whiteouts among them.
    pub entries: u64,
    /// Whiteouts and opaque markers.
    pub whiteouts: u64,
    /// Bytes of the archive.
    pub bytes: u64,
}

/// Writes the layer that makes `upper` of `lower`, two trees as they are seen, uncompressed.
///
/// # Errors
/// The writer's, and what the kernel refuses.
pub fn diff(
    lower: Option<BorrowedFd<'_>>,
    upper: BorrowedFd<'_>,
    out: &mut dyn Write,
    options: &DiffOptions,
) -> Result<DiffSummary, Error> {
    let lower: Vec<_> = lower.into_iter().collect();
    Walk::new(upper, &lower, Format::Plain, out, options)?.run()
}

/// Writes the layer that the upper directory of an overlay is over its `lower` ones, nearest first, uncompressed. It reads
/// the upper directory alone, and of the others what is needed to tell a change from a copy.
///
/// # Errors
/// FailedPrecondition for an upper directory with `redirect_dir` or `metacopy`; else as [`diff`].
pub fn diff_overlay(
    upper: BorrowedFd<'_>,
    lower: &[BorrowedFd<'_>],
    out: &mut dyn Write,
    options: &DiffOptions,
) -> Result<DiffSummary, Error> {
    let format = Format::Overlay { userxattr: options.userxattr };
    Walk::new(upper, lower, format, out, options)?.run()
}
