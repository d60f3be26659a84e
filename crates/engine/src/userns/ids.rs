//! The ids of a user namespace.

use gantry_types::oci::IdMapping;
use serde::{Deserialize, Serialize};

/// Which ids of the host those of a user namespace are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IdMaps {
    /// Users.
    pub uids: Vec<IdMapping>,
    /// Groups.
    pub gids: Vec<IdMapping>,
}

/// Where the ids of a container come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The daemon's `userns-remap`: others have the same.
    Remap,
    /// They are its own.
    Auto,
    /// Another container's, whose namespaces it shares.
    Joined,
}

/// The user namespace of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Userns {
    /// Where its ids come from.
    pub origin: Origin,
    /// Its ids.
    pub maps: IdMaps,
}

/// A part of all ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Span {
    /// The first id behind it.
    pub(super) fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.count)
    }
}

impl From<&IdMapping> for Span {
    fn from(range: &IdMapping) -> Self {
        Self { first: range.host_id, count: range.size }
    }
}

impl IdMaps {
    /// Ids from 0 on, put together of what there is, in its order.
    pub(super) fn of(uids: &[Span], gids: &[Span]) -> Self {
        Self { uids: put_together(uids), gids: put_together(gids) }
    }

    /// How many ids from 0 on there are without a gap: users, and groups.
    pub(super) fn sizes(&self) -> (u32, u32) {
        let size = |ranges: &[IdMapping]| {
            let mut next = 0;
            for range in ranges {
                if range.container_id > next {
                    break;
                }
                next = range.container_id.saturating_add(range.size);
            }
            next
        };
        (size(&self.uids), size(&self.gids))
    }

    /// The user and the group of the host that its root is.
    pub(crate) fn root(&self) -> Option<(u32, u32)> {
        host(&self.uids, 0).zip(host(&self.gids, 0))
    }

    /// Whether it has a user.
    pub(super) fn has_user(&self, uid: u32) -> bool {
        host(&self.uids, uid).is_some()
    }

    /// Whether it has a group.
    pub(super) fn has_group(&self, gid: u32) -> bool {
        host(&self.gids, gid).is_some()
    }

    /// As the options of mounts and as /proc/PID/uid_map of other engines have it: `container:host:size`.
    pub(super) fn option(ranges: &[IdMapping]) -> String {
        let range = |range: &IdMapping| format!("{}:{}:{}", range.container_id, range.host_id, range.size);
        ranges.iter().map(range).collect::<Vec<_>>().join(",")
    }
}

fn put_together(spans: &[Span]) -> Vec<IdMapping> {
    let mut next = 0u32;
    let mut made = Vec::with_capacity(spans.len());
    for span in spans {
        // The last id is no id.
        let size = span.count.min(u32::MAX - 1 - next).min(u32::MAX - 1 - span.first.min(u32::MAX - 1));
        if size > 0 {
            made.push(IdMapping { container_id: next, host_id: span.first, size });
            next += size;
        }
    }
    made
}

fn host(ranges: &[IdMapping], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = id.checked_sub(range.container_id).filter(|offset| *offset < range.size)?;
        range.host_id.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: u32, count: u32) -> Span {
        Span { first, count }
    }

    #[test]
    fn ranges_are_put_together() {
        let maps = IdMaps::of(&[span(100_000, 10), span(500_000, 5)], &[span(7, 3)]);
        assert_eq!(IdMaps::option(&maps.uids), "0:100000:10,10:500000:5");
        assert_eq!(maps.sizes(), (15, 3));
        assert_eq!(maps.root(), Some((100_000, 7)));
        assert!(maps.has_user(14) && !maps.has_user(15) && maps.has_group(2) && !maps.has_group(3));
    }

    #[test]
    fn the_last_id_is_nobodys() {
        let maps =
            IdMaps::of(&[span(u32::MAX - 3, 100), span(u32::MAX, 1)], &[span(0, u32::MAX), span(5, 5)]);
        assert_eq!(IdMaps::option(&maps.uids), format!("0:{}:2", u32::MAX - 3));
        assert_eq!(IdMaps::option(&maps.gids), format!("0:0:{}", u32::MAX - 1));
        assert_eq!(IdMaps::of(&[], &[]).root(), None);
    }
}
