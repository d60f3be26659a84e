//! Names of images: `host/repository[:tag][@digest]` (distribution specification v1.1.1, and the distribution
//! project's reference grammar, which Docker, containerd and podman share).

use std::fmt;
use std::str::FromStr;

use crate::{Digest, digest::InvalidDigest};

/// The longest repository with its host, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// The longest tag, in bytes.
pub const MAX_TAG_BYTES: usize = 128;

/// The registry of names without one.
const DEFAULT_HOST: &str = "docker.io";
/// Its other name, of old.
const LEGACY_HOST: &str = "index.docker.io";
/// The folder of names without one there.
const DEFAULT_FOLDER: &str = "library";
/// The tag of names without one.
const DEFAULT_TAG: &str = "latest";

/// The name of an image in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text that is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidReference {
    /// Empty.
    #[error("an image reference must not be empty")]
    Empty,
    /// No registry before the repository.
    #[error(
        "invalid reference {0:?}: it has to begin with a registry's host, as in docker.io/library/busybox:latest"
    )]
    NoHost(String),
    /// The registry is no host name with a port.
    #[error("invalid reference {0:?}: bad registry host")]
    Host(String),
    /// The repository is not lower-case words.
    #[error(
        "invalid reference {0:?}: a repository is lower-case words, joined by '.', '_', '__', '-' or '/'"
    )]
    Repository(String),
    /// An upper-case repository.
    #[error("invalid reference {0:?}: a repository must be lowercase")]
    UpperCase(String),
    /// The tag is no word.
    #[error("invalid reference {0:?}: a tag is up to {MAX_TAG_BYTES} letters, digits, '_', '.' and '-'")]
    Tag(String),
    /// The digest is no digest.
    #[error("invalid reference {text:?}")]
    Digest {
        /// The reference.
        text: String,
        /// What is wrong with it.
        #[source]
        source: InvalidDigest,
    },
    /// Longer than [`MAX_NAME_BYTES`].
    #[error("invalid reference {0:?}: the name is longer than {MAX_NAME_BYTES} characters")]
    TooLong(String),
}

fn quote(text: &str) -> String {
    text.chars().take(MAX_NAME_BYTES).collect()
}

