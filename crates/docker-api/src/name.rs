//! Names that people give to containers, volumes and networks.

use crate::error::Invalid;
use crate::limits::MAX_NAME;

/// What a name may be made of, as errors say it.
pub const ALLOWED: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

/// Whether a name is one of at least two letters, digits, `_`, `.` and `-`, the first of them a letter or a digit.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.len() > 0 && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    first && rest && name.len() <= MAX_NAME
}

/// Checks a container's name, without the slash that it may begin with.
///
/// # Errors
/// It is no name.
pub fn container(name: &str) -> Result<&str, Invalid> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    if is_name(bare) { Ok(bare) } else { Err(Invalid::ContainerName(excerpt(name))) }
}

/// Checks a volume's name.
///
/// # Errors
/// It is no name.
pub fn volume(name: &str) -> Result<&str, Invalid> {
    if is_name(name) { Ok(name) } else { Err(Invalid::VolumeName(excerpt(name))) }
}

/// Checks a network's name.
///
/// # Errors
/// It is no name, or one of those that mean something else.
pub fn network(name: &str) -> Result<&str, Invalid> {
    let is_network = name.len() <= MAX_NAME
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if is_network { Ok(name) } else { Err(Invalid::NetworkName(excerpt(name))) }
}

/// At most a few words of what a client sent, for an error.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for name in ["ab", "a-b_c.d", "0a", "/ab"] {
            assert!(container(name).is_ok(), "{name}");
        }
        let long = "a".repeat(MAX_NAME + 1);
        for name in ["", "a", "-ab", "a/b", "a b", "é1", ".a", "/", "//ab", &long] {
            assert!(container(name).is_err(), "{name}");
        }
        assert!(network("a").is_ok());
        assert!(volume("/ab").is_err());
    }
}
