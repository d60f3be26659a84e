//! Versions of the API, and which of them are spoken.

use std::fmt;
use std::str::FromStr;

/// A version of the API, ordered as versions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    major: u16,
    minor: u16,
}

/// Why a version in a path is not served. The texts are what clients match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Below [`ApiVersion::MIN`].
    #[error("client version {0} is too old. Minimum supported API version is {min}, please upgrade your client to a newer version", min = ApiVersion::MIN)]
    TooOld(ApiVersion),
    /// Above [`ApiVersion::MAX`].
    #[error("client version {0} is too new. Maximum supported API version is {max}", max = ApiVersion::MAX)]
    TooNew(ApiVersion),
    /// No version at all.
    #[error("{0:?} is no version of the API")]
    Malformed(String),
}

impl ApiVersion {
    /// The oldest that is served.
    pub const MIN: Self = Self::new(1, 40);
    /// The newest that is known.
    pub const MAX: Self = Self::new(1, 52);
    /// What a server speaks that does not say (moby before 1.24).
    pub const UNKNOWN_SERVER: Self = Self::new(1, 24);

    /// A version by its numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Checks the version of a request's path; none means the newest.
    ///
    /// # Errors
    /// It is outside of what is served.
    pub fn negotiate(text: Option<&str>) -> Result<Self, VersionError> {
        let Some(text) = text else { return Ok(Self::MAX) };
        let version: Self = text.parse()?;
        if version < Self::MIN {
            Err(VersionError::TooOld(version))
        } else if version > Self::MAX {
            Err(VersionError::TooNew(version))
        } else {
            Ok(version)
        }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let malformed = || VersionError::Malformed(text.chars().take(64).collect());
        let number = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { digits.parse().map_err(|_| malformed()) } else { Err(malformed()) }
        };
        let (major, minor) = text.split_once('.').ok_or_else(malformed)?;
        Ok(Self::new(number(major)?, number(minor)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number() {
        let version = |text: &str| text.parse::<ApiVersion>().unwrap();
        assert!(version("1.9") < version("1.10"));
        assert!(version("1.52") < version("2.0"));
        for text in ["", "1", "1.", ".1", "v1.4", "1.4.1", "1.-4", "+1.4", "1.99999", "1.4 "] {
            assert!(text.parse::<ApiVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn versions_outside_are_refused_in_dockers_words() {
        assert_eq!(ApiVersion::negotiate(None), Ok(ApiVersion::MAX));
        assert_eq!(ApiVersion::negotiate(Some("1.41")), Ok(ApiVersion::new(1, 41)));
        let old = ApiVersion::negotiate(Some("1.12")).unwrap_err().to_string();
        assert!(
            old.starts_with("client version 1.12 is too old. Minimum supported API version is 1.40"),
            "{old}"
        );
        let new = ApiVersion::negotiate(Some("1.99")).unwrap_err().to_string();
        assert_eq!(
            new,
            format!("client version 1.99 is too new. Maximum supported API version is {}", ApiVersion::MAX)
        );
    }
}
