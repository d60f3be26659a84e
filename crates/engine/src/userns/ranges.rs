//! Who has which automatic range: no two containers have an id in common.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::UsernsSettings;
use super::ids::{IdMaps, Span};
use super::subordinate::{Subordinate, subtract};
use crate::{Error, Result};

/// Where the files are.
const ETC: &str = "/etc";

/// The ranges in use, by the ids of their containers.
#[derive(Debug)]
pub(crate) struct Ranges {
    /// The ids of `userns-remap`.
    remap: Option<IdMaps>,
    auto_user: String,
    taken: Mutex<BTreeMap<String, IdMaps>>,
}

impl Ranges {
    /// Finds out what `userns-remap` means. Blocks.
    ///
    /// # Errors
    /// Invalid if it means nothing.
    pub(crate) fn open(settings: &UsernsSettings) -> Result<Self> {
        let remap = match &settings.remap {
            Some(asked) => Subordinate::read(Path::new(ETC))?.remap(asked)?,
            None => None,
        };
        if let (Some(asked), None) = (&settings.remap, &remap) {
            tracing::warn!(asked, "root is mapped to itself: containers are in the host's user namespace");
        }
        Ok(Self { remap, auto_user: settings.auto_user.clone(), taken: Mutex::default() })
    }

    /// The ids of `userns-remap`.
    pub(super) fn remap(&self) -> Option<&IdMaps> {
        self.remap.as_ref()
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<String, IdMaps>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a range of so many ids for a container. Blocks.
    ///
    /// # Errors
    /// Conflict if there is none; Invalid for files that contradict each other.
    pub(super) fn take(&self, id: &str, size: u32) -> Result<IdMaps> {
        self.take_of(&Subordinate::read(Path::new(ETC))?, id, size)
    }

    fn take_of(&self, files: &Subordinate, id: &str, size: u32) -> Result<IdMaps> {
        let (uids, gids) = files.auto(&self.auto_user)?;
        let mut taken = self.taken();
        let users = taken.values().chain(&self.remap).flat_map(|maps| &maps.uids).map(Span::from);
        let groups = taken.values().chain(&self.remap).flat_map(|maps| &maps.gids).map(Span::from);
        let (users, groups): (Vec<_>, Vec<_>) = (users.collect(), groups.collect());
        let first = |all: &[Span], taken: &[Span]| {
            let free = subtract(all, taken).into_iter().find(|span| span.count >= size)?;
            Some([Span { count: size, ..free }])
        };
        let (Some(uids), Some(gids)) = (first(&uids, &users), first(&gids, &groups)) else {
            let user = &self.auto_user;
            return Err(Error::Conflict(format!(
                "no range of {size} ids is free for a user namespace, {} are in use: remove containers, or give the user \
                 {user} more in /etc/subuid and /etc/subgid",
                taken.len()
            )));
        };
        let maps = IdMaps::of(&uids, &gids);
        taken.insert(id.to_owned(), maps.clone());
        Ok(maps)
    }

    /// Notes whose range one is, as a record says it.
    pub(super) fn adopt(&self, id: &str, maps: &IdMaps) {
        self.taken().insert(id.to_owned(), maps.clone());
    }

    /// Lets a container's range go; one without is no error.
    pub(crate) fn free(&self, id: &str) {
        self.taken().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::subordinate::FREE_AUTO as FREE;
    use super::*;

    fn ranges(remap: Option<IdMaps>) -> Ranges {
        Ranges { remap, auto_user: "containers".into(), taken: Mutex::default() }
    }

    fn root(maps: &IdMaps) -> u32 {
        maps.root().unwrap().0
    }

    #[test]
    fn no_two_ranges_overlap_and_freed_ones_come_back() {
        let (ranges, files) = (ranges(None), Subordinate::default());
        let sizes = [65_536, 1000, 65_536, 1, 70_000];
        let all: Vec<IdMaps> = (0..)
            .zip(sizes)
            .map(|(n, size)| ranges.take_of(&files, &format!("c{n}"), size))
            .collect::<Result<_>>()
            .unwrap();
        let mut spans: Vec<(u64, u64)> = ranges
            .taken()
            .values()
            .map(|maps| {
                let span = Span::from(&maps.uids[0]);
                (u64::from(span.first), span.end())
            })
            .collect();
        spans.sort_unstable();
        assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{spans:?}");
        assert_eq!(root(&all[0]), FREE.first);
        ranges.free("c1");
        assert_eq!(root(&ranges.take_of(&files, "again", 500).unwrap()), root(&all[1]));
    }

    #[test]
    fn the_ids_of_remapping_are_nobodys() {
        let first = [Span { first: FREE.first, count: 65_536 }];
        let ranges = ranges(Some(IdMaps::of(&first, &first)));
        let maps = ranges.take_of(&Subordinate::default(), "a", 10).unwrap();
        assert_eq!(root(&maps), FREE.first + 65_536);
    }

    #[test]
    fn all_ranges_can_be_in_use() {
        let (ranges, files) = (ranges(None), Subordinate::default());
        let half = FREE.count / 2 + 1;
        ranges.take_of(&files, "a", half).unwrap();
        let error = ranges.take_of(&files, "b", half).unwrap_err();
        assert!(matches!(&error, Error::Conflict(text) if text.contains("/etc/subuid")), "{error}");
        ranges.free("a");
        ranges.take_of(&files, "b", half).unwrap();
    }

    #[test]
    fn ranges_of_records_are_known_again() {
        let (before, after, files) = (ranges(None), ranges(None), Subordinate::default());
        let kept = before.take_of(&files, "old", 100).unwrap();
        after.adopt("old", &kept);
        assert_eq!(root(&after.take_of(&files, "new", 100).unwrap()), FREE.first + 100);
    }

    #[test]
    fn many_at_once_have_nothing_in_common() {
        let (ranges, files) = (ranges(None), Subordinate::default());
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (ranges, files) = (&ranges, &files);
                scope.spawn(move || {
                    (0..50).for_each(|n| {
                        ranges.take_of(files, &format!("{thread}-{n}"), 1000).unwrap();
                    })
                });
            }
        });
        let taken = ranges.taken();
        let firsts: std::collections::BTreeSet<u32> = taken.values().map(root).collect();
        assert_eq!(firsts.len(), 400);
        assert!(firsts.iter().all(|first| (first - FREE.first).is_multiple_of(1000)));
    }
}
