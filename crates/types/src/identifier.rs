//! Identifiers as containerd has them: namespaces, leases, records of containers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest identifier, in bytes.
pub const MAX_IDENTIFIER_BYTES: usize = 76;

/// A text that is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIdentifier {
    /// Empty.
    #[error("identifier must not be empty")]
    Empty,
    /// Longer than [`MAX_IDENTIFIER_BYTES`].
    #[error("identifier {0:?} greater than maximum length ({MAX_IDENTIFIER_BYTES} characters)")]
    TooLong(String),
    /// Not alphanumeric words with single separators.
    #[error("identifier {0:?} must be alphanumeric words, joined by one of '-', '_', '.'")]
    Format(String),
}

/// Checks containerd's grammar: alphanumeric words joined by single `-`, `_` or `.`.
///
/// # Errors
/// [`InvalidIdentifier`].
pub fn validate(text: &str) -> Result<(), InvalidIdentifier> {
    let quoted = || text.chars().take(MAX_IDENTIFIER_BYTES).collect();
    if text.is_empty() {
        return Err(InvalidIdentifier::Empty);
    }
    if text.len() > MAX_IDENTIFIER_BYTES {
        return Err(InvalidIdentifier::TooLong(quoted()));
    }
    let words = text.split(['-', '_', '.']);
    let good = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric());
    if words.into_iter().all(good) { Ok(()) } else { Err(InvalidIdentifier::Format(quoted())) }
}

/// A tenancy of the store, not a kernel namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(String);

impl Namespace {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = InvalidIdentifier;

    fn from_str(text: &str) -> Result<Self, InvalidIdentifier> {
        validate(text).map(|()| Self(text.to_owned()))
    }
}

impl TryFrom<String> for Namespace {
    type Error = InvalidIdentifier;

    fn try_from(text: String) -> Result<Self, InvalidIdentifier> {
        validate(&text).map(|()| Self(text))
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> Self {
        namespace.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clients_are_accepted() {
        for name in ["default", "k8s.io", "moby", "plugins.moby", "a-b_c.d", "A1", &"x".repeat(76)] {
            assert_eq!(name.parse::<Namespace>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_leave_their_directory_are_refused() {
        for name in ["", ".", "..", "a..b", "-a", "a-", "a/b", "a b", "ä", "a\n", &"x".repeat(77)] {
            assert!(name.parse::<Namespace>().is_err(), "{name:?}");
        }
    }
}
