//! What an application remembers of what it made.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use rustix::fs::Timestamps;

use crate::{Error, Limits};

/// What a name costs beyond its bytes, in a map.
const NAME_OVERHEAD: usize = 96;

/// A directory of this layer.
pub(super) struct DirRecord {
    /// Its times, which its children would change; `None` if no entry gave any.
    pub(super) times: Option<Timestamps>,
    /// It was made because something is in it.
    pub(super) implied: bool,
}

/// The names that this layer wrote, by a keyed hash of 64 bits: an archive cannot make two of them meet.
struct Written {
    keys: RandomState,
    names: HashSet<u64>,
}

pub(super) struct Record {
    pub(super) dirs: BTreeMap<Vec<u8>, DirRecord>,
    written: Option<Written>,
    names_bytes: usize,
    made: u64,
    limits: Limits,
}

impl Record {
    /// With `over_a_tree`, what this layer wrote is told from what was there.
    pub(super) fn new(limits: &Limits, over_a_tree: bool) -> Self {
        let written = over_a_tree.then(|| Written { keys: RandomState::new(), names: HashSet::new() });
        Self { dirs: BTreeMap::new(), written, names_bytes: 0, made: 0, limits: *limits }
    }

    /// One more entry of the archive, or directory that one implies.
    pub(super) fn count(&mut self) -> Result<(), Error> {
        self.made += 1;
        let limit = self.limits.entries;
        if self.made > limit { Err(Error::Limit { what: "entries", limit }) } else { Ok(()) }
    }

    /// Memory for a name that is kept.
    pub(super) fn keep(&mut self, bytes: usize) -> Result<(), Error> {
        self.names_bytes += bytes + NAME_OVERHEAD;
        let limit = self.limits.names_bytes;
        if self.names_bytes > limit {
            return Err(Error::Limit { what: "bytes of directories' names", limit: limit as u64 });
        }
        Ok(())
    }

    /// A directory that no entry gave was made.
    pub(super) fn implied(&mut self, path: &[u8]) -> Result<(), Error> {
        self.count()?;
        self.dir(path, DirRecord { times: None, implied: true })
    }

    /// An entry gave a directory.
    pub(super) fn given(&mut self, path: &[u8], times: Timestamps) -> Result<(), Error> {
        self.dir(path, DirRecord { times: Some(times), implied: false })
    }

    fn dir(&mut self, path: &[u8], record: DirRecord) -> Result<(), Error> {
        if let Some(known) = self.dirs.get_mut(path) {
            *known = record;
            return Ok(());
        }
        self.keep(path.len())?;
        self.dirs.insert(path.to_vec(), record);
        Ok(())
    }

    /// A directory and what was in it are gone.
    pub(super) fn gone(&mut self, path: &[u8]) {
        if self.dirs.remove(path).is_none() && self.written.is_none() {
            return;
        }
        let below = [path, b"/"].concat();
        let names = self.dirs.range(below.clone()..).take_while(|(name, _)| name.starts_with(&below));
        for name in names.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.dirs.remove(&name);
        }
    }

    /// This layer wrote what has this name.
    pub(super) fn wrote(&mut self, path: &[u8]) {
        if let Some(written) = &mut self.written {
            written.names.insert(written.keys.hash_one(path));
        }
    }

    /// Whether this layer wrote what has this name. Where nothing was before, it wrote everything.
    pub(super) fn has_written(&self, path: &[u8]) -> bool {
        self.written.as_ref().is_none_or(|written| written.names.contains(&written.keys.hash_one(path)))
    }

    /// Whether there was something before.
    pub(super) fn is_over_a_tree(&self) -> bool {
        self.written.is_some()
    }
}
