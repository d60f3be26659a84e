//! Entry points of the fuzz targets in `fuzz/`. Each panics where a promise is broken.

use gantry_types::Labels;

use crate::{IdMapping, labels};

/// The labels of a mapping of ids, both the same. Whoever root is mapped to is somebody.
pub fn mapping(text: &str) {
    let labels = [labels::UID_MAPPING, labels::GID_MAPPING].map(|label| (label.to_owned(), text.to_owned()));
    if let Ok(Some(mapping)) = IdMapping::of(&Labels::from(labels))
        && let Ok((uid, gid)) = mapping.root()
    {
        assert!(uid == gid && uid != u32::MAX);
    }
}
