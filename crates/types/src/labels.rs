//! Labels, and the names of those that mean something to the store.

use std::collections::BTreeMap;

/// Labels of anything.
pub type Labels = BTreeMap<String, String>;

/// The longest key and value together, in bytes (containerd's limit).
pub const MAX_LABEL_BYTES: usize = 4096;
/// The most labels of one thing.
pub const MAX_LABELS: usize = 4096;

/// Keeps whatever carries it.
pub const GC_ROOT: &str = "containerd.io/gc.root";
/// The time, RFC 3339, until which it keeps whatever carries it, or a lease lasts.
pub const GC_EXPIRE: &str = "containerd.io/gc.expire";
/// A lease with it keeps its resources, and not what these refer to.
pub const GC_FLAT: &str = "containerd.io/gc.flat";
/// Keeps the content it names; a `.` and anything may follow.
pub const GC_REF_CONTENT: &str = "containerd.io/gc.ref.content";
/// Keeps the snapshot it names; `.` and the snapshotter's name follow.
pub const GC_REF_SNAPSHOT: &str = "containerd.io/gc.ref.snapshot";
/// Keeps the image it names.
pub const GC_REF_IMAGE: &str = "containerd.io/gc.ref.image";
/// Is kept by whatever it names: `.container`, `.content`, `.image` or `.snapshot.<snapshotter>` follow.
pub const GC_BACK_REF: &str = "containerd.io/gc.bref";
/// The digest of a compressed layer's uncompressed tar.
pub const UNCOMPRESSED: &str = "containerd.io/uncompressed";
/// Which repositories of a registry have this content; `.` and the registry's host follow.
pub const DISTRIBUTION_SOURCE: &str = "containerd.io/distribution.source";
/// The chain id that a snapshot is to become.
pub const SNAPSHOT_REF: &str = "containerd.io/snapshot.ref";
/// Joins the namespace to the shared image names.
pub const SHAREABLE: &str = "containerd.io/namespace.shareable";
/// A namespace's snapshotter where none is asked for.
pub const DEFAULT_SNAPSHOTTER: &str = "containerd.io/defaults/snapshotter";

/// Why labels are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLabels {
    /// Key and value are longer than [`MAX_LABEL_BYTES`].
    #[error(
        "label key and value length ({length} bytes) greater than maximum size ({MAX_LABEL_BYTES} bytes), key: {key}"
    )]
    TooLong {
        /// The key's beginning.
        key: String,
        /// Of both together.
        length: usize,
    },
    /// More than [`MAX_LABELS`].
    #[error("{0} labels are more than {MAX_LABELS}")]
    TooMany(usize),
}

/// Checks the limits of one label.
///
/// # Errors
/// [`InvalidLabels::TooLong`].
pub fn validate_one(key: &str, value: &str) -> Result<(), InvalidLabels> {
    let length = key.len() + value.len();
    if length > MAX_LABEL_BYTES {
        return Err(InvalidLabels::TooLong { key: key.chars().take(10).collect(), length });
    }
    Ok(())
}

/// Checks the limits of all labels of one thing.
///
/// # Errors
/// [`InvalidLabels`], for the first that breaks one.
pub fn validate(labels: &Labels) -> Result<(), InvalidLabels> {
    if labels.len() > MAX_LABELS {
        return Err(InvalidLabels::TooMany(labels.len()));
    }
    labels.iter().try_for_each(|(key, value)| validate_one(key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_value_count_together() {
        let value = "v".repeat(MAX_LABEL_BYTES - 3);
        assert!(validate_one("key", &value).is_ok());
        assert!(validate_one("key4", &value).is_err());
    }
}
