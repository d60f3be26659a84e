//! Entry points of the fuzz targets in `fuzz/`. Each panics where a promise is broken.

use gantry_types::Labels;

use crate::labels::Meaning;
use crate::{Resource, time};

/// Labels, one a line as `key=value`; what they mean to the collector.
pub fn labels(text: &str) {
    let labels: Labels =
        text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
    let meaning = Meaning::of(&labels);
    for edge in &meaning.edges {
        // An edge names something that a label says, and one of a snapshot alone has a driver.
        assert!(labels.values().any(|value| value.ends_with(edge.key)));
        assert!(edge.driver.is_empty() || edge.kind == crate::node::Kind::Snapshot);
    }
    for value in labels.values() {
        let _ = (time::parse_rfc3339(value), time::parse_duration(value));
    }
    for (kind, id) in &labels {
        if let Ok(resource) = Resource::parse(kind, id) {
            assert_eq!((resource.kind().as_str(), resource.id()), (kind.as_str(), id.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Pieces of labels that mean something, and some that break them.
    fn piece() -> impl Strategy<Value = String> {
        let known = [
            "containerd.io/gc.",
            "root",
            "expire",
            "ref.content",
            "ref.image",
            "ref.snapshot.",
            "bref.content",
            "cond.snapshot",
            "cond.value-usedat",
            "usedat<",
            "usedat>",
            "1h",
            "2026-01-02T03:04:05Z",
            "|",
            ",",
            "=",
            ".",
            "/",
            "\n",
            "snapshots/",
            "content",
        ];
        prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,5}"]
    }

    proptest! {
        #[test]
        fn labels_of_any_kind_are_read(pieces in prop::collection::vec(piece(), 0..20)) {
            super::labels(&pieces.concat());
        }
    }
}
