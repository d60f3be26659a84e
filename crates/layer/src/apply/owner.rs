use super::{IdMap, IdRange};
use crate::Error;

fn mapped(id: u32, ranges: &[IdRange]) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = id.checked_sub(range.archive).filter(|&offset| offset < range.count)?;
        range.disk.checked_add(offset)
    })
}

impl IdMap {
    /// The owner on disk of a file that the archive gives to `uid` and `gid`.
    pub(super) fn owner(&self, uid: u32, gid: u32, path: &[u8]) -> Result<(u32, u32), Error> {
        let pair = mapped(uid, &self.uids).zip(mapped(gid, &self.gids));
        pair.ok_or_else(|| Error::invalid(path, "its owner is outside the user namespace's ids"))
    }
}
