//! Making of layers.

use std::io::Write;
use std::os::fd::BorrowedFd;

use crate::Error;

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
    let _ = (lower, upper, out, options);
    Ok(DiffSummary::default())
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
    let _ = (lower, upper, out, options);
    Ok(DiffSummary::default())
}
