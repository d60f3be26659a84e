use super::{IdMap, IdRange};
use crate::Error;

/// Who owns what has no owner in a user namespace: /proc/sys/kernel/overflowuid and overflowgid.
const NOBODY: u32 = 65_534;

fn mapped(id: u32, ranges: &[IdRange]) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = id.checked_sub(range.archive).filter(|&offset| offset < range.count)?;
        range.disk.checked_add(offset)
    })
}

fn unmapped(id: u32, ranges: &[IdRange]) -> u32 {
    let found = ranges.iter().find_map(|range| {
        let offset = id.checked_sub(range.disk).filter(|&offset| offset < range.count)?;
        range.archive.checked_add(offset)
    });
    found.unwrap_or(NOBODY)
}

impl IdMap {
    /// The owner in an archive of a file that `uid` and `gid` own on disk: nobody, where no range has them.
    pub(crate) fn archived(&self, uid: u32, gid: u32) -> (u32, u32) {
        (unmapped(uid, &self.uids), unmapped(gid, &self.gids))
    }

    /// The owner on disk of a file that the archive gives to `uid` and `gid`.
    pub(super) fn owner(&self, uid: u32, gid: u32, path: &[u8]) -> Result<(u32, u32), Error> {
        let pair = mapped(uid, &self.uids).zip(mapped(gid, &self.gids));
        pair.ok_or_else(|| Error::invalid(path, "its owner is outside the user namespace's ids"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_go_both_ways() {
        let range = |archive, disk, count| IdRange { archive, disk, count };
        let map = IdMap { uids: vec![range(0, 1000, 10), range(10, 5000, 5)], gids: vec![range(0, 7, 1)] };
        assert_eq!(map.owner(12, 0, b"f").unwrap(), (5002, 7));
        assert_eq!(map.archived(5002, 7), (12, 0));
        assert!(map.owner(15, 0, b"f").is_err() && map.owner(0, 1, b"f").is_err());
        assert_eq!(map.archived(0, 8), (NOBODY, NOBODY));
    }
}
