//! Names of images as people write them.

use anyhow::{Context, Result};
use gantry_types::Reference;

/// Reads a name.
pub(crate) fn parse(name: &str) -> Result<Reference> {
    Reference::parse_familiar(name).with_context(|| format!("invalid reference format: {name:?}"))
}

/// The name without its tag, and the tag: what the engine wants apart.
pub(crate) fn repository_and_tag(name: &str) -> Result<(String, String)> {
    parse(name)?;
    Ok(split(name))
}

/// `a/b:c` in two; a port's colon is no tag's.
pub(crate) fn split(name: &str) -> (String, String) {
    if let Some((repository, digest)) = name.split_once('@') {
        return (repository.to_owned(), digest.to_owned());
    }
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ => (name.to_owned(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_no_tags() {
        for (name, repository, tag) in [
            ("busybox", "busybox", ""),
            ("busybox:1", "busybox", "1"),
            ("h:5000/a", "h:5000/a", ""),
            ("h:5000/a:b", "h:5000/a", "b"),
            ("a@sha256:12", "a", "sha256:12"),
        ] {
            assert_eq!(split(name), (repository.to_owned(), tag.to_owned()), "{name}");
        }
        assert!(repository_and_tag("UPPER").is_err());
    }
}
