//! Files that flags name, read as what they are: somebody else's.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::failure::{Failure, Reason};

/// Reads a file of at most `limit` bytes. It may be a pipe, as in `--process <(…)`.
pub(crate) fn open_limited(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let file = File::open(path).map_err(|error| Failure::of_path("open", path, &error))?;
    read_limited(&path.display().to_string(), file, limit)
}

/// Reads to the end, which must come within `limit` bytes.
pub(crate) fn read_limited(name: &str, from: impl Read, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let read = from.take(limit + 1).read_to_end(&mut text);
    read.map_err(|error| Failure::new(format!("read {name}: {}", Reason(&error))))?;
    if text.len() as u64 > limit {
        return Err(Failure::new(format!("{name} is larger than {limit} bytes")));
    }
    Ok(text)
}

/// Reads a JSON object. An array is refused, which serde would take for the object's fields in their order.
pub(crate) fn parse_object<T: DeserializeOwned>(name: &str, text: &[u8]) -> Result<T, Failure> {
    gantry_types::oci::from_json(text).map_err(|error| Failure::new(format!("{name}: {error}")))
}
