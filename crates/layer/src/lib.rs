//! Applies and makes tar layers.
//!
//! [`apply`] puts the files of one uncompressed layer into a directory, either as overlayfs wants a layer to look or in place
//! over the tree that is there; [`rebase`] gives the directories that an archive only implied the attributes of the layers
//! below, so that the layers of an image can be applied at the same time. [`diff`] and [`diff_overlay`] make layers.
//! For the files of containers, [`pack`] makes an archive of a tree as it is, [`changes`] and [`changes_overlay`] list what is
//! different, and [`copy_tree`] copies.
//! [`Inflate`] and [`Compressor`] stand before and behind them. `snapshot` and `primitives` call it, on threads of their own:
//! everything here blocks.
//!
//! Archives are adversaries. Nothing is ever resolved by a path string: each component of a name is opened below the
//! descriptor of its parent, without following links; a link in the way is followed in this process, inside the root. So
//! neither a name, nor a link in the archive, nor somebody who swaps directories meanwhile leads out of the root.
//!
//! It never opens a socket, never verifies a digest (the caller wraps the reader), never reads a path of the host but
//! `/proc/self/fd`, never logs, and never makes a `trusted.*` or an overlay attribute that an archive asks for. To cancel,
//! let the reader fail.
//!
//! Layers: image-spec v1.1.1 `layer.md`; tar: POSIX.1-2024 pax, GNU tar 1.35's manual.
#![forbid(unsafe_code)]

mod apply;
mod archive;
mod attributes;
mod changes;
mod compress;
mod copy;
mod copy_tree;
mod diff;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod inflate;
mod limits;
mod lowers;
mod pack;
mod rebase;
mod remove;

pub use apply::{
    Applied, ApplyOptions, DeferredLink, Devices, IdMap, IdRange, Implied, Replace, RootEntry, Target,
    Whiteouts, Xattrs, apply,
};
pub use archive::{Archive, Entry, EntryKind, Part, Time};
pub use changes::{Change, ChangeKind, changes, changes_overlay};
pub use compress::{Compressor, Level};
pub use copy_tree::copy_tree;
pub use diff::{DiffOptions, DiffSummary, diff, diff_overlay};
pub use error::Error;
pub use inflate::{Compression, Formats, Inflate, InflateError, InflateLimits, Inflater, Progress};
pub use limits::Limits;
pub use pack::{PackOptions, TopEntry, is_kernel_interface, pack};
pub use rebase::rebase;
