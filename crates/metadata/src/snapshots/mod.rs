//! Snapshots: names of a namespace and driver, over directories that all share by number.
//!
//! ```text
//!   prepare ──► active ──commit──► committed ──prepare, view──► …
//!   view ─────► view                   ▲
//!                     share ───────────┘  (a chain snapshot that is there for another namespace)
//! ```
//!
//! What is done to the directories is the caller's: a record says what they are.

mod chain;
mod commit;
mod prepare;
mod read;
mod remove;
mod update;

use gantry_types::{ChainId, Labels};

use crate::time::Timestamp;

pub(crate) use chain::NUMBER;
pub use chain::{
    Forgotten, extraction_key, find_chain, forget_unsynced, mark_synced, raise_number, reserve_number, share,
    unsynced,
};
pub use commit::{Commit, Committed, commit};
pub use prepare::{Creation, prepare, view};
pub use read::{driver_numbers, each, get, list};
pub use remove::remove;
pub(crate) use remove::remove_row;
pub use update::{set_usage, update};

/// What a snapshot is. The numbers are those of containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// To look at.
    View = 1,
    /// To write to.
    Active = 2,
    /// Done, and possibly a parent.
    Committed = 3,
}

impl Kind {
    pub(crate) fn is_code(code: i64) -> bool {
        Self::from_code(code).is_some()
    }

    fn from_code(code: i64) -> Option<Self> {
        [Self::View, Self::Active, Self::Committed].into_iter().find(|kind| *kind as i64 == code)
    }
}

/// What a snapshot takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes.
    pub size: u64,
    /// Files.
    pub inodes: u64,
}

/// A snapshot under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The name.
    pub name: String,
    /// The name of the parent.
    pub parent: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// The labels of the name.
    pub labels: Labels,
    /// When the name was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
    /// The number of its directory.
    pub number: u64,
    /// The number of the parent's directory.
    pub parent_number: Option<u64>,
    /// Its chain id, if its layers were unpacked here from verified content.
    pub chain: Option<ChainId>,
    /// What it took when it was committed.
    pub usage: Usage,
}
