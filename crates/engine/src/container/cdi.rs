//! Devices by their CDI names: the host's specifications, read when a container with such a device starts.

use std::path::{Path, PathBuf};

use gantry_spec::cdi::{Edits, File, Registry};

use super::specification::node;
use crate::{Engine, Error, Result};

/// The largest specification that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// The edits of devices. Blocks.
///
/// # Errors
/// Those of the specifications; an unknown device.
pub(crate) fn edits(engine: &Engine, names: &[String]) -> Result<Edits> {
    if names.is_empty() {
        return Ok(Edits::default());
    }
    let mut read: Vec<(String, usize, Vec<u8>)> = Vec::new();
    // Later directories come before earlier ones.
    for (priority, directory) in engine.shared.settings.cdi_directories.iter().enumerate() {
        for path in files(directory) {
            let size = path.metadata().map_or(0, |metadata| metadata.len());
            if size > MAX_BYTES {
                tracing::warn!(path = %path.display(), size, "a CDI specification is too large and is passed over");
                continue;
            }
            let bytes = std::fs::read(&path).map_err(Error::io("reading", &path))?;
            read.push((path.display().to_string(), priority, bytes));
        }
    }
    let files: Vec<File<'_>> =
        read.iter().map(|(path, priority, bytes)| File { path, priority: *priority, bytes }).collect();
    let registry = Registry::load(&files);
    for problem in registry.problems() {
        tracing::warn!(path = %problem.path, error = %problem.error, "a CDI specification is passed over");
    }
    let edits = registry.edits(names, |path| node(Path::new(path), path));
    edits.map_err(|error| Error::Invalid(gantry_primitives::chain(&error)))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let is_one = |path: &PathBuf| {
        path.is_file() && path.extension().is_some_and(|ext| EXTENSIONS.iter().any(|known| ext == *known))
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_one).collect();
    found.sort();
    found
}