/// Whether `text` is words of lower-case letters and digits with the separators between them that may be there.
fn is_component(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    bytes.split(|b| alphanumeric(b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

/// Whether `text` is `host[:port]`: a name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => (address, None),
            Some((address, port)) => (address, port.strip_prefix(':').or(Some("x"))),
            None => return false,
        },
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err() || port.starts_with('+')) {
        return false;
    }
    if text.starts_with('[') {
        return name.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split('.').all(label)
}

fn is_tag(text: &str) -> bool {
    let bytes = text.as_bytes();
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    bytes.first().is_some_and(word)
        && bytes.len() <= MAX_TAG_BYTES
        && bytes.iter().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

/// Whether the first component of a familiar name is a registry's host.
fn looks_like_host(component: &str) -> bool {
    component.contains(['.', ':'])
        || component == "localhost"
        || component.bytes().any(|b| b.is_ascii_uppercase())
}

impl Reference {
    /// Reads a reference that names its registry: `docker.io/library/busybox:latest`.
    ///
    /// # Errors
    /// [`InvalidReference`].
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        if text.is_empty() {
            return Err(InvalidReference::Empty);
        }
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => {
                let digest = Digest::parse(digest)
                    .map_err(|source| InvalidReference::Digest { text: quote(text), source })?;
                (name, Some(digest))
            }
        };
        let (host, rest) = name.split_once('/').ok_or_else(|| InvalidReference::NoHost(quote(text)))?;
        let (repository, tag) = rest.split_once(':').map_or((rest, None), |(name, tag)| (name, Some(tag)));
        if !is_host(host) {
            return Err(InvalidReference::Host(quote(text)));
        }
        if host.len() + 1 + repository.len() > MAX_NAME_BYTES {
            return Err(InvalidReference::TooLong(quote(text)));
        }
        if !repository.split('/').all(is_component) {
            let upper = repository.bytes().any(|b| b.is_ascii_uppercase());
            let refuse = if upper { InvalidReference::UpperCase } else { InvalidReference::Repository };
            return Err(refuse(quote(text)));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(InvalidReference::Tag(quote(text)));
        }
        Ok(Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Reads what people write: `busybox` is `docker.io/library/busybox:latest`.
    ///
    /// # Errors
    /// [`InvalidReference`].
    pub fn parse_familiar(text: &str) -> Result<Self, InvalidReference> {
        let (host, rest) = match text.split_once('/') {
            Some((first, rest)) if looks_like_host(first) => (first, rest),
            _ => (DEFAULT_HOST, text),
        };
        let host = if host == LEGACY_HOST { DEFAULT_HOST } else { host };
        if rest.is_empty() {
            return Err(if text.is_empty() {
                InvalidReference::Empty
            } else {
                InvalidReference::Repository(quote(text))
            });
        }
        let name_end = rest.find(['@', ':']).unwrap_or(rest.len());
        let folder = if host == DEFAULT_HOST && !rest[..name_end].contains('/') {
            format!("{DEFAULT_FOLDER}/")
        } else {
            String::new()
        };
        let mut reference = Self::parse(&format!("{host}/{folder}{rest}"))?;
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some(DEFAULT_TAG.to_owned());
        }
        Ok(reference)
    }

    /// The registry: `host[:port]`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository in the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if it has one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository with another digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// As short as people write it: without the default registry and its folder.
    pub fn familiar(&self) -> String {
        let whole = self.to_string();
        let Some(rest) = whole.strip_prefix("docker.io/") else { return whole };
        let plain = rest.strip_prefix("library/").filter(|rest| !rest.contains('/'));
        plain.unwrap_or(rest).to_owned()
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn familiar_names_are_completed() {
        let check = |text: &str, expect: &str| {
            assert_eq!(Reference::parse_familiar(text).unwrap().to_string(), expect, "{text}");
        };
        check("busybox", "docker.io/library/busybox:latest");
        check("busybox:1.36", "docker.io/library/busybox:1.36");
        check("user/app", "docker.io/user/app:latest");
        check("index.docker.io/app", "docker.io/library/app:latest");
        check("localhost/app", "localhost/app:latest");
        check("localhost:5000/a/b:c", "localhost:5000/a/b:c");
        check("[::1]:5000/a", "[::1]:5000/a:latest");
        check("quay.io/x/y", "quay.io/x/y:latest");
        check(&format!("busybox@{SHA}"), &format!("docker.io/library/busybox@{SHA}"));
        check(&format!("a.b/c:d@{SHA}"), &format!("a.b/c:d@{SHA}"));
    }

    #[test]
    fn names_are_shown_as_short_as_they_were_written() {
        for text in ["busybox:latest", "user/app:1", "quay.io/x/y:z", "localhost:5000/a:b"] {
            assert_eq!(Reference::parse_familiar(text).unwrap().familiar(), text);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long = format!("a.b/{}", "x".repeat(260));
        let tag = format!("a.b/c:{}", "t".repeat(129));
        for text in [
            "",
            "busybox",
            "a.b/",
            "/x",
            "a.b/X",
            "a.b/x:",
            "a.b/x@",
            "a.b/../x",
            "a.b/x//y",
            "a.b/x_-y",
            "-a.b/x",
            "a.b:99999/x",
            "a.b:/x",
            "a.b/x:-t",
            "a.b/x y",
            "a.b/x@sha256:00",
            "[::1/x",
            "[x]/y",
            "a.b/x___y",
            &long,
            &tag,
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(text in "\\PC{0,60}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(reference.to_string(), text.as_str());
            }
            if let Ok(reference) = Reference::parse_familiar(&text) {
                prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference);
            }
        }

        #[test]
        fn components_have_single_separators(text in "[a-z0-9]{1,3}([._]|__|-{1,3})[a-z0-9]{1,3}") {
            prop_assert!(is_component(&text));
        }
    }
}
