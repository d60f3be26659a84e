//! The words for user namespaces: `host`, `auto`, `auto:size=N`.

use std::str::FromStr;

use crate::{Error, Result};

/// How many ids a container gets that does not say: what images with the user `nobody` need.
pub(super) const AUTO_SIZE: u32 = 65_536;

/// What containers get that do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DefaultMode {
    /// The host's user namespace; that of `userns-remap` where it is set.
    #[default]
    Usual,
    /// One with a range of their own.
    Auto {
        /// How many ids.
        size: u32,
    },
}

/// What a container asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing.
    Default,
    /// The host's.
    Host,
    /// A range of its own.
    Auto(u32),
}

impl FromStr for DefaultMode {
    type Err = Error;

    /// Reads the setting: `host` or nothing, `auto`, `auto:size=N`.
    fn from_str(text: &str) -> Result<Self> {
        match text.parse()? {
            Asked::Default | Asked::Host => Ok(Self::Usual),
            Asked::Auto(size) => Ok(Self::Auto { size }),
        }
    }
}

impl FromStr for Asked {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (word, options) = text.split_once(':').unwrap_or((text, ""));
        match (word, options) {
            ("", "") => Ok(Self::Default),
            ("host", "") => Ok(Self::Host),
            ("auto", "") => Ok(Self::Auto(AUTO_SIZE)),
            ("auto", options) => size(options).map(Self::Auto).ok_or_else(|| unknown(text)),
            _ => Err(unknown(text)),
        }
    }
}

fn size(options: &str) -> Option<u32> {
    let digits =
        options.strip_prefix("size=").filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|size| *size > 0)
}

fn unknown(text: &str) -> Error {
    Error::Invalid(format!(
        "invalid userns mode: {text}: it is host, auto, or auto:size=N with a number of ids"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read() {
        let check = |text: &str, expect: Option<Asked>| assert_eq!(text.parse().ok(), expect, "{text}");
        check("", Some(Asked::Default));
        check("host", Some(Asked::Host));
        check("auto", Some(Asked::Auto(65_536)));
        check("auto:size=1000", Some(Asked::Auto(1000)));
        for wrong in [
            "keep-id",
            "container:x",
            "private",
            "auto:",
            "auto:size=",
            "auto:size=0",
            "auto:size=+1",
            "auto:size=-1",
            "auto:size=4294967296",
            "auto:uidmapping=0:1:1",
            "auto:size=1,size=2",
            "host:x",
            "AUTO",
        ] {
            check(wrong, if wrong == "auto:" { Some(Asked::Auto(65_536)) } else { None });
        }
    }
}
