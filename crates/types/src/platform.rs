//! Platforms, and which manifest of an index suits one (image specification v1.1.1, image-index.md; Go's names).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system on a processor.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Platform {
    /// Go's name of the processor: `amd64`, `arm64`, `arm`, ….
    #[serde(default)]
    pub architecture: String,
    /// Go's name of the operating system: `linux`.
    #[serde(default)]
    pub os: String,
    /// The version of an operating system that needs it (Windows).
    #[serde(default, rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// What the operating system must have.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The processor's variant: `v7`, `v8`, ….
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// A text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform {0:?}: it has to be os/architecture[/variant]")]
pub struct InvalidPlatform(String);

impl Platform {
    /// What this build runs on.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Self {
            architecture: architecture.into(),
            os: "linux".into(),
            variant: variant.into(),
            ..Self::default()
        }
        .normalized()
    }

    /// With Go's names in place of the other usual ones, and without variants that are a processor's only one.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        self.os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let architecture = self.architecture.to_ascii_lowercase();
        let variant = self.variant.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") | ("x86_64" | "x86-64", "") => ("amd64", ""),
            ("x86_64" | "x86-64", other) => ("amd64", other),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0" | "") => ("arm64", ""),
            ("aarch64", other) => ("arm64", other),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7" | "v7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            (other, variant) => (other, variant),
        };
        (self.architecture, self.variant) = (architecture.to_owned(), variant.to_owned());
        self
    }

    /// How well a manifest for `offered` runs on `self`: `None` not at all, otherwise smaller is better.
    ///
    /// Processors run what was made for earlier variants of theirs: 64-bit ARM also 32-bit ARM's.
    pub fn distance(&self, offered: &Self) -> Option<u32> {
        let (host, offered) = (self.clone().normalized(), offered.clone().normalized());
        if host.os != offered.os || (!host.os_version.is_empty() && host.os_version != offered.os_version) {
            return None;
        }
        let level = |variant: &str, default: u32| {
            let digits: String =
                variant.trim_start_matches('v').chars().take_while(char::is_ascii_digit).collect();
            if variant.is_empty() { Some(default) } else { digits.parse::<u32>().ok() }
        };
        let older = |most: u32, offered: u32| most.checked_sub(offered);
        match (host.architecture.as_str(), offered.architecture.as_str()) {
            ("amd64", "amd64") => older(level(&host.variant, 1)?, level(&offered.variant, 1)?),
            ("arm64", "arm64") => older(level(&host.variant, 8)?, level(&offered.variant, 8)?),
            ("arm64", "arm") => older(8, level(&offered.variant, 7)?).map(|steps| steps + 100),
            ("arm", "arm") => older(level(&host.variant, 7)?, level(&offered.variant, 7)?),
            (host_name, name) if host_name == name && host.variant == offered.variant => Some(0),
            _ => None,
        }
    }

    /// Whether it is written out in an index as "no platform": attestations and the like.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let refuse = || InvalidPlatform(text.chars().take(64).collect());
        let (text, os_version) = match text.split_once('(') {
            None => (text.to_owned(), String::new()),
            Some((os, rest)) => {
                let (version, rest) = rest.split_once(')').ok_or_else(refuse)?;
                (format!("{os}{rest}"), version.to_owned())
            }
        };
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        if !parts.iter().all(word) {
            return Err(refuse());
        }
        let host = Self::host();
        let make = |os: &str, architecture: &str, variant: &str| Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.into(),
            os_version: os_version.clone(),
            os_features: Vec::new(),
        };
        let systems = ["linux", "windows", "darwin", "macos", "freebsd", "wasip1", "js"];
        let platform = match parts[..] {
            [os] if systems.contains(&os.to_ascii_lowercase().as_str()) => {
                make(os, &host.architecture, &host.variant)
            }
            [architecture] => make(&host.os, architecture, ""),
            [os, architecture] => make(os, architecture, ""),
            [os, architecture, variant] => make(os, architecture, variant),
            _ => return Err(refuse()),
        };
        Ok(platform.normalized())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.os)?;
        if !self.os_version.is_empty() {
            write!(f, "({})", self.os_version)?;
        }
        write!(f, "/{}", self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// Which platforms somebody wants, in order of preference; none means all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher(pub Vec<Platform>);

impl Matcher {
    /// The platform of this host.
    pub fn host() -> Self {
        Self(vec![Platform::host()])
    }

    /// How well `offered` suits, smaller being better; `None` if it does not. Whatever has no platform suits, last.
    pub fn rank(&self, offered: Option<&Platform>) -> Option<u32> {
        let Some(offered) = offered.filter(|platform| !platform.os.is_empty()) else { return Some(u32::MAX) };
        if self.0.is_empty() {
            return Some(0);
        }
        let ranks = self.0.iter().enumerate().filter_map(|(place, wanted)| {
            let place = u32::try_from(place).unwrap_or(1_000).saturating_mul(1_000);
            wanted.distance(offered).map(|distance| place.saturating_add(distance))
        });
        ranks.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn usual_names_become_gos() {
        let check = |text: &str, expect: &str| assert_eq!(platform(text).to_string(), expect, "{text}");
        check("linux/x86_64", "linux/amd64");
        check("linux/aarch64", "linux/arm64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/arm", "linux/arm/v7");
        check("linux/armhf", "linux/arm/v7");
        check("linux/arm/6", "linux/arm/v6");
        check("arm64", "linux/arm64");
        check("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "/", "linux/", "a/b/c/d", "linux/am d64", "linux(1/amd64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn processors_run_earlier_variants_and_no_later_ones() {
        let check = |host: &str, offered: &str, expect: Option<u32>| {
            assert_eq!(platform(host).distance(&platform(offered)), expect, "{host} {offered}");
        };
        check("linux/arm/v7", "linux/arm/v6", Some(1));
        check("linux/arm/v6", "linux/arm/v7", None);
        check("linux/arm64", "linux/arm/v7", Some(101));
        check("linux/amd64", "linux/amd64/v3", None);
        check("linux/amd64/v3", "linux/amd64", Some(2));
        check("linux/amd64", "linux/arm64", None);
        check("linux/riscv64", "linux/riscv64", Some(0));
    }

    #[test]
    fn the_first_platform_of_a_list_is_preferred() {
        let matcher = Matcher(vec![platform("linux/arm64"), platform("linux/amd64")]);
        assert!(matcher.rank(Some(&platform("linux/arm64"))) < matcher.rank(Some(&platform("linux/amd64"))));
        assert_eq!(matcher.rank(Some(&platform("linux/s390x"))), None);
        assert_eq!(matcher.rank(None), Some(u32::MAX));
    }
}
