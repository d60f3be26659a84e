//! Entry points of the fuzz targets in `fuzz/`. Each panics where a promise is broken.

use crate::ingest::StatusRecord;

/// The status file of an ingest, as a power cut or a person may have left it. What can be read is written and read again.
pub fn status(bytes: &[u8]) {
    if let Some(record) = StatusRecord::parse(bytes) {
        let written = serde_json::to_vec(&record).expect("what was read can be written");
        assert_eq!(StatusRecord::parse(&written), Some(record));
    }
}
