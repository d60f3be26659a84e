use std::time::Duration;

/// The largest blob that is taken, in bytes: 1 TiB. A registry that never ends its answer meets it.
pub const DEFAULT_MAX_BLOB_BYTES: u64 = 1 << 40;

/// How many ingests may be written to at once. Each holds a descriptor.
pub const DEFAULT_MAX_INGESTS: usize = 1024;

/// The longest key of an ingest, in bytes.
pub const DEFAULT_MAX_KEY_BYTES: usize = 4096;

/// How long an ingest that nobody writes to is kept, as with containerd.
pub const DEFAULT_IDLE_INGEST_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The limits of a store, and where it is.
#[derive(Debug, Clone)]
pub struct Options {
    /// The largest blob, in bytes.
    pub max_blob_bytes: u64,
    /// How many ingests may be open at once.
    pub max_ingests: usize,
    /// The longest key of an ingest, in bytes; more than 8 KiB counts as that.
    pub max_key_bytes: usize,
    /// How long an ingest that nobody writes to is kept.
    pub idle_ingest_age: Duration,
    /// The boot that bytes are written under; the kernel's `random/boot_id` if none is given. Bytes of an ingest that
    /// another boot wrote may have been lost in a power cut.
    pub boot: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_blob_bytes: DEFAULT_MAX_BLOB_BYTES,
            max_ingests: DEFAULT_MAX_INGESTS,
            max_key_bytes: DEFAULT_MAX_KEY_BYTES,
            idle_ingest_age: DEFAULT_IDLE_INGEST_AGE,
            boot: None,
        }
    }
}
