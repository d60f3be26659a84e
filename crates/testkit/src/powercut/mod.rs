//! A disk whose power can be cut: a FUSE file system in memory that knows what was synced.
//!
//! ```no_run
//! use gantry_testkit::powercut::{Disk, Keep, Names, isolated};
//!
//! gantry_testkit::powercut_host!(); // in the root of the test program
//!
//! isolated(|| {
//!     let mut disk = Disk::new(Names::Journal);
//!     std::fs::write(disk.path().join("lost"), "bytes").unwrap();
//!     disk.cut(Keep::Synced);
//!     assert!(!disk.path().join("lost").exists());
//! });
//! ```
//!
//! It keeps two states. Programs see the live one. A cut ends the mount under them (every descriptor gives an error from then
//! on) and mounts what the disk would hold: bytes of a file as of its last fsync(2) or fdatasync(2), names as
//! [`Names`] says, and of the rest as much as [`Keep`] says.
//!
//! - A rename is one step, also between two directories, as with every file system that has a journal.
//! - Nothing is synced behind the caller's back: a rename over a file flushes no bytes (ext4 with `noauto_da_alloc`), no
//!   time passes, no memory is short.
//! - Mode, owner, times and extended attributes of a file are those of its last sync; of a file that was never
//!   synced, those that it had at the cut.
//! - syncfs(2) and sync(2) do not reach a FUSE file system: whoever relies on them fails here.
//!
//! A shared mapping works as on a disk, so SQLite's `-shm` does. All bytes are in memory, and are freed at a cut or with the disk.
//!
//! Used by the tests of whatever promises to survive a power cut. It needs root and `/dev/fuse`.

mod bytes;
mod fuse;
mod host;
mod mount;
#[cfg(test)]
mod tests;
mod tree;

use serde::{Deserialize, Serialize};

pub use host::serve;
pub use mount::{Disk, Image, isolated};

/// Which names a sync makes durable besides the bytes that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Names {
    /// All there are: what ext4, XFS and btrfs do, in whose journal everything before goes along.
    Journal,
    /// Those in a directory when that is synced, and a rename out of it or into it as a whole: all that fsync(2) promises.
    Directory,
}

/// What of the unsynced is on the disk after a cut. Nothing of it is certain in the world, so tests try all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// Nothing.
    Synced,
    /// All names and sizes, but no byte: the journal was written, the files were not. What was not synced reads as zeros, or as
    /// what was synced before.
    Names,
    /// Some: the changes of names up to one of them, and some pages of each file.
    Some {
        /// Which ones.
        seed: u64,
    },
    /// Everything, as after a `kill -9`.
    All,
}
