//! Field paths of updates: `labels`, `labels.<key>` and what else a record has.

use std::collections::BTreeMap;

use crate::Error;

/// Applies `path` to `current` if it is `<name>` or `<name>.<key>`, where everything after the first dot is the key.
/// Says whether it was.
pub(crate) fn apply<V: Clone>(
    path: &str,
    name: &str,
    current: &mut BTreeMap<String, V>,
    given: &BTreeMap<String, V>,
) -> bool {
    let Some(rest) = path.strip_prefix(name) else { return false };
    if rest.is_empty() {
        current.clone_from(given);
        return true;
    }
    let Some(key) = rest.strip_prefix('.') else { return false };
    match given.get(key) {
        Some(value) => drop(current.insert(key.to_owned(), value.clone())),
        None => drop(current.remove(key)),
    }
    true
}

pub(crate) fn unknown(path: &str, what: &str, name: &str) -> Error {
    Error::invalid("update_mask", format_args!("cannot update {path:?} field on {what} {name:?}"))
}

/// Applies all of `paths`, or everything if there are none, to a record that can change nothing but its labels.
pub(crate) fn labels_only(
    paths: &[String],
    what: &str,
    name: &str,
    current: &mut BTreeMap<String, String>,
    given: &BTreeMap<String, String>,
) -> Result<(), Error> {
    if paths.is_empty() {
        current.clone_from(given);
    }
    for path in paths {
        if !apply(path, "labels", current, given) {
            return Err(unknown(path, what, name));
        }
    }
    Ok(())
}
