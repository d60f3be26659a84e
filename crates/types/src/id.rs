use std::fmt;
use std::str::FromStr;

/// The longest container id, in bytes: runc's and crun's ids become file and cgroup names, of at most 255 bytes, and
/// leave room for the `.scope` and prefix of a systemd unit.
pub const MAX_ID_BYTES: usize = 200;

/// The name of a container, safe to use as a file name, a cgroup name and part of a systemd unit name.
///
/// The grammar is runc's (`[A-Za-z0-9_+.-]+`, neither `.` nor `..`), with a limit on the length.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

/// A container id that does not follow the grammar of [`ContainerId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidId {
    /// Empty.
    #[error("container id cannot be empty")]
    Empty,
    /// Longer than [`MAX_ID_BYTES`].
    #[error("container id of {0} bytes is longer than {MAX_ID_BYTES}")]
    TooLong(usize),
    /// A character outside the grammar, or a name that the file system reserves.
    #[error("invalid container ID format: {0:?}")]
    Format(String),
}

impl ContainerId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() {
            return Err(InvalidId::Empty);
        }
        if text.len() > MAX_ID_BYTES {
            return Err(InvalidId::TooLong(text.len()));
        }
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.');
        if !text.bytes().all(fits) || text == "." || text == ".." {
            return Err(InvalidId::Format(text.chars().take(64).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ContainerId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_engines_are_accepted() {
        for id in ["a", "k8s_x+y.z-1", "...", "-x", &"f".repeat(MAX_ID_BYTES)] {
            assert_eq!(id.parse::<ContainerId>().unwrap().as_str(), id);
        }
    }

    #[test]
    fn ids_that_leave_their_directory_are_refused() {
        for id in ["", ".", "..", "a/b", "../x", "a\0b", "a b", "ä", "a\n", &"f".repeat(MAX_ID_BYTES + 1)] {
            assert!(id.parse::<ContainerId>().is_err(), "{id:?}");
        }
    }
}
